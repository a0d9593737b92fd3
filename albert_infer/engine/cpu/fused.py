"""The layers of an ALBERT in bf16 or int8 on a CPU: oneDNN's products, and one pass over memory between two products.

The mathematics is that of `plain`. Each pass writes the operand of the next product. Residuals are bf16 in both
precisions.

Shapes: T tokens of a micro-batch, B its rows, X either, both padded to multiples of `ROW_BLOCK`; H hidden.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.activations import Gate, gate_of
from albert_infer.engine.attention import RectangleAttention
from albert_infer.engine.cpu.int8 import Int8Dense, state_dtype
from albert_infer.engine.cpu.kernels import LANES, GateTerms, Kernels, Operand, Product, kernel_library, kernels
from albert_infer.engine.kernel_use import Obstacle
from albert_infer.engine.packing import LengthRun, PackedTokens
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors, LayerWeights, PackedDense, onednn_has_bf16
from albert_infer.schema import Precision

# oneDNN compiles a program for each number of rows, which takes milliseconds. Blocks keep these numbers few.
ROW_BLOCK: Final = 16
# For longer pairs torch's attention is faster: its products use the processor's tiles.
LONGEST_SHORT_PAIR: Final = 64

# A matrix product without scales and bias. The pass that reads the product adds them.
FusedProduct = Callable[[Operand], Product]


class Bf16Product:
    """A product in bf16, its weights laid out for the processor."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor) -> None:
        self._dense = PackedDense(weight_OI.bfloat16(), None)
        self._bias_O = bias_O
        self._sums_O = torch.zeros_like(bias_O)

    def __call__(self, operand: Operand) -> Product:
        """The product of the operand's states."""
        return Product(self._dense(operand.states_XN), operand, self._bias_O, self._sums_O)


class Int8Product:
    """A product in int8."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor) -> None:
        self._dense = Int8Dense(weight_OI, bias_O)
        self._state_dtype = state_dtype()

    def __call__(self, operand: Operand) -> Product:
        """The product of the operand's quantised states."""
        dense = self._dense
        states_XO = dense.of_quantized(operand.quantized_XN, self._state_dtype)
        return Product(states_XO, operand, dense.bias_O, dense.sums_O)


def fused_layers(tensors: AlbertTensors, precision: Precision) -> FusedLayers | None:
    """The layers in bf16 or int8; None if shape, activation or processor do not allow them, or without a compiler."""
    shape, gate = tensors.shape, gate_of(tensors.shape.hidden_act)
    if gate is None or _unsupported(shape, precision) is not None:
        return None
    compiled = kernels()
    if compiled is None:
        return None
    product: Callable[[Tensor, Tensor], FusedProduct] = Int8Product if precision is Precision.INT8 else Bf16Product
    layers = tensors.layers(torch.float32, torch.device("cpu"), product)
    return FusedLayers(shape, layers, compiled, gate, int8=precision is Precision.INT8)


def cpu_obstacle(shape: AlbertShape, precision: Precision) -> Obstacle | None:
    """What keeps these layers from their kernels, or the machine from keeping the kernels; None for nothing."""
    return _unsupported(shape, precision) or kernel_library().obstacle


def _unsupported(shape: AlbertShape, precision: Precision) -> Obstacle | None:
    """Why there are no kernels for a checkpoint of this shape on this processor; None if there are."""
    if gate_of(shape.hidden_act) is None:
        return Obstacle(f"they have no activation {shape.hidden_act}")
    if any(size % LANES for size in (shape.head_size, shape.hidden_size, shape.intermediate_size)):
        return Obstacle(f"they need a checkpoint whose sizes are multiples of {LANES}")
    # oneDNN lays out bf16 weights only where the processor has the instructions to compute with them.
    if precision is Precision.BF16 and not onednn_has_bf16():
        return Obstacle("the processor has no instructions for bf16", "choose the precision int8 or fp32")
    return None


class FusedLayers:
    """The layers of a checkpoint, first to last."""

    def __init__(
        self,
        shape: AlbertShape,
        layers: Sequence[LayerWeights[FusedProduct]],
        compiled: Kernels,
        gate: Gate,
        *,
        int8: bool,
    ) -> None:
        self._shape = shape
        self._layers = layers
        self._kernels = compiled
        self._gate = GateTerms(gate)
        self._int8 = int8

    def cls_states(self, hidden_TH: Tensor, packed: PackedTokens) -> Tensor:
        """The output of the last layer at the [CLS] of each row (B, H)."""
        pairs = _Pairs.of(packed)
        buffers = self._buffers(len(_padded(hidden_TH)), pairs.longest_short)
        self._kernels.copy(hidden_TH.bfloat16(), buffers.scratch, buffers.hidden)
        for layer in self._layers[:-1]:
            query, key, value = layer.qkv(buffers.hidden).parts(3)
            self._attend(query, pairs.tokens_P, key, value, pairs, buffers)
            self._after_attention(layer, buffers)
        return self._last_layer(self._layers[-1], buffers, pairs)[: len(packed.rows_B)]

    def _last_layer(self, layer: LayerWeights[FusedProduct], buffers: _Buffers, pairs: _Pairs) -> Tensor:
        """Compute only the [CLS] rows, because the classifier reads nothing else. Keys and values need every token."""
        key, value = layer.key_value(buffers.hidden).parts(2)
        cls_B = _padded(pairs.tokens_P[:-1])
        cls = replace(self._buffers(len(cls_B), pairs.longest_short), hidden=buffers.hidden.rows(cls_B))
        self._attend(layer.query(cls.hidden), torch.arange(len(pairs.tokens_P)), key, value, pairs, cls)
        self._after_attention(layer, cls)
        return cls.hidden.states_XN

    def _attend(
        self, query: Product, queries_P: Tensor, key: Product, value: Product, pairs: _Pairs, buffers: _Buffers
    ) -> None:
        """Each row attends to its own tokens. Row p has the queries from `queries_P[p]` to `queries_P[p + 1]`."""
        heads, tokens_P, short = self._shape.num_attention_heads, pairs.tokens_P, pairs.short
        short_queries_P, short_tokens_P = queries_P[: short + 1], tokens_P[: short + 1]
        self._kernels.attend(
            query, short_queries_P, key, value, short_tokens_P, heads, buffers.scratch, buffers.context
        )
        if pairs.long_runs:
            queries, tokens = queries_P[[short, -1]].tolist(), tokens_P[[short, -1]].tolist()
            attention = RectangleAttention(pairs.long_runs, heads)
            context_XH = attention(query.values(*queries), key.values(*tokens), value.values(*tokens))
            self._kernels.copy(context_XH.bfloat16(), buffers.scratch, buffers.context.slice(*queries))

    def _after_attention(self, layer: LayerWeights[FusedProduct], buffers: _Buffers) -> None:
        run, hidden, scratch = self._kernels, buffers.hidden, buffers.scratch
        run.add_and_normalize(layer.attention_output(buffers.context), hidden, layer.attention_norm, scratch, hidden)
        run.activate(layer.ffn(hidden), self._gate, scratch, buffers.activated)
        run.add_and_normalize(layer.ffn_output(buffers.activated), hidden, layer.ffn_norm, scratch, hidden)

    def _buffers(self, rows: int, longest: int) -> _Buffers:
        shape, int8 = self._shape, self._int8
        widest = max(shape.hidden_size, shape.intermediate_size)
        floats = self._kernels.scratch_floats(longest, shape.num_attention_heads, shape.head_size, widest)
        return _Buffers(
            hidden=Operand.zeros(rows, shape.hidden_size, states=True, quantized=int8),
            context=Operand.zeros(rows, shape.hidden_size, states=not int8, quantized=int8),
            activated=Operand.zeros(rows, shape.intermediate_size, states=not int8, quantized=int8),
            scratch=torch.empty(floats),
        )


@dataclass(frozen=True)
class _Buffers:
    """Memory that each layer of a micro-batch overwrites: the operands of its products, and the kernels' scratch."""

    hidden: Operand
    context: Operand
    activated: Operand
    scratch: Tensor


@dataclass(frozen=True)
class _Pairs:
    """The rows of a micro-batch. Row p has the tokens `tokens_P[p]` to `tokens_P[p + 1]`; `short` rows are short."""

    tokens_P: Tensor
    short: int
    longest_short: int
    long_runs: tuple[LengthRun, ...]

    @classmethod
    def of(cls, packed: PackedTokens) -> _Pairs:
        """The pairs of `packed`, shortest first."""
        short = [run for run in packed.runs if run.length <= LONGEST_SHORT_PAIR]
        return cls(
            tokens_P=torch.from_numpy(np.append(packed.first_token_B, len(packed.input_ids_T))),
            short=sum(run.rows for run in short),
            longest_short=max((run.length for run in short), default=0),
            long_runs=packed.runs[len(short) :],
        )


def _padded(rows_X: Tensor) -> Tensor:
    """The rows (X, …), padded with zeros to a multiple of `ROW_BLOCK`."""
    return functional.pad(rows_X, (0, 0) * (rows_X.ndim - 1) + (0, -len(rows_X) % ROW_BLOCK))
