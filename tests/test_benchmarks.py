"""The benchmark compares like with like: every row does the same work, and the operations are counted rightly."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import pytest
from checkpoints import CPU_PRECISIONS

from albert_infer.engine import AlbertShape
from albert_infer.schema import HYPOTHESIS, DeviceKind, Precision
from benchmarks import (
    checkpoint,
    engine,
    exported,
    limit,
    memory,
    ours,
    pairs,
    peers,
    row_groups,
    section,
    targets,
    tokenizing,
    workloads,
)
from benchmarks.contender import Absent, Contender, Samples, not_installed
from benchmarks.machine import this_machine
from benchmarks.meter import Ceiling, Meter, ceilings_of
from benchmarks.quiet import Quiet, Watch
from benchmarks.results import Limit, Results, Row, Section, Speed, Target, Work
from benchmarks.rounds import rows_of, take_rounds
from benchmarks.workloads import Workload

# fp32 in another order of operations; the probabilities of different pairs differ by tenths.
TOLERANCE: Final = 1e-5
BF16_TOLERANCE: Final = 0.1
PAIRS: Final = 40  # more than one batch of 32

BASE_SHAPE: Final = AlbertShape.from_config(
    {**checkpoint.BASE, "model_type": "albert", "hidden_act": "gelu_new", "id2label": {"0": "", "1": "", "2": ""}}
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    checkpoint.save_checkpoint(folder, checkpoint.TINY)
    return folder


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return pairs.text_pairs(pairs.read_pairs(pairs.BUILTIN_PAIRS, PAIRS))


def refuse_other_work(contenders: Sequence[Contender | Absent], texts: list[tuple[str, str]], model: Path) -> None:
    """Fail unless each contender gives the labels and probabilities of the Hugging Face pipeline in input order."""
    expected_RC = peers.pipeline_contenders(model)[0].prepare(texts)()
    assert len(set(expected_RC.argmax(axis=1))) == 3, "a checkpoint that always answers the same shows nothing"
    for contender in contenders:
        assert isinstance(contender, Contender)
        found_RC = contender.prepare(texts)()
        np.testing.assert_allclose(found_RC, expected_RC, atol=TOLERANCE, err_msg=contender.name)
        np.testing.assert_array_equal(found_RC.argmax(axis=1), expected_RC.argmax(axis=1), err_msg=contender.name)


@pytest.mark.computes
def test_hugging_face_rows_and_ours_do_the_same_work(model: Path, texts: list[tuple[str, str]]) -> None:
    contenders = [
        *peers.pipeline_contenders(model),
        peers.model_contender(model, Precision.FP32),
        ours.engine_contender(model, Precision.FP32),
        ours.labeler_contender(model, Precision.FP32),
    ]
    refuse_other_work(contenders, texts, model)


@pytest.mark.computes
def test_cross_encoder_rows_do_the_same_work(model: Path, texts: list[tuple[str, str]]) -> None:
    pytest.importorskip("sentence_transformers", reason="the peers of the benchmark are the `bench` extra")
    refuse_other_work(peers.cross_encoder_contenders(model, Precision.FP32, DeviceKind.CPU, (7, 32)), texts, model)


def test_a_peer_that_is_not_installed_is_named() -> None:
    assert not_installed("numpy", "no_such_peer") == "not installed: no_such_peer"
    assert not_installed("numpy") == ""


def test_rows_that_cannot_be_measured_stand_in_their_place(model: Path, texts: list[tuple[str, str]]) -> None:
    contenders: list[Contender | Absent] = [
        ours.engine_contender(model, Precision.FP32),
        Absent("a peer", Precision.INT8, "not installed: peer"),
        peers.model_contender(model, Precision.FP32),
    ]
    timings = take_rounds([each for each in contenders if isinstance(each, Contender)], {}, texts, 1, lambda _: None)
    first, absent, last = rows_of(contenders, timings)
    assert (absent.name, absent.note, absent.pairs_per_second) == ("a peer", "not installed: peer", None)
    assert (first.same_label, last.same_label) == (1.0, 1.0)
    timings[1].probabilities = np.roll(timings[1].probabilities, 1, axis=1)
    assert rows_of(contenders, timings)[2].same_label == 0.0


@pytest.mark.computes
def test_bf16_rows_give_nearly_the_same_probabilities(model: Path, texts: list[tuple[str, str]]) -> None:
    expected_RC = ours.engine_contender(model, Precision.FP32).prepare(texts)()
    for contender in (peers.model_contender(model, Precision.BF16), ours.engine_contender(model, Precision.BF16)):
        np.testing.assert_allclose(contender.prepare(texts)(), expected_RC, atol=BF16_TOLERANCE)


def test_forward_flop_is_what_performance_md_measured_against() -> None:
    """1,024 SNLI pairs, mean 27.4 tokens: 4.79 TFLOP with ALBERT-base, 6.9 % of it in what only [CLS] needs."""
    # SNLI's lengths have a deviation of about 8 tokens.
    lengths_R = np.rint(np.random.default_rng(0).normal(27.4, 8, 1024)).clip(8, 81).astype(np.int64)
    flop = limit.forward_flop(BASE_SHAPE, lengths_R)
    assert flop * 27.4 / lengths_R.mean() == pytest.approx(4.79e12, rel=0.005)
    products = 12 * 2 * (4 * 768 * 768 + 2 * 768 * 3072)
    needed = limit.needed_product_flop(BASE_SHAPE, lengths_R)
    assert 1 - needed / (products * lengths_R.sum()) == pytest.approx(0.069, abs=0.005)


def test_needed_flop_of_pairs_of_one_token_saves_nothing() -> None:
    products = 12 * 2 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert limit.needed_product_flop(BASE_SHAPE, np.ones(5, dtype=np.int64)) == 5 * products


def test_product_gflops_measures_every_way() -> None:
    small = AlbertShape.from_config(
        {**checkpoint.TINY, "model_type": "albert", "id2label": {"0": "", "1": "", "2": ""}}
    )
    for precision in CPU_PRECISIONS:
        measured = limit.product_gflops(small, 64, precision, DeviceKind.CPU, seconds=0.01)
        assert ("torch linear" in measured) == (precision is not Precision.INT8)
        assert all(gflops > 0 for gflops in measured.values())


def test_repeated_pairs_all_differ() -> None:
    found = pairs.text_pairs(pairs.read_pairs(pairs.BUILTIN_PAIRS, 1000))
    assert len(found) == len(set(found)) == 1000


def test_long_pairs_have_200_to_512_tokens_and_keep_their_hypotheses() -> None:
    found = workloads.workload_pairs(Workload.LONG, pairs.BUILTIN_PAIRS, 64)
    assert found[HYPOTHESIS].to_pylist() == pairs.read_pairs(pairs.BUILTIN_PAIRS, 64)[HYPOTHESIS].to_pylist()
    assert found.equals(workloads.workload_pairs(Workload.LONG, pairs.BUILTIN_PAIRS, 64))
    lengths = [len(encoding) for encoding in checkpoint.tokenizer().encode_batch(pairs.text_pairs(found))]
    assert 200 <= min(lengths) < 230
    assert 440 < max(lengths) <= 512


def test_premises_that_are_all_long_already_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 48 tokens"):
        workloads.lengthened(pairs.read_pairs(pairs.BUILTIN_PAIRS, 1), ["a man " * 40])


def test_a_workload_has_its_file_of_a_folder_and_else_all_of_what_was_named(tmp_path: Path) -> None:
    short, other = pairs.read_pairs(pairs.BUILTIN_PAIRS, 3), pairs.read_pairs(pairs.BUILTIN_PAIRS, 9).slice(3, 3)
    pq.write_table(short, tmp_path / "snli_test_a.parquet")
    assert workloads.source_of(Workload.MNLI, tmp_path) == tmp_path
    pq.write_table(other, tmp_path / "mnli_dev_a.parquet")
    texts = [workloads.workload_pairs(kind, tmp_path, 3)[HYPOTHESIS] for kind in (Workload.SNLI, Workload.MNLI)]
    assert texts == [short[HYPOTHESIS], other[HYPOTHESIS]]
    assert workloads.source_of(Workload.MNLI, tmp_path / "snli_test_a.parquet").name == "snli_test_a.parquet"


def test_a_section_is_taken_for_each_shape_with_each_workload() -> None:
    parser = argparse.ArgumentParser()
    section.add_flags(parser)
    given = parser.parse_args(["--shape", "small", "--shape", "xxlarge", "--workload", "all"])
    assert [(asked.shape, str(asked.workload)) for asked in section.asked(given)] == [
        (shape, workload) for shape in ("small", "xxlarge") for workload in ("snli", "mnli", "long")
    ]
    assert [(asked.shape, asked.workload) for asked in section.asked(parser.parse_args([]))] == [("base", "snli")]


def test_rounds_cost_about_the_same_whatever_the_shape_and_the_pairs() -> None:
    assert section.default_pairs(BASE_SHAPE, Workload.SNLI) == pytest.approx(190, rel=0.05)
    assert section.default_pairs(BASE_SHAPE, Workload.LONG) == pytest.approx(190 * 28 / 340, rel=0.2)


def test_a_round_on_a_gpu_is_a_unit_at_least() -> None:
    for workload in (Workload.SNLI, Workload.LONG):
        assert section.default_pairs(BASE_SHAPE, workload, DeviceKind.CUDA) == 16_384


def test_a_gpu_gets_batches_that_keep_it_busy() -> None:
    assert max(engine.MODEL_BATCHES[DeviceKind.CUDA]) == max(engine.BATCHES[DeviceKind.CUDA]) == 1024
    assert peers.model_name("fp16", 1024) != peers.model_name("fp16", 256) != peers.model_name("fp16")


@pytest.mark.computes
def test_a_section_has_its_rows_and_the_limits_of_its_shape(tmp_path: Path) -> None:
    wanted = section.Asked("tiny", Workload.SNLI, pairs.BUILTIN_PAIRS, 8, rounds=1, way_seconds=0.01)

    def contenders(model: Path, samples: Samples) -> list[Contender | Absent]:
        assert len(samples.trial) == 8
        assert len(samples.calibration) == 300
        assert not {*samples.trial} & {*samples.calibration}
        return [ours.engine_contender(model, Precision.FP32), Absent("a peer", Precision.INT8, "not here")]

    taken = section.take_section(wanted, tmp_path, contenders)
    assert [row.name for row in taken.rows] == [ours.engine_name(Precision.FP32), "a peer"]
    assert (taken.work.shape, taken.work.pairs) == ("tiny", 8)
    [ceiling] = taken.limits
    assert (ceiling.precision, ceiling.cores, len(ceiling.readings)) == (Precision.FP32, None, 2)
    assert taken.share_of_limit(taken.rows[0]) == taken.rows[0].limit_shares[0] > 0
    assert taken.to_json()["quiet"]["spin"] > 0


def meter_of(*gflops: float) -> Meter:
    readings = iter(gflops)
    return Meter({"a way": 1.0}, lambda _: next(readings), seconds=0.0)


@pytest.mark.computes
def test_rounds_time_every_contender_once_a_round_and_the_limit_around_ours(
    model: Path, texts: list[tuple[str, str]]
) -> None:
    contenders = [peers.model_contender(model, Precision.FP32), ours.engine_contender(model, Precision.FP32)]
    around, alone = meter_of(1.0, 3.0, 2.0, 2.0, 8.0, 2.0), meter_of(7.0, 7.0, 7.0)
    meters = {Ceiling(Precision.FP32, None): around, Ceiling(Precision.FP32, 1): alone}
    peer, engine_alone = take_rounds(contenders, meters, texts, 3, lambda _: None)
    assert len(peer.pairs_per_second) == len(engine_alone.pairs_per_second) == 3
    assert engine_alone.probabilities.shape == (PAIRS, 3)
    assert (peer.limit_gflops, engine_alone.limit_gflops) == ([], [2.0, 2.0, 5.0])
    assert alone.readings == [7.0] * 3
    row = rows_of(contenders, [peer, engine_alone], needed_gflop=0.5)[1]
    assert row.limit_shares == pytest.approx([speed / 2 / 2 for speed in row.rounds[:2]] + [row.rounds[2] / 2 / 5])


def test_a_meter_takes_the_way_with_the_best_reading() -> None:
    meter = Meter.of({"slow": lambda _: 1.0, "fast": lambda seconds: 2.0 * seconds}, seconds=3.0)
    assert (meter.ways, meter.read(), meter.readings) == ({"slow": 1.0, "fast": 6.0}, 6.0, [6.0])


def test_limits_are_measured_on_all_cores_and_on_those_of_the_rows(model: Path) -> None:
    contenders = [
        peers.model_contender(model, Precision.FP32),
        ours.engine_contender(model, Precision.BF16, cores=1),
    ]
    assert ceilings_of(contenders) == [(Precision.FP32, None), (Precision.BF16, None), (Precision.BF16, 1)]


def test_one_core_has_only_ways_with_a_product_a_core() -> None:
    small = AlbertShape.from_config(
        {**checkpoint.TINY, "model_type": "albert", "id2label": {"0": "", "1": "", "2": ""}}
    )
    ways = limit.product_ways(small, 64, Precision.INT8, DeviceKind.CPU, cores=1)
    assert list(ways) == ["oneDNN, quantised beforehand, a product a core"]
    assert ways["oneDNN, quantised beforehand, a product a core"](0.01) > 0


def test_a_share_of_the_limit_is_the_median_of_its_rounds() -> None:
    around = Row("ours", "", Precision.FP32, (3.0, 9.0, 4.0), limit_shares=(0.5, 0.9, 0.8))
    apart = Row("a peer", "", Precision.FP32, (3.0, 9.0, 4.0))
    taken = Section(work_of(tokens=1.0), [around, apart], [Limit(Precision.FP32, {}, 8.0)])
    assert [taken.share_of_limit(row) for row in taken.rows] == [0.8, 0.5]
    assert taken.share_of_limit(replace(apart, cores=1)) is None


def test_a_busy_machine_is_told() -> None:
    with Watch() as watch:
        watch.spin()
    assert 0 < watch.quiet.spin <= 1
    assert watch.quiet.others >= 0
    assert Quiet(0.05, 0.0, 0.95, 9.0).is_quiet
    assert "NOT quiet: other processes used 0.80 cores" in Quiet(0.8, 0.0, 0.95, 9.0).to_text()


def work_of(tokens: float) -> Work:
    return Work("base", "snli", "", 1, tokens, 1, 1, 1.0, 1.0)


def test_results_tell_median_best_way_and_verdicts() -> None:
    row = Row("a", "", Precision.FP32, (3.0, 9.0, 4.0))
    ways = Limit(Precision.FP32, {"slow": 1.0, "fast": 2.0}, 10.0)
    judged = [Target("", 5.0, found, "") for found in (5.0, 4.9, None)]
    section = Section(work_of(tokens=1.0), [row], [ways])
    told = Results(this_machine(), [section], judged, 0, {}).to_json()
    assert told["sections"][0]["rows"][0]["pairs_per_second"] == 4.0
    assert told["sections"][0]["limits"][0]["best_way"] == "fast"
    assert [target["verdict"] for target in told["targets"]] == ["met", "missed", "not applicable here"]


def test_speeds_are_told_in_pairs_tokens_and_operations() -> None:
    row = Row("a", "", Precision.FP32, (50.0,))
    work = Work("base", "snli", "", 10, 30.0, 1, 1, forward_tflop=0.2, needed_product_tflop=0.1)
    assert Section(work, [row], []).speed(row) == Speed(50.0, 1500.0, 1.0)


# The machine has a GPU and Python's scientific packages, and none of what runs a job.
NOT_THERE: Final = ("ray", "pydantic", "cyclopts", "s3fs", "botocore", "aiobotocore", "aiohttp")


@pytest.mark.process
def test_the_engine_is_measured_where_nothing_of_a_job_is_installed(tmp_path: Path) -> None:
    told_to = str(tmp_path / "told.json")
    arguments = ["--shape", "tiny", "--pairs", "12", "--rounds", "1", "--way-seconds", "0.01", "--json", told_to]
    script = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({NOT_THERE}))  # an import of None is refused
sys.argv = ["engine", *{arguments}, "--data", {str(pairs.BUILTIN_PAIRS)!r}]
runpy.run_module("benchmarks.engine", run_name="__main__")
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=Path(__file__).parents[1])
    measured = json.loads((tmp_path / "told.json").read_text())
    [told], [units] = measured["sections"], measured["units"]
    assert (units["shape"], units["units"], units["pairs"]) == ("tiny", 6, 12)
    assert 0 < units["device_busy_share"] <= 1
    rows = {row["name"]: row for row in told["rows"]}
    for precision in Precision:
        row = rows[ours.engine_name(precision)]
        assert row["note"] or (row["pairs_per_second"] > 0 and row["same_label"] >= 0.8)
    assert rows[ours.engine_name(Precision.FP32)]["largest_difference"] < TOLERANCE
    assert all(limit["pairs_per_second"] > 0 for limit in told["limits"])


@pytest.mark.process
def test_process_tree_counts_a_child_and_its_memory() -> None:
    child = f"import time; held = bytearray({64 << 20}); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        try:
            tree = awaited_tree(process.pid, pss=64 << 20)
        finally:
            for pid in memory.process_tree(process.pid):
                subprocess.run(["kill", str(pid)], check=False)
    assert [found.role for found in tree.values()].count(memory.DRIVER) == 1
    assert sum(found.pss >= 64 << 20 for found in tree.values()) == 1


def awaited_tree(root: int, pss: int) -> dict[int, memory.Process]:
    """The tree once one of its processes holds `pss` bytes; fails after 10 seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        tree = memory.process_tree(root)
        if any(process.pss >= pss for process in tree.values()):
            return tree
        time.sleep(0.05)
    raise AssertionError("the child did not take its memory")


def test_targets_are_judged_by_the_rows_of_the_run() -> None:
    speeds = {
        peers.PIPELINE_NAME: 10.0,
        exported.openvino_name(Precision.BF16): 150.0,
        ours.engine_name(Precision.FP32): 20.0,
        ours.engine_name(Precision.BF16): None,
        ours.engine_name(Precision.INT8): 300.0,
        targets.RECIPE_NAME: 3.0,
        targets.JOB_NAME: 15.0,
    }
    rows = [
        Row(name, "", Precision.INT8 if "int8" in name else Precision.FP32, (speed,) if speed else ())
        for name, speed in speeds.items()
    ]
    limits = [Limit(Precision.BF16, {}, 400.0), Limit(Precision.INT8, {}, 500.0)]
    section = Section(work_of(tokens=30.0), rows, limits)
    # The engine alone does 20 pairs of 30 tokens a second.
    report = {"precision": "fp32", "tokens_per_second": 500.0}
    found = {target.claim: (target.found, target.verdict) for target in targets.targets(section, report)}
    assert found == {
        "our engine alone, bf16 ≥ 10 x Hugging Face pipeline, input order": (None, "not applicable here"),
        "our engine alone, int8 ≥ 30 x Hugging Face pipeline, input order": (30.0, "met"),
        "our engine alone, int8 ≥ 1.8 x OpenVINO, bf16, sorted": (2.0, "met"),
        "our engine alone, bf16 ≥ 85% of its limit": (None, "not applicable here"),
        "our engine alone, int8 ≥ 70% of its limit": (0.6, "missed"),
        "our job once started ≥ 93% of the engine": (pytest.approx(5 / 6), "missed"),
        "our job ≥ 5 x Ray's recipe, start-up included": (5.0, "met"),
    }
    assert [target.claim for target in targets.targets(section, {})] == list(found)[:5]


def test_int8_is_judged_by_the_fastest_peer_in_int8() -> None:
    names = [ours.engine_name(each) for each in (Precision.FP32, Precision.BF16)]
    rows = [
        *(Row(name, "", Precision.FP32, (1.0,)) for name in names),
        Row(ours.engine_name(Precision.INT8), "", Precision.INT8, (30.0,), same_label=0.98),
        Row(exported.onnx_runtime_name(Precision.INT8), "", Precision.INT8, (15.0,), same_label=1.0),
        Row(exported.openvino_name(Precision.INT8), "", Precision.INT8, (20.0,), same_label=0.97),
    ]
    judged = targets.targets(Section(work_of(tokens=30.0), rows, []), {})
    speed, labels = (target for target in judged if "peer" in target.claim)
    assert (speed.verdict, speed.figure) == ("met", "1.5 x OpenVINO, int8, sorted")
    assert (labels.verdict, labels.figure) == ("met", "98.0% against 97.0%")
    judged = targets.targets(Section(work_of(tokens=30.0), [*rows[:3], replace(rows[4], same_label=0.99)], []), {})
    assert [target.verdict for target in judged if "peer" in target.claim] == ["met", "missed"]


@pytest.mark.process
def test_row_groups_reads_all_pairs_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    row_groups.main(["--pairs", "40000"])
    told = json.loads(capsys.readouterr().out)
    assert [told[way]["rows"] for way in ("one", "small")] == [40_000, 40_000]
    assert min(told[way]["peak_megabytes"] for way in ("one", "small")) > 0


def test_tokenizing_times_both_tokenizers_on_one_core_and_lets_it_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cores, environment = os.sched_getaffinity(0), dict(os.environ)
    tokenizing.main(["--pairs", "60", "--rounds", "2", "--json", str(tmp_path / "out.json")])
    assert (os.sched_getaffinity(0), dict(os.environ)) == (cores, environment)
    told = json.loads((tmp_path / "out.json").read_text())
    assert [row["tokenizer"] for row in told["rows"]] == ["WordPiece"] * 3 + ["Unigram"] * 3
    assert all(len(row["pairs_per_second"]) == 2 and row["median"] > 0 for row in told["rows"])
    slowest = min(row["median"] for row in told["rows"] if row["way"] == tokenizing.OURS)
    assert told["verdict"] == ("met" if slowest >= 20_000 else "missed")
    assert f"20,000 pairs/s a core: {told['verdict']}" in capsys.readouterr().out


def test_tokenizing_refuses_a_row_that_does_other_work() -> None:
    first, *others = tokenizing.ways(checkpoint.BUILTIN_CHECKPOINT, pairs.read_pairs(pairs.BUILTIN_PAIRS, PAIRS))
    assert all(way.tokens(way.run()) == first.tokens(first.run()) for way in others)
    lazy = replace(others[0], tokens=lambda called: others[0].tokens(called)[:-1])
    with pytest.raises(RuntimeError, match="other tokens"):
        tokenizing.measured("WordPiece", [first, lazy], 1)
