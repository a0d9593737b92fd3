"""Exports of a model for ONNX Runtime and OpenVINO, in fp32 and in int8: files next to the model, each written once.

There are two exporters: torch's own, and that of transformers, which fuses operations for its runtime. int8 is dynamic
(activations are quantised as they come) or static (their scales are calibrated before).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

# The inputs of a model (B, L) by their names.
Feed = dict[str, NDArray[np.int64]]

INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
LOGITS: Final = "logits"
# Pooler and classifier are `Gemm`, and stay in fp32 like ours.
PRODUCT: Final = "MatMul"


def torch_onnx(model: Path) -> Path:
    """The model as ONNX by torch's exporter, with free batch and length."""

    def write(export: Path) -> None:
        # Without torch's fused attention, which ONNX spells out in twice as many operations.
        albert = _loaded(model, attn_implementation="eager")
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        torch.onnx.export(
            albert,
            kwargs=_example(),
            f=export,
            output_names=[LOGITS],
            dynamic_shapes=dict.fromkeys(INPUTS, free),
            external_data=False,
            verbose=False,
        )

    return _written(model.with_suffix(".onnx"), write)


def transformers_onnx(model: Path) -> Path:
    """The same by transformers' exporter, with the operations that ONNX Runtime has for CPUs."""

    def write(export: Path) -> None:
        import onnx_ir
        from transformers.exporters import exporter_onnx
        from transformers.exporters.configs import OnnxConfig

        exporter: Any = exporter_onnx
        config = OnnxConfig(dynamic=True, ort_fusions="cpu")
        onnx_ir.save(exporter.OnnxExporter().export(_loaded(model), _example(), config=config).program, str(export))

    return _written(model.with_suffix(".fused.onnx"), write)


def dynamic_int8(export: Path) -> Path:
    """An ONNX export with its weights in int8, and with activations that are quantised as they come."""
    from onnxruntime.quantization import quantize_dynamic

    return _written(export.with_suffix(".dynamic.onnx"), lambda to: quantize_dynamic(_folded(export), to))


def static_int8(export: Path, feeds: Sequence[Feed]) -> Path:
    """An ONNX export with weights and activations in int8: a scale for each output, activations as in `feeds`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it ships no types
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self._left, None)

    def write(to: Path) -> None:
        quantize_static(
            folded := _folded(export),
            to,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[PRODUCT],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_without_weight(folded),
        )

    return _written(export.with_suffix(".static.onnx"), write)


def transformers_openvino(model: Path) -> Path:
    """The model as OpenVINO's own format by transformers' exporter."""

    def write(export: Path) -> None:
        from openvino import save_model
        from transformers.exporters import exporter_openvino
        from transformers.exporters.configs import OpenVINOConfig

        exporter: Any = exporter_openvino
        program = (
            exporter.OpenVINOExporter().export(_loaded(model), _example(), config=OpenVINOConfig(dynamic=True)).program
        )
        save_model(program, export, compress_to_fp16=False)

    return _written(model.with_suffix(".xml"), write)


def nncf_int8(export: Path, feeds: Sequence[Feed]) -> Path:
    """An export with weights and activations in int8 by NNCF, calibrated on `feeds`; in OpenVINO's format."""

    def write(to: Path) -> None:
        import nncf
        from openvino import Core, save_model

        quantized = nncf.quantize(
            Core().read_model(export),
            nncf.Dataset(list(feeds)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(feeds),
        )
        save_model(quantized, to, compress_to_fp16=False)

    return _written(export.with_suffix(f"{export.suffix}.int8.xml"), write)


def int8_products(export: Path) -> int:
    """The products of a weight that an ONNX file computes in int8: 0 for a file that only looks quantised.

    A dynamic file has `MatMulInteger`; a static file has products whose two inputs both come from int8.
    """
    import onnx

    nodes = onnx.load(export, load_external_data=False).graph.node
    restored = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(
        node.op_type == "MatMulInteger" or (node.op_type == PRODUCT and {*node.input[:2]} <= restored) for node in nodes
    )


def fp32_products(export: Path) -> int:
    """The products of a weight that an ONNX file still computes in fp32, including weights that alone are in int8."""
    import onnx

    graph = onnx.load(export).graph
    weights = {each.name for each in graph.initializer}
    restored = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    weights |= {node.output[0] for node in restored if node.input[0] in weights}
    inputs = {node.output[0] for node in restored} - weights
    products = [node.input[:2] for node in graph.node if node.op_type == PRODUCT]
    return sum(weight in weights and hidden not in inputs for hidden, weight in products)


def _without_weight(export: Path) -> list[str]:
    """The names of the products between two activations: int8 costs more than it saves there."""
    import onnx

    graph = onnx.load(export).graph
    weights = {each.name for each in graph.initializer}
    return [node.name for node in graph.node if node.op_type == PRODUCT and node.input[1] not in weights]


def _folded(export: Path) -> Path:
    """As the documentation of ONNX Runtime asks: without it, weights hide behind a transposition and stay in fp32."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    def write(to: Path) -> None:
        # Shapes do not get through this model, and quantisation infers them again: those that are stored contradict it.
        quant_pre_process(export, to, skip_symbolic_shape=True, skip_onnx_shape=True)
        folded = onnx.load(to)
        for value in folded.graph.value_info:
            value.type.tensor_type.ClearField("shape")
        onnx.save(folded, to)

    return _written(export.with_suffix(".folded.onnx"), write)


def _loaded(model: Path, **settings: Any) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32, **settings).eval()


def _example() -> dict[str, torch.Tensor]:
    return {name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS}


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    if not path.exists():
        with _silent():
            write(path)
    return path


@contextmanager
def _silent() -> Iterator[None]:
    """Without what exporters and quantisers say about themselves: deprecations of torch, and untested versions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
