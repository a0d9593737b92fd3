"""The benchmark of topics compares like with like, and judges its promises by the figures of the run."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import DeviceKind, Precision
from benchmarks import checkpoint, devices, ours, pairs, peers, shares, topics, zero_shot
from benchmarks.machine import this_machine
from benchmarks.results import Row
from benchmarks.shares import TOKENIZING, Shares
from benchmarks.topics import Ranked, Way
from benchmarks.zero_shot import Bar, Results

pytestmark = pytest.mark.usefixtures("one_thread")

# fp32 in another order of operations.
TOLERANCE: Final = 1e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    checkpoint.save_checkpoint(folder, checkpoint.TINY)
    return folder


@pytest.mark.computes
def test_every_way_gives_the_scores_of_the_pipeline(model: Path, tmp_path: Path) -> None:
    names, texts = topics.candidates(7), topics.texts_of(pairs.BUILTIN_PAIRS, 6)
    loaded = load_checkpoint(str(model))
    ways = [
        topics.pipeline_way(model, Precision.FP32, names, texts[:1]),
        topics.engine_way(loaded, Precision.FP32, names),
        topics.unit_way(loaded, Precision.FP32, names, tmp_path),
    ]
    expected_XC = ways[0].prepare(texts)().scores
    assert expected_XC.shape == (6, 7)
    assert len(set(expected_XC.argmax(axis=1))) > 1, "a checkpoint that always answers the same shows nothing"
    for way in ways:
        ranked = way.prepare(texts)()
        np.testing.assert_allclose(ranked.scores, expected_XC, atol=TOLERANCE, err_msg=str(way.settings))
        assert ranked.seconds.keys() == way.settings.keys()
        assert min(ranked.seconds.values()) > 0


def test_texts_differ_and_the_shortest_come_first() -> None:
    texts = topics.texts_of(pairs.BUILTIN_PAIRS, 1000)
    lengths = [len(encoding) for encoding in checkpoint.tokenizer().encode_batch(texts)]
    assert len(set(texts)) == 1000
    assert lengths == sorted(lengths)


def test_there_are_a_hundred_candidates_without_a_comma() -> None:
    names = topics.candidates(100)
    assert len(set(names)) == 100
    assert not any("," in name for name in names)
    with pytest.raises(ValueError, match="100 candidates, not 101"):
        topics.candidates(101)


def test_blocks_hold_each_text_once_and_each_way_takes_them_in_turn() -> None:
    calls: list[tuple[str, tuple[str, ...]]] = []

    def way(name: str) -> Way:
        def prepare(texts: list[str]) -> object:
            def ranked() -> Ranked:
                calls.append((name, tuple(texts)))
                return Ranked({name: 0.5}, np.full((len(texts), 2), [0.2, 0.8], np.float32))

            return ranked

        return Way(Precision.FP32, {name: ""}, prepare)  # type: ignore[arg-type]

    rows = zero_shot.ranked_rows([way("a"), way("b")], ["1", "2", "3", "4"], 2, blocks=2)
    warm_up = [("a", ("1",)), ("b", ("1",))]
    assert calls == [*warm_up, ("a", ("1", "3")), ("b", ("1", "3")), ("a", ("2", "4")), ("b", ("2", "4"))]
    assert [(row.name, row.rounds, row.largest_difference, row.same_label) for row in rows] == [
        ("a", (8.0, 8.0), 0.0, 1.0),
        ("b", (8.0, 8.0), 0.0, 1.0),
    ]


def test_parts_of_a_unit_take_all_of_its_time(model: Path, tmp_path: Path) -> None:
    names, texts = topics.candidates(5), topics.texts_of(pairs.BUILTIN_PAIRS, 4)
    run = topics.unit_runner(load_checkpoint(str(model)), Precision.FP32, names, tmp_path)(texts)
    taken = shares.shares_of(Precision.FP32, run, texts, len(names))
    assert sum(map(taken.share, taken.seconds)) == pytest.approx(1.0)
    assert taken.share("the engine") > 0
    # The clock and the profiler differ by less than a millisecond.
    assert min(taken.seconds.values()) > -1e-3


def row(name: str, speed: float, difference: float = 0.0) -> Row:
    return Row(name, "", Precision.FP32, (speed,), largest_difference=difference, same_label=1.0)


def test_promises_are_judged_by_the_rows_of_the_run() -> None:
    fp32, bf16 = Precision.FP32, Precision.BF16
    results = Results(
        this_machine(),
        "tiny",
        "texts.parquet",
        1,
        1,
        [
            row(topics.pipeline_name(fp32), 10.0),
            row(topics.engine_name(fp32), 31.0, 1e-6),
            row(topics.engine_name(bf16), 100.0),
            row(topics.unit_name(fp32), 30.0, 1e-3),
            row(topics.unit_name(bf16), 80.0),
            row(zero_shot.JOB_NAME, 95.0),
        ],
        [row(peers.PIPELINE_SORTED_NAME, 20.0), row(ours.engine_name(fp32), 60.0), row(ours.engine_name(bf16), 180.0)],
        [Shares(bf16, 1, 100, {TOKENIZING: 1.0, "the engine": 49.0})],
        {"precision": "bf16"},
    )
    judged = [(bar.value, bar.wanted, bar.verdict) for bar in results.bars()]
    assert judged == [
        (pytest.approx(3.0), pytest.approx(3.0), "met"),
        (pytest.approx(8.0), pytest.approx(9.0), "missed"),
        (pytest.approx(30 / 31), 0.9, "met"),
        (pytest.approx(0.8), 0.9, "missed"),
        (None, 0.9, "not measured"),  # int8
        (pytest.approx(0.95), 0.9, "met"),
        (pytest.approx(0.02), 0.03, "met"),
        (1e-6, 1e-4, "met"),
        (1e-3, 1e-4, "missed"),
    ]
    assert Bar("", 0.03, 0.03, is_limit=True).verdict == "missed"


@pytest.mark.computes
def test_a_small_run_measures_everything_but_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--shape tiny --texts 4 --candidates 3 --blocks 2 --pairs 4 --share-texts 4 --share-candidates 5 --no-job"
    given = zero_shot.parser().parse_args([*flags.split(), "--data", str(pairs.BUILTIN_PAIRS)])
    results = zero_shot.results_of(given)
    zero_shot.show(results)
    printed = capsys.readouterr().out
    figures = json.loads(json.dumps(results.to_json()))
    there = [each for each in zero_shot.PRECISIONS if not devices.obstacle(DeviceKind.CPU, each)]
    expected = [
        *(topics.pipeline_name(each) for each in there if each in devices.FLOAT_DTYPES),
        *(topics.engine_name(each) for each in there),
        *(name(each) for each in there for name in (topics.rows_name, topics.unit_name)),
    ]
    assert [each["name"] for each in figures["rows"]] == expected
    assert all(len(each["rounds"]) == 2 and each["pairs_per_second"] > 0 for each in figures["rows"])
    assert all(f"| {name} " in printed for name in expected)
    assert [each["precision"] for each in figures["shares"]] == there[1:]
    verdicts = {each["claim"]: each["verdict"] for each in figures["bars"]}
    assert verdicts[f"scores of {topics.unit_name(Precision.FP32)} differ by"] == "met"
