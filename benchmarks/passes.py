"""The kernels of one forward pass on a GPU, and the bytes that each of them moves.

`plain_pass` runs the engine's own layers on tensors without data, so a pass of ALBERT-xxlarge is counted in a second on
any machine. Every operation of torch that computes something is one kernel. A kernel reads each of its inputs once and
writes its output once. `fused_pass` applies the rules by which fused kernels replace plain ones.

Shapes: R rows, L tokens of a row, A heads, D columns of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from albert_infer.engine import AlbertShape
from albert_infer.engine.albert import ForwardPass
from albert_infer.engine.plain import PlainLayers
from albert_infer.engine.tensors import albert_tensors
from albert_infer.engine.weights import AlbertTensors, Dense
from albert_infer.schema import EncodedPairs

# Tokens of a tile of flash attention, and of one that is made for short rows.
FLASH_TILE: Final = 128
SHORT_TILE: Final = 32
# Operations that only ask or reserve, and the names of a norm and of a product, which depend on torch's mode.
NO_KERNEL: Final = ("device", "empty", "new_empty", "empty_like", "lift_fresh")
NORMS: Final = ("layer_norm", "native_layer_norm")
# What plain layers need to know where rows begin, and fused layers have already.
ROW_STARTS: Final = ("arange", "copy of torch.int64")
PRODUCTS: Final = ("linear", "addmm", "mm")


class Kind(StrEnum):
    """The kind of a kernel: each kind has a limit of its own on a card."""

    PRODUCT = "product"
    ATTENTION = "attention"
    ELEMENT_WISE = "element-wise"
    COPY = "copy"


@dataclass(frozen=True)
class Kernel:
    """One launch. `flop` counts multiplications and additions of products; of attention it is without its tiles."""

    name: str
    kind: Kind
    moved_bytes: int
    flop: int = 0


@dataclass(frozen=True)
class AttentionKernel(Kernel):
    """One attention call: rows of one length, whose queries are all tokens or only the first."""

    rows: int = 0
    heads: int = 0
    queries: int = 0
    length: int = 0
    head_size: int = 0

    def tiled_flop(self, tile: int) -> int:
        """Operations in whole tiles of `tile` × `tile` tokens, those for tokens that are not there included."""
        padded = (math.ceil(size / tile) * tile for size in (self.queries, self.length))
        return 4 * self.rows * self.heads * math.prod(padded) * self.head_size


Kernels = Sequence[Kernel]


def plain_pass(shape: AlbertShape, rows: int, length: int, dtype: torch.dtype = torch.bfloat16) -> list[Kernel]:
    """The kernels of a pass of `rows` pairs of `length` tokens, in order, where every operation is one of torch's."""
    pairs = EncodedPairs(
        np.zeros(rows * length, np.int32),
        np.arange(rows + 1) * length,
        np.full(rows, length // 2, np.int32),
    )
    counted = _Counted()
    with FakeTensorMode(allow_non_fake_inputs=True):
        forward = _forward_of(shape, dtype)
        with counted, _PackedAttention(counted):
            _, logits = forward.logits(pairs, np.arange(rows))
    return [*counted.copies, *counted.kernels, Kernel("copy to the host", Kind.COPY, _bytes(logits))]


def fused_pass(plain: Kernels) -> list[Kernel]:
    """The same pass with the fused kernels: GELU in the product before it, and one kernel for a sum and its norm.

    A fused kernel moves the bytes of its first part: what it adds or normalises stays in registers. The 8 bytes a token
    of the second and third embedding's indices are left out. Where rows begin is copied once for all kernels.
    """
    fused: list[Kernel] = []
    for kernel in (each for each in plain if each.name not in ROW_STARTS):
        if not fused or not _joins(fused[-1], kernel.name):
            fused.append(kernel)
            continue
        fused[-1] = replace(fused[-1], name=f"{fused[-1].name}+{kernel.name}")
    return fused


def _joins(before: Kernel, name: str) -> bool:
    """Whether a kernel is a part of the fused kernel that begins with `before`."""
    if name == "gelu_":
        return before.kind is Kind.PRODUCT
    if name in NORMS:
        return before.name.endswith("add_")
    return before.name.startswith("embedding") and name in ("embedding", "add_")


def _forward_of(shape: AlbertShape, dtype: torch.dtype) -> ForwardPass:
    """The forward pass with plain layers; its weights have no data."""
    device = torch.device("cpu")
    weights = AlbertTensors(shape, {name: torch.empty(size) for name, size in albert_tensors(shape).items()})
    return ForwardPass(weights.ends(dtype, device), PlainLayers(shape, weights.layers(dtype, device, Dense)), device)


class _Counted(TorchDispatchMode):
    """Lists a kernel for each operation that computes, and a copy for each array of the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []
        self.copies: list[Kernel] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [each for each in args if isinstance(each, Tensor)]
        for each in tensors:
            if not isinstance(each, FakeTensor):
                self.copies.append(Kernel(f"copy of {each.dtype}", Kind.COPY, _bytes(each)))
        name = func.overloadpacket.__name__
        if name not in NO_KERNEL and not (func.is_view and _shares_memory(result, tensors)):
            self.kernels.append(_kernel(name, tensors, result))
        return result


def _shares_memory(result: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether an operation that may copy or give a view gave a view."""
    outputs = result if isinstance(result, list | tuple) else (result,)
    memories = {given.untyped_storage()._cdata for given in inputs}
    return all(each.untyped_storage()._cdata in memories for each in outputs)


def _kernel(name: str, inputs: Sequence[Tensor], result: Any) -> Kernel:
    outputs = [each for each in (result if isinstance(result, tuple) else (result,)) if isinstance(each, Tensor)]
    written = sum(map(_bytes, outputs))
    if name in ("embedding", "index_select"):
        # Of the table only the rows that are looked up are read: as many as are written.
        indices = inputs[-1]
        return Kernel(name, Kind.ELEMENT_WISE, 2 * written + _bytes(indices))
    moved = written + sum(map(_bytes, inputs))
    if name in PRODUCTS:
        # Each output is a sum over the columns of the states, which are the first input but for `addmm`.
        columns = inputs[1 if name == "addmm" else 0].shape[-1]
        return Kernel(name, Kind.PRODUCT, moved, 2 * outputs[0].numel() * columns)
    return Kernel(name, Kind.ELEMENT_WISE, moved)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class _PackedAttention(TorchFunctionMode):
    """Counts attention as the one call that it is for packed rows on a GPU, whatever torch would call here."""

    def __init__(self, counted: _Counted) -> None:
        super().__init__()
        self._counted = counted

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args
        rows, heads, queries, size = query.shape
        moved = 2 * _bytes(query) + _bytes(key) + _bytes(value)
        flop = 4 * rows * heads * queries * key.shape[2] * size
        self._count_offsets(rows, queries)
        self._counted.kernels.append(
            AttentionKernel("attention", Kind.ATTENTION, moved, flop, rows, heads, queries, key.shape[2], size)
        )
        # As the packed call leaves it: a token's heads lie next to each other.
        return query.transpose(1, 2).new_empty((rows, queries, heads, size)).transpose(1, 2)

    def _count_offsets(self, rows: int, queries: int) -> None:
        """Where rows begin, int32: copied to the device once, and made there for the queries of [CLS]."""
        if not any(kernel.kind is Kind.ATTENTION for kernel in self._counted.kernels):
            self._counted.copies.append(Kernel("copy of torch.int32", Kind.COPY, 4 * (rows + 1)))
        if queries == 1:
            self._counted.kernels.append(Kernel("arange", Kind.ELEMENT_WISE, 4 * (rows + 1)))
