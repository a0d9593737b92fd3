"""The profile times the engine's own steps, and they explain the time of its passes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CPU_PRECISIONS

from albert_infer.classify.batching import micro_batches
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.weights import AlbertTensors
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import DeviceKind, Precision
from benchmarks import checkpoint, devices, ours, pairs, profile
from benchmarks.steps import PRODUCTS, Clock, Step, TimedPass, timed_passes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_timed_passes_give_the_bits_of_the_engine_and_time_every_step(tmp_path: Path, precision: Precision) -> None:
    checkpoint.save_checkpoint(tmp_path / "model", checkpoint.TINY)
    loaded = load_checkpoint(str(tmp_path / "model"))
    # Two pairs are longer than what the fused attention takes.
    texts = [
        *pairs.text_pairs(pairs.read_pairs(pairs.BUILTIN_PAIRS, 20)),
        ("a man " * 40, "he is"),
        ("a dog " * 50, "no"),
    ]
    encoded = ours.encoded_pairs(loaded, texts)
    batches = micro_batches(encoded.lengths, 200)
    engine = AlbertEngine(loaded.shape, loaded.weights, precision=precision, device=DeviceKind.CPU, threads=1)
    forward = TimedPass.timed(AlbertTensors.read(loaded.shape, loaded.weights), precision)
    passes = timed_passes(forward, loaded.shape.num_labels, encoded, batches, cores=1)
    np.testing.assert_array_equal(passes.logits_RC, engine.logits(encoded, batches))
    assert len(forward.taken) == len(batches)
    assert all(passes.steps[step] > 0 for step in Step)
    assert sum(passes.steps.values()) <= passes.seconds


def test_a_clock_gives_each_second_to_one_step() -> None:
    clock = Clock()
    clock.start()
    clock.enter(Step.ATTENTION)
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    clock.enter(Step.NORMS)
    taken = clock.stop()
    assert taken[Step.ATTENTION] >= 0.01 > taken[Step.PACKING] + taken[Step.NORMS]


@pytest.mark.process
def test_the_profile_is_a_table_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "profile.json"
    profile.main(["--shape", "tiny", "--pairs", "24", "--rounds", "1", "--precision", "fp32", "--json", str(to)])
    assert "explained by the steps" in capsys.readouterr().out
    told = json.loads(to.read_text())
    assert told["work"]["pairs"] == 24
    assert {each["cores"] for each in told["profiles"]} >= {1}
    for each in told["profiles"]:
        assert set(each["steps"]) == set(Step)
        assert 0 < each["explained"] <= 1
        assert 0 < each["share_of_products"] < 1
        assert each["gflops_of_products"] > 0


def test_shares_are_of_all_steps() -> None:
    steps = dict.fromkeys((step.value for step in Step), 1.0)
    found = profile.Profile(Precision.FP32, 2, 10.0, 100.0, steps, between=1.0, clock_cost=0.0)
    assert found.explained == pytest.approx(11 / 12)
    assert found.share(*PRODUCTS) == pytest.approx(4 / 11)
    assert not devices.obstacle(DeviceKind.CPU, Precision.FP32)
