"""What the processor allows: the operations of a forward pass, and how fast its matrix products alone run here.

Shapes: R pairs, T tokens.
"""
# ruff: noqa: N803 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from albert_infer.engine import AlbertShape
from albert_infer.engine.albert import DTYPES
from albert_infer.engine.int8 import Int8Dense
from albert_infer.schema import Precision

# Long enough to reach a steady clock, short enough to be repeated in every round.
SECONDS_PER_WAY: Final = 1.0

Product = Callable[[Tensor], Tensor]


def forward_flop(shape: AlbertShape, lengths_R: NDArray[np.int64]) -> int:
    """Operations of a forward pass that computes every token in every layer, without padding.

    Products and attention of the layers; the embedding mapping and the classifier, 0.1 % of it, are left out.
    """
    tokens, pairs_of_tokens = int(lengths_R.sum()), int((lengths_R**2).sum())
    attention = 4 * shape.hidden_size * pairs_of_tokens
    return len(shape.path) * (tokens * _layer_flop(shape) + attention)


def needed_product_flop(shape: AlbertShape, lengths_R: NDArray[np.int64]) -> int:
    """Operations of the layers' products that no exact forward pass can save.

    The last layer's answer is read at [CLS] alone: of all its other tokens only keys and values are needed.
    """
    tokens, pairs = int(lengths_R.sum()), len(lengths_R)
    keys_and_values = 4 * shape.hidden_size**2
    all_but_last = (len(shape.path) - 1) * tokens * _layer_flop(shape)
    return all_but_last + tokens * keys_and_values + pairs * (_layer_flop(shape) - keys_and_values)


def product_gflops(shape: AlbertShape, tokens: int, precision: Precision) -> dict[str, float]:
    """GFLOP/s of one layer's four products on `tokens` tokens, for each way to compute them here.

    The four are fused query, key and value; attention output; FFN in; FFN out. The limit is the best way's.
    """
    return {
        name: _gflops([_product(way, *sizes, precision) for sizes in _product_sizes(shape)], tokens, precision)
        for name, way in _ways(tokens, precision).items()
    }


def _layer_flop(shape: AlbertShape) -> int:
    """Operations of one layer's products for one token: a multiplication and an addition per weight."""
    return sum(2 * inputs * outputs for inputs, outputs in _product_sizes(shape))


def _product_sizes(shape: AlbertShape) -> list[tuple[int, int]]:
    hidden, intermediate = shape.hidden_size, shape.intermediate_size
    return [(hidden, 3 * hidden), (hidden, hidden), (hidden, intermediate), (intermediate, hidden)]


def _ways(tokens: int, precision: Precision) -> dict[str, Callable[[Tensor, Tensor], Product]]:
    """Torch's plain product, and those that lay the weights out beforehand; MKL has no bf16."""
    if precision is Precision.INT8:
        return {"oneDNN, quantised beforehand": _int8_product}
    ways: dict[str, Callable[[Tensor, Tensor], Product]] = {
        "torch linear": lambda weight, bias: lambda hidden: functional.linear(hidden, weight, bias)
    }
    # oneDNN packs bf16 weights only where the processor has instructions for it.
    if precision is Precision.FP32 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ways["oneDNN, packed weights"] = lambda weight, bias: _onednn_product(weight, bias, tokens)
    if precision is Precision.FP32 and hasattr(torch.ops.mkl, "_mkl_linear"):
        ways["MKL, packed weights"] = lambda weight, bias: _mkl_product(weight, bias, tokens)
    return ways


def _int8_product(weight: Tensor, bias: Tensor) -> Product:
    dense = Int8Dense(weight, bias)
    return lambda quantized: dense.of_quantized(quantized, torch.bfloat16)


def _onednn_product(weight: Tensor, bias: Tensor, tokens: int) -> Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)
    return lambda hidden: torch.ops.mkldnn._linear_pointwise(hidden, packed, bias, "none", [], "")


def _mkl_product(weight: Tensor, bias: Tensor, tokens: int) -> Product:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, tokens)
    return lambda hidden: torch.ops.mkl._mkl_linear(hidden, packed, weight, bias, tokens)


def _hidden(tokens: int, inputs: int, precision: Precision) -> Tensor:
    if precision is Precision.INT8:
        return torch.randint(256, (tokens, inputs), dtype=torch.uint8)
    return torch.randn(tokens, inputs, dtype=DTYPES[precision])


def _product(
    way: Callable[[Tensor, Tensor], Product], inputs: int, outputs: int, precision: Precision
) -> tuple[int, int, Product]:
    dtype = DTYPES[precision]
    return inputs, outputs, way(torch.randn(outputs, inputs, dtype=dtype), torch.randn(outputs, dtype=dtype))


@torch.inference_mode()
def _gflops(products: list[tuple[int, int, Product]], tokens: int, precision: Precision) -> float:
    work = [
        (_hidden(tokens, inputs, precision), 2 * tokens * inputs * outputs, product)
        for inputs, outputs, product in products
    ]
    for hidden, _, product in work:  # the first call of a shape chooses and builds its kernel
        product(hidden)
    begun, flop = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS_PER_WAY:
        for hidden, operations, product in work:
            product(hidden)
            flop += operations
    return flop / (time.perf_counter() - begun) / 1e9
