"""Calls `kernels.cpp` with tensors: the operations of an ALBERT layer between its matrix products.

Shapes: X tokens or rows, N columns in or out, P pairs.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from albert_infer.engine.activations import Gate
from albert_infer.engine.cpu.compilation import Library, loaded_library, prebuilt_library
from albert_infer.engine.cpu.int8 import ZERO_POINT
from albert_infer.engine.weights import Norm

# The most columns that the kernels process together.
LANES: Final = 16
# A missing part of an operand. Its address is null.
NOTHING: Final = torch.empty(0)


class Operand(ctypes.Structure):
    """The input of a matrix product: states in bf16, or quantised states with a scale and a center per row, or both.

    A missing part is `NOTHING`. Without quantised states, scales are ones and centers are zeros.
    """

    _fields_ = (
        ("_states", ctypes.c_void_p), ("_quantized", ctypes.c_void_p),
        ("_scales", ctypes.c_void_p), ("_centers", ctypes.c_void_p),
    )  # fmt: skip

    def __init__(self, states_XN: Tensor, quantized_XN: Tensor, scales_X: Tensor, centers_X: Tensor) -> None:
        # Keep references to the tensors, because the fields hold only their addresses.
        self.states_XN, self.quantized_XN = states_XN, quantized_XN
        self.scales_X, self.centers_X = scales_X, centers_X
        super().__init__(*(tensor.data_ptr() for tensor in self._parts()))

    @classmethod
    def zeros(cls, rows: int, columns: int, *, states: bool, quantized: bool) -> Operand:
        """An operand for a kernel to write to."""
        return cls(
            torch.zeros(rows, columns, dtype=torch.bfloat16) if states else NOTHING,
            torch.full((rows, columns), ZERO_POINT, dtype=torch.uint8) if quantized else NOTHING,
            torch.ones(rows),
            torch.zeros(rows),
        )

    def rows(self, rows_X: Tensor) -> Operand:
        """A copy of the rows `rows_X`."""
        return Operand(*(part if part is NOTHING else part.index_select(0, rows_X) for part in self._parts()))

    def slice(self, first: int, last: int) -> Operand:
        """The rows from `first` to `last`, not copied."""
        return Operand(*(part if part is NOTHING else part[first:last] for part in self._parts()))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.states_XN, self.quantized_XN, self.scales_X, self.centers_X


class Product(ctypes.Structure):
    """The matrix product of `operand`, without scales, centers and biases. `values` adds them.

    It is in bf16. The product of quantised states may be in fp32.
    """

    _fields_ = (
        ("_states", ctypes.c_void_p), ("_state_bytes", ctypes.c_size_t), ("_stride", ctypes.c_size_t),
        ("_biases", ctypes.c_void_p), ("_scales", ctypes.c_void_p), ("_centers", ctypes.c_void_p),
        ("_sums", ctypes.c_void_p),
    )  # fmt: skip

    def __init__(self, states_XN: Tensor, operand: Operand, biases_N: Tensor, sums_N: Tensor) -> None:
        self.states_XN, self.operand, self.biases_N, self.sums_N = states_XN, operand, biases_N, sums_N
        self.rows, self.columns = states_XN.shape
        others = (biases_N, operand.scales_X, operand.centers_X, sums_N)
        layout = states_XN.element_size(), states_XN.stride(0)
        super().__init__(states_XN.data_ptr(), *layout, *(tensor.data_ptr() for tensor in others))

    def parts(self, count: int) -> list[Product]:
        """Its columns, split into `count` equal parts; not copied."""
        columns = zip(self.states_XN.chunk(count, 1), self.biases_N.chunk(count), self.sums_N.chunk(count), strict=True)
        return [Product(states_XM, self.operand, biases_M, sums_M) for states_XM, biases_M, sums_M in columns]

    def values(self, first: int, last: int) -> Tensor:
        """The values of the rows from `first` to `last` in the type of the states."""
        scales_X1, centers_X1 = self.operand.scales_X[first:last, None], self.operand.centers_X[first:last, None]
        values_XN = self.states_XN[first:last] * scales_X1
        return values_XN.addcmul_(centers_X1, self.sums_N).add_(self.biases_N).to(self.states_XN.dtype)


class GateTerms(ctypes.Structure):
    """A gate as an argument of the kernels."""

    _fields_ = (("_coefficients", ctypes.c_float * Gate.TERMS), ("_bound", ctypes.c_float))

    def __init__(self, gate: Gate) -> None:
        super().__init__((ctypes.c_float * Gate.TERMS)(*gate.coefficients), gate.bound)


class Kernels:
    """The functions of one compiled file. Each computes in the calling thread and releases the GIL.

    `scratch` has `scratch_floats` numbers, and belongs to one thread at a time.
    """

    def __init__(self, functions: ctypes.CDLL) -> None:
        size, pointer, real = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_float
        product, operand, gate = (ctypes.POINTER(structure) for structure in (Product, Operand, GateTerms))
        self._attention_scratch = _typed(functions.attention_scratch, size, size, size, returns=size)
        self._attend = _typed(
            functions.albert_attend, size, pointer, pointer, size, size, product, product, product, pointer, operand
        )
        self._activate = _typed(functions.albert_activate, size, size, product, gate, pointer, operand)
        self._add_and_normalize = _typed(
            functions.albert_add_and_normalize, size, size, product, pointer, pointer, pointer, real, pointer, operand
        )
        self._copy = _typed(functions.albert_copy, size, size, pointer, pointer, operand)

    def scratch_floats(self, longest: int, heads: int, columns: int, widest: int) -> int:
        """The scratch size for pairs of up to `longest` tokens, heads of `columns` columns, rows of up to `widest`."""
        attention: int = self._attention_scratch(longest, heads, columns)
        return max(attention, widest)

    def attend(
        self,
        query: Product,
        queries_P: Tensor,
        key: Product,
        value: Product,
        tokens_P: Tensor,
        heads: int,
        scratch: Tensor,
        to: Operand,
    ) -> None:
        """Write the softmax attention of every pair over its own tokens to `to`, which has the rows of `query`.

        Pair p has the tokens from `tokens_P[p]` to `tokens_P[p + 1]` of key and value, and the queries from
        `queries_P[p]` to `queries_P[p + 1]`.
        """
        self._attend(
            len(tokens_P) - 1, queries_P.data_ptr(), tokens_P.data_ptr(), heads, key.columns // heads,
            query, key, value, scratch.data_ptr(), to,
        )  # fmt: skip

    def activate(self, product: Product, gate: GateTerms, scratch: Tensor, to: Operand) -> None:
        """Write `x · gate(x)` of every number to `to`."""
        self._activate(product.rows, product.columns, product, gate, scratch.data_ptr(), to)

    def add_and_normalize(self, product: Product, residual: Operand, norm: Norm, scratch: Tensor, to: Operand) -> None:
        """Write the LayerNorm of product plus residual states to `to`, which may be the residual."""
        self._add_and_normalize(
            product.rows, product.columns, product, residual.states_XN.data_ptr(), norm.weight.data_ptr(),
            norm.bias.data_ptr(), norm.eps, scratch.data_ptr(), to,
        )  # fmt: skip

    def copy(self, states_XN: Tensor, scratch: Tensor, to: Operand) -> None:
        """Copy bf16 states to an operand."""
        self._copy(*states_XN.shape, states_XN.data_ptr(), scratch.data_ptr(), to)


def _typed(function: Any, *arguments: Any, returns: Any = None) -> Any:
    function.argtypes, function.restype = arguments, returns
    return function


@cache
def kernels() -> Kernels | None:
    """The kernels for this processor; None if the machine cannot compile or load them."""
    functions = kernel_library().functions
    return None if functions is None else Kernels(functions)


@cache
def kernel_library() -> Library:
    """The compiled kernels of this process, or why there are none."""
    source = Path(__file__).with_suffix(".cpp")
    return prebuilt_library(source) or loaded_library(source)
