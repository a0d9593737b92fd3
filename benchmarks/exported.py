"""Peers that compute an export of the model: ONNX Runtime and OpenVINO, each with the best of its ordinary settings.

Both get the batches of `peers.batches_contender`, and a thread for each core. Each row tries its settings on some
pairs and takes the fastest. Settings that fail are named in the row. Shapes: R pairs, C = 3 labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from albert_infer.schema import Precision
from benchmarks import exports, machine, peers
from benchmarks.contender import Absent, Contender, Labelling, Pairs, Samples, not_installed
from benchmarks.exports import INPUTS, LOGITS, Feed
from benchmarks.peers import Batch, BatchLogits

# What torch's exporter imports.
EXPORTER: Final = ("onnx", "onnxscript")
OPENVINO_PRECISIONS: Final = {Precision.FP32: "f32", Precision.BF16: "bf16"}
# One request after another in all threads, or several at once in some of them: which is faster depends on the shapes.
OPENVINO_HINTS: Final = ("LATENCY", "THROUGHPUT")
# Three tries of each way in turn, of which the best counts.
TRIES: Final = 3

# Makes one way to compute the logits of batches.
Ways = Mapping[str, Callable[[], BatchLogits]]


def onnx_runtime_name(precision: Precision) -> str:
    """The row of ONNX Runtime."""
    return f"ONNX Runtime, {precision}, sorted"


def openvino_name(precision: Precision) -> str:
    """The row of OpenVINO."""
    return f"OpenVINO, {precision}, sorted"


def onnx_runtime_contender(model: Path, precision: Precision, samples: Samples) -> Contender | Absent:
    """ONNX Runtime in fp32, or in int8 by dynamic or static quantisation."""
    name = onnx_runtime_name(precision)
    if reason := not_installed("onnxruntime", *EXPORTER):
        return Absent(name, precision, reason)
    ways = onnx_runtime_int8_ways if precision is Precision.INT8 else onnx_runtime_fp32_ways
    return fastest_contender(name, precision, model, ways(model, samples), samples.trial)


def openvino_contender(model: Path, precision: Precision, samples: Samples) -> Contender | Absent:
    """OpenVINO in fp32 or bf16, or in int8 by NNCF."""
    name, tools = openvino_name(precision), ("nncf",) if precision is Precision.INT8 else ()
    if reason := not_installed("openvino", *tools, *EXPORTER):
        return Absent(name, precision, reason)
    return fastest_contender(name, precision, model, openvino_ways(model, precision, samples), samples.trial)


def onnx_runtime_fp32_ways(model: Path, _: Samples) -> Ways:
    """The exports of both exporters."""
    return {
        "torch's export": lambda: _onnx_runtime(exports.torch_onnx(model)),
        "transformers' export": lambda: _onnx_runtime(exports.transformers_onnx(model)),
    }


def onnx_runtime_int8_ways(model: Path, samples: Samples) -> Ways:
    """Dynamic and static quantisation of the exports of both exporters."""
    ways: dict[str, Callable[[], BatchLogits]] = {}
    for exporter, export in (("torch's", exports.torch_onnx), ("transformers'", exports.transformers_onnx)):
        ways[f"quantize_dynamic of {exporter} export"] = partial(_dynamic, export, model)
        ways[f"quantize_static of {exporter} export"] = partial(_static, export, model, samples.calibration)
    return ways


def openvino_ways(model: Path, precision: Precision, samples: Samples) -> Ways:
    """The exports of both exporters with both performance hints; in int8 after NNCF."""
    ways: dict[str, Callable[[], BatchLogits]] = {}
    for exporter, export in (("torch's", exports.torch_onnx), ("transformers'", exports.transformers_openvino)):
        for hint in OPENVINO_HINTS:
            make = partial(_openvino, export, model, precision, hint, samples.calibration)
            ways[f"{'NNCF of ' if precision is Precision.INT8 else ''}{exporter} export, {hint}"] = make
    return ways


def fastest_contender(name: str, precision: Precision, model: Path, ways: Ways, trial: Pairs) -> Contender | Absent:
    """The way that labels `trial` fastest. Ways that fail are named in its settings; `Absent` if all fail."""
    contenders: dict[str, Contender] = {}
    prepared: dict[str, Labelling] = {}
    failed: dict[str, str] = {}
    for way, make in ways.items():
        try:
            contender = peers.batches_contender(name, precision, f"{way}, {machine.cores()} threads, ", model, make())
            labelling = contender.prepare(trial)
            labelling()
        except Exception as error:  # a peer may fail in any way, and is then a line of the table
            failed[way] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
            continue
        contenders[way], prepared[way] = contender, labelling
    told = "; ".join(f"{way} failed ({why})" for way, why in failed.items())
    if not contenders:
        return Absent(name, precision, told)
    best = fastest(prepared)
    settings = f"{contenders[best].settings}, the fastest of {len(prepared)} ways"
    return Contender(name, f"{settings}; {told}" if told else settings, precision, contenders[best].prepare)


def fastest(ways: Mapping[str, Callable[[], object]]) -> str:
    """The way whose best try took the least time; the first try of each warms it up."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TRIES):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return min(seconds, key=lambda name: min(seconds[name]))


def feeds(model: Path, pairs: Pairs) -> list[Feed]:
    """The pairs as inputs of an export, one at a time: no calibration sees padding."""
    batches = peers.padded_batches(AutoTokenizer.from_pretrained(model), pairs, size=1)
    return [{name: batch[name].numpy() for name in INPUTS} for batch in batches]


def _dynamic(export: Callable[[Path], Path], model: Path) -> BatchLogits:
    return _onnx_runtime(_in_int8(exports.dynamic_int8(export(model))))


def _static(export: Callable[[Path], Path], model: Path, calibration: Pairs) -> BatchLogits:
    return _onnx_runtime(_in_int8(exports.static_int8(export(model), feeds(model, calibration))))


def _in_int8(export: Path) -> Path:
    """Raises RuntimeError for a file in which the product of any weight is not in int8."""
    in_int8, in_fp32 = exports.int8_products(export), exports.fp32_products(export)
    if not in_int8 or in_fp32:
        raise RuntimeError(f"{in_fp32} products of a weight are in fp32, {in_int8} in int8")
    return export


def _onnx_runtime(export: Path) -> BatchLogits:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = machine.cores()
    options.log_severity_level = 3
    return partial(_onnx_runtime_logits, InferenceSession(str(export), options, providers=["CPUExecutionProvider"]))


def _openvino(
    export: Callable[[Path], Path], model: Path, precision: Precision, hint: str, calibration: Pairs
) -> BatchLogits:
    from openvino import AsyncInferQueue, Core

    path = export(model)
    properties: dict[str, object] = {"INFERENCE_NUM_THREADS": machine.cores(), "PERFORMANCE_HINT": hint}
    # OpenVINO gives the thread that loads it a stack for signal handlers. The stack is unmapped when the last object is
    # freed, which Ray may do in another thread. In the main thread, the next signal would then end the process.
    with ThreadPoolExecutor(max_workers=1) as loading:
        if precision is Precision.INT8:
            # What stays outside int8 is computed in what OpenVINO prefers on this processor.
            path = loading.submit(exports.nncf_int8, path, feeds(model, calibration)).result()
        else:
            properties["INFERENCE_PRECISION_HINT"] = OPENVINO_PRECISIONS[precision]
        compiled = loading.submit(Core().compile_model, path, "CPU", properties).result()
    if precision is Precision.INT8 and not openvino_int8_products(compiled):
        raise RuntimeError("no product is in int8")
    return partial(_openvino_logits, AsyncInferQueue(compiled))


def openvino_int8_products(compiled: Any) -> int:
    """The products that a compiled model computes in int8, as it tells itself."""
    operations = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    return sum(
        told["layerType"].astype(str) in ("FullyConnected", "MatMul")
        and told["runtimePrecision"].astype(str) in ("i8", "u8")
        for told in operations
    )


def _onnx_runtime_logits(session: Any, batches: Sequence[Batch]) -> NDArray[np.float32]:
    return np.concatenate(
        [session.run([LOGITS], {name: batch[name].numpy() for name in INPUTS})[0] for batch in batches]
    )


def _openvino_logits(requests: Any, batches: Sequence[Batch]) -> NDArray[np.float32]:
    logits: dict[int, NDArray[np.float32]] = {}
    requests.set_callback(lambda request, number: logits.update({number: request.get_output_tensor(0).data.copy()}))
    for number, batch in enumerate(batches):
        requests.start_async({name: batch[name].numpy() for name in INPUTS}, number)
    requests.wait_all()
    return np.concatenate([logits[number] for number in range(len(batches))])
