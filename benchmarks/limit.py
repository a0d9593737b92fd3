"""What the device allows: the operations of a forward pass, and how fast its matrix products alone run here.

The products alone are a loop over the four weights of a layer in turn, as a forward pass uses them: each product finds
the weights of the other three in the cache. One weight alone is about a twentieth faster.

Shapes: R pairs, T tokens.
"""
# ruff: noqa: N803 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from albert_infer.engine import AlbertShape
from albert_infer.engine.cpu.int8 import state_dtype
from albert_infer.engine.cpu.threads import Threads
from albert_infer.engine.cuda.fp8 import scaled_product
from albert_infer.engine.cuda.passes import FP8, Fp8Rows
from albert_infer.engine.weights import onednn_has_bf16
from albert_infer.schema import DeviceKind, Precision
from benchmarks.devices import FLOAT_DTYPES, finish

# Long enough to reach a steady clock, short enough to be repeated in every round.
SECONDS_PER_WAY: Final = 1.0

Product = Callable[[Tensor], Tensor]
# A product of a weight (out, in) and a bias (out).
Way = Callable[[Tensor, Tensor], Product]


# GFLOP/s of the four products in turn, measured for so many seconds.
Measure = Callable[[float], float]


@dataclass(frozen=True)
class Task:
    """A product, what it is to multiply, and its operations."""

    product: Product
    hidden: Tensor
    flop: int


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


def product_gflops(
    shape: AlbertShape, tokens: int, precision: str, device: DeviceKind, seconds: float = SECONDS_PER_WAY
) -> dict[str, float]:
    """GFLOP/s of one layer's four products on `tokens` tokens, for each way to compute them, timed for `seconds` each.

    The four are fused query, key and value; attention output; FFN in; FFN out. The limit is the best way's.
    """
    return {name: measure(seconds) for name, measure in product_ways(shape, tokens, precision, device).items()}


def product_ways(
    shape: AlbertShape, tokens: int, precision: str, device: DeviceKind, cores: int | None = None
) -> dict[str, Measure]:
    """The ways to compute one layer's four products in turn, on so many cores of a CPU; None is all of them."""
    sizes = _product_sizes(shape)
    if device is DeviceKind.CUDA:
        return {
            name: partial(_gflops, _work(way, sizes, tokens, precision, device), device)
            for name, way in _ways_on_cuda(precision).items()
        }
    measures: dict[str, Measure] = {}
    for name, way in _ways_on_cpu(tokens, precision).items():
        work = _work(way, sizes, tokens, precision, device)
        if cores is None:
            measures[name] = partial(_gflops, work, device)
        measures[f"{name}, a product a core"] = partial(_gflops_of_cores, work, cores or torch.get_num_threads())
    return measures


def _layer_flop(shape: AlbertShape) -> int:
    """Operations of one layer's products for one token: a multiplication and an addition per weight."""
    return sum(2 * inputs * outputs for inputs, outputs in _product_sizes(shape))


def _product_sizes(shape: AlbertShape) -> list[tuple[int, int]]:
    hidden, intermediate = shape.hidden_size, shape.intermediate_size
    return [(hidden, 3 * hidden), (hidden, hidden), (hidden, intermediate), (intermediate, hidden)]


def _ways_on_cuda(precision: str) -> dict[str, Way]:
    if precision == Precision.INT8:
        return {"torch int8": lambda weight, _: lambda hidden: torch._int_mm(hidden, weight.t())}
    if precision == Precision.FP8:
        return {"torch fp8, quantised beforehand": _fp8_product}
    return {"torch linear": _torch_product}


def _ways_on_cpu(tokens: int, precision: str) -> dict[str, Way]:
    """Torch's plain product, and those that lay the weights out beforehand; MKL has no bf16."""
    if precision == Precision.INT8:
        return {"oneDNN, quantised beforehand": _onednn_int8_product}
    ways: dict[str, Way] = {"torch linear": _torch_product}
    # oneDNN packs bf16 weights only where the processor has instructions for it.
    is_packed_bf16 = precision == Precision.BF16 and onednn_has_bf16()
    if precision == Precision.FP32 or is_packed_bf16:
        ways["oneDNN, packed weights"] = lambda weight, bias: _onednn_product(weight, bias, tokens)
    if precision == Precision.FP32 and hasattr(torch.ops.mkl, "_mkl_linear"):
        ways["MKL, packed weights"] = lambda weight, bias: _mkl_product(weight, bias, tokens)
    return ways


def _torch_product(weight: Tensor, bias: Tensor) -> Product:
    return lambda hidden: functional.linear(hidden, weight, bias)


def _fp8_product(weight: Tensor, _: Tensor) -> Product:
    """From fp8 to bf16, a scale for each token and each output."""
    scales = torch.ones(len(weight), 1, device=weight.device)
    return lambda hidden: scaled_product(Fp8Rows(hidden, _ones(len(hidden), hidden.device)), Fp8Rows(weight, scales))


@cache
def _ones(rows: int, device: torch.device) -> Tensor:
    return torch.ones(rows, 1, device=device)


def _onednn_product(weight: Tensor, bias: Tensor, tokens: int) -> Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)
    return lambda hidden: torch.ops.mkldnn._linear_pointwise(hidden, packed, bias, "none", [], "")


def _mkl_product(weight: Tensor, bias: Tensor, tokens: int) -> Product:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, tokens)
    return lambda hidden: torch.ops.mkl._mkl_linear(hidden, packed, weight, bias, tokens)


def _onednn_int8_product(weight: Tensor, _: Tensor) -> Product:
    """From uint8 to the type of the engine, one scale an output: what there is to do before bias and activation."""
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zero_points = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int64)
    dtype = state_dtype()
    return lambda hidden: torch.ops.onednn.qlinear_pointwise(
        hidden, 1.0, 128, packed, scales, zero_points, None, 1.0, 0, dtype, "none", [], ""
    )


def _numbers(sizes: tuple[int, int], precision: str, device: DeviceKind, *, of_int8: torch.dtype) -> Tensor:
    """Random numbers on the device; in int8 of the type `of_int8`, seven bits of it."""
    if precision == Precision.INT8:
        return torch.randint(64, sizes, dtype=of_int8, device=device.value)
    if precision == Precision.FP8:
        return torch.randn(*sizes, device=device.value).to(FP8)
    return torch.randn(*sizes, dtype=FLOAT_DTYPES[precision], device=device.value)


def _work(way: Way, sizes: Sequence[tuple[int, int]], tokens: int, precision: str, device: DeviceKind) -> list[Task]:
    # oneDNN takes activations without a sign, a GPU with one.
    hidden_type = torch.int8 if device is DeviceKind.CUDA else torch.uint8
    work = []
    for inputs, outputs in sizes:
        weight = _numbers((outputs, inputs), precision, device, of_int8=torch.int8)
        hidden = _numbers((tokens, inputs), precision, device, of_int8=hidden_type)
        work.append(Task(way(weight, weight[:, 0].contiguous()), hidden, 2 * tokens * inputs * outputs))
    return work


def _gflops_of_cores(work: Sequence[Task], cores: int, seconds: float) -> float:
    """With a product in each core at once, none in two. Each core has its own inputs, and all share the weights."""
    works = [[replace(task, hidden=task.hidden.clone()) for task in work] for _ in range(cores)]
    calls = [partial(_gflops, each, DeviceKind.CPU, seconds) for each in works]
    return sum(Threads(cores).results(calls))


@torch.inference_mode()
def _gflops(work: Sequence[Task], device: DeviceKind, seconds: float) -> float:
    for task in work:  # the first call of a shape chooses and builds its kernel
        task.product(task.hidden)
    finish(device)
    begun, rounds = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for task in work:
            task.product(task.hidden)
        rounds += 1
    finish(device)
    return rounds * sum(task.flop for task in work) / (time.perf_counter() - begun) / 1e9
