"""The exported peers of the benchmark do the same work, are really in int8, and fail as a line of the table."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from albert_infer.schema import Precision
from benchmarks import checkpoint, exported, exports, ours, pairs, peers
from benchmarks.contender import Absent, Contender, Samples

TOLERANCE: Final = 1e-5
BF16_TOLERANCE: Final = 0.1
INT8_SAME_LABEL: Final = 0.8
PAIRS: Final = 40  # more than one batch of 32
# Six products a layer, and the mapping of the embeddings; three of the six are one in transformers' export.
LAYERS: Final = 2
PRODUCTS: Final = {"torch": 6 * LAYERS + 1, "transformers": 4 * LAYERS + 1}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    checkpoint.save_checkpoint(folder, checkpoint.TINY)
    return folder


@pytest.fixture(scope="module")
def samples() -> Samples:
    texts = pairs.text_pairs(pairs.read_pairs(pairs.BUILTIN_PAIRS, PAIRS + 20))
    return Samples(texts[:PAIRS], texts[PAIRS:])


def way_of(ways: exported.Ways, model: Path, name: str, precision: Precision) -> Contender:
    return peers.batches_contender(name, precision, "", model, ways[name]())


@pytest.mark.process
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_export_in_fp32_does_the_same_work(model: Path, samples: Samples, runtime: str) -> None:
    pytest.importorskip(runtime, reason="the peers of the benchmark are the `bench` extra")
    ways = (
        exported.onnx_runtime_fp32_ways(model, samples)
        if runtime == "onnxruntime"
        else exported.openvino_ways(model, Precision.FP32, samples)
    )
    expected_RC = peers.pipeline_contenders(model)[0].prepare(samples.trial)()
    for name in ways:
        found_RC = way_of(ways, model, name, Precision.FP32).prepare(samples.trial)()
        np.testing.assert_allclose(found_RC, expected_RC, atol=TOLERANCE, err_msg=name)


@pytest.mark.process
def test_every_int8_export_is_in_int8_and_gives_nearly_the_same_labels(model: Path, samples: Samples) -> None:
    pytest.importorskip("onnxruntime", reason="the peers of the benchmark are the `bench` extra")
    expected_RC = ours.engine_contender(model, Precision.FP32).prepare(samples.trial)()
    ways = exported.onnx_runtime_int8_ways(model, samples)
    for name in ways:
        found_RC = way_of(ways, model, name, Precision.INT8).prepare(samples.trial)()
        assert (found_RC.argmax(axis=1) == expected_RC.argmax(axis=1)).mean() >= INT8_SAME_LABEL, name
    feeds = exported.feeds(model, samples.calibration)
    for exporter, export in (("torch", exports.torch_onnx(model)), ("transformers", exports.transformers_onnx(model))):
        assert exports.int8_products(export) == 0
        with pytest.raises(RuntimeError, match="0 in int8"):
            exported._in_int8(export)
        assert exports.int8_products(exports.static_int8(export, feeds)) == PRODUCTS[exporter]
        # Pooler and classifier too.
        assert exports.int8_products(exports.dynamic_int8(export)) == PRODUCTS[exporter] + 2


@pytest.mark.process
def test_openvino_computes_in_int8_after_nncf(model: Path, samples: Samples) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason="the peers of the benchmark are the `bench` extra")
    expected_RC = ours.engine_contender(model, Precision.FP32).prepare(samples.trial)()
    contender = exported.openvino_contender(model, Precision.INT8, samples)
    assert isinstance(contender, Contender), contender
    assert "failed" not in contender.settings
    found_RC = contender.prepare(samples.trial)()
    assert (found_RC.argmax(axis=1) == expected_RC.argmax(axis=1)).mean() >= INT8_SAME_LABEL


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: where a thread's signal handlers run."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int]:
    """The address and the size of the stack for the signal handlers of this thread."""
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.pointer, stack.size


@pytest.mark.process
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
def test_openvino_leaves_this_thread_its_stack_for_signal_handlers(
    model: Path, samples: Samples, precision: Precision
) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason="the peers of the benchmark are the `bench` extra")
    before = signal_stack()
    ways = exported.openvino_ways(model, precision, samples)
    contender = way_of(ways, model, next(iter(ways)), precision)
    assert len(contender.prepare(samples.trial)()) == len(samples.trial)
    assert signal_stack() == before  # while what OpenVINO loaded is still there


def test_ways_that_fail_are_named_and_the_others_are_tried(model: Path, samples: Samples) -> None:
    def works() -> peers.BatchLogits:
        return lambda batches: np.zeros((sum(len(batch["input_ids"]) for batch in batches), 3), dtype=np.float32)

    def fails() -> peers.BatchLogits:
        raise ValueError("no such operation\nand more")

    def contender_of(ways: exported.Ways) -> Contender | Absent:
        return exported.fastest_contender("a peer", Precision.INT8, model, ways, samples.trial[:3])

    found = contender_of({"broken": fails, "good": works})
    assert isinstance(found, Contender)
    assert found.settings.startswith("int8, good, ")
    assert found.settings.endswith("the fastest of 1 ways; broken failed (ValueError: no such operation)")
    absent = Absent("a peer", Precision.INT8, "broken failed (ValueError: no such operation)")
    assert contender_of({"broken": fails}) == absent


def test_the_fastest_way_is_the_one_with_the_best_try() -> None:
    ways = {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.002)}
    assert exported.fastest(ways) == "fast"
    assert exported.fastest(dict(reversed(ways.items()))) == "fast"
