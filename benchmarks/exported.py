"""Peers that compute an export of the model: ONNX Runtime and OpenVINO, as their documentation uses them on a CPU.

Both get the batches of `peers.batches_contender`, and a thread for each core. Shapes: R pairs, C = 3 labels.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from albert_infer.schema import Precision
from benchmarks import machine, peers
from benchmarks.contender import Absent, Contender, Pairs, not_installed
from benchmarks.peers import Batch, BatchLogits

INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
LOGITS: Final = "logits"
# What torch's exporter imports.
EXPORTER: Final = ("onnx", "onnxscript")
OPENVINO_PRECISIONS: Final = {Precision.FP32: "f32", Precision.BF16: "bf16"}
# One request after another in all threads, or several at once in some of them: which is faster depends on the shapes.
OPENVINO_HINTS: Final = ("LATENCY", "THROUGHPUT")
# Three tries of each hint in turn, of which the best counts.
TRIES: Final = 3


def onnx_runtime_name(precision: Precision) -> str:
    """The row of ONNX Runtime."""
    return f"ONNX Runtime, {precision}, sorted"


def openvino_name(precision: Precision) -> str:
    """The row of OpenVINO."""
    return f"OpenVINO, {precision}, sorted"


def onnx_runtime_contender(model: Path, precision: Precision) -> Contender | Absent:
    """ONNX Runtime in fp32, or with the weights in int8 and the activations quantised as they come."""
    name = onnx_runtime_name(precision)
    if reason := not_installed("onnxruntime", *EXPORTER):
        return Absent(name, precision, reason)
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = machine.cores()
    export = quantized_export(model) if precision is Precision.INT8 else exported(model)
    session = InferenceSession(str(export), options, providers=["CPUExecutionProvider"])
    settings = f"{machine.cores()} threads, {'quantize_dynamic, ' if precision is Precision.INT8 else ''}"
    return peers.batches_contender(name, precision, settings, model, partial(_onnx_runtime_logits, session))


def openvino_contender(model: Path, precision: Precision, trial: Pairs) -> Contender | Absent:
    """OpenVINO on the plain export, with the performance hint that is faster on the pairs of `trial`."""
    name = openvino_name(precision)
    if reason := not_installed("openvino", *EXPORTER):
        return Absent(name, precision, reason)
    from openvino import AsyncInferQueue, Core

    ways: dict[str, BatchLogits] = {}
    for hint in OPENVINO_HINTS:
        properties = {
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": machine.cores(),
            "PERFORMANCE_HINT": hint,
        }
        ways[hint] = partial(
            _openvino_logits, AsyncInferQueue(Core().compile_model(exported(model), "CPU", properties))
        )
    contenders = {
        hint: peers.batches_contender(
            name, precision, f"{hint} (the faster hint here), {machine.cores()} threads, ", model, logits
        )
        for hint, logits in ways.items()
    }
    return contenders[fastest({hint: contender.prepare(trial) for hint, contender in contenders.items()})]


def exported(model: Path) -> Path:
    """The model as ONNX, beside its folder, with free batch and length; written when first asked for."""
    export = model.with_suffix(".onnx")
    if not export.exists():
        # Without torch's fused attention, which ONNX spells out in twice as many operations.
        albert = AutoModelForSequenceClassification.from_pretrained(
            model, dtype=torch.float32, attn_implementation="eager"
        )
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        with warnings.catch_warnings():
            # The exporter's own: it calls what torch deprecates.
            warnings.simplefilter("ignore", FutureWarning)
            torch.onnx.export(
                albert.eval(),
                kwargs={name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS},
                f=export,
                output_names=[LOGITS],
                dynamic_shapes=dict.fromkeys(INPUTS, free),
                external_data=False,
                verbose=False,
            )
    return export


def quantized_export(model: Path) -> Path:
    """`exported` with its weights in int8, beside it."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quantized, folded = model.with_suffix(".int8.onnx"), model.with_suffix(".folded.onnx")
    if not quantized.exists():
        # As its documentation asks: without it, the layers' weights hide behind a transposition and stay in fp32. Its
        # symbolic shapes do not get through this model, and dynamic quantisation has no use for them.
        quant_pre_process(exported(model), folded, skip_symbolic_shape=True)
        quantize_dynamic(folded, quantized)
    return quantized


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
