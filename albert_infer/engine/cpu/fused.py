"""The layers of an ALBERT in bf16 or int8 on a processor: oneDNN's products, and one pass over memory between two.

The same mathematics as `plain`, where every pass leaves just what the next product reads. Residuals are bf16 in both
precisions.

Shapes: T tokens of a micro-batch, B its rows, X either, both filled up to whole `ROW_BLOCK`s; H hidden.
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
from albert_infer.engine.cpu.int8 import Int8Dense
from albert_infer.engine.cpu.kernels import LANES, GateTerms, Kernels, Operand, Product, kernels
from albert_infer.engine.packing import LengthRun, PackedTokens
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors, LayerWeights, PackedDense
from albert_infer.schema import Precision

# oneDNN builds a program for each number of rows that it meets, which takes milliseconds; of these numbers few are met.
ROW_BLOCK: Final = 16
# Longer pairs are better off with torch's attention, whose products are blocked for the processor's tiles.
LONGEST_SHORT_PAIR: Final = 64

# A matrix product that leaves scales and bias to the pass that reads it.
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

    def __call__(self, operand: Operand) -> Product:
        """The product of the operand's quantised states."""
        dense = self._dense
        states_XO = dense.of_quantized(operand.quantized_XN, torch.bfloat16)
        return Product(states_XO, operand, dense.bias_O, dense.sums_O)


def fused_layers(tensors: AlbertTensors, precision: Precision) -> FusedLayers | None:
    """The layers in bf16 or int8; None where they cannot be had: a shape, an activation, a machine without compiler."""
    shape, gate = tensors.shape, gate_of(tensors.shape.hidden_act)
    whole_vectors = not any(size % LANES for size in (shape.head_size, shape.hidden_size, shape.intermediate_size))
    # oneDNN lays out bf16 weights only where the processor has the instructions to compute with them.
    if gate is None or not whole_vectors or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    compiled = kernels()
    if compiled is None:
        return None
    product: Callable[[Tensor, Tensor], FusedProduct] = Int8Product if precision is Precision.INT8 else Bf16Product
    layers = tensors.layers(torch.float32, torch.device("cpu"), product)
    return FusedLayers(shape, layers, compiled, gate, int8=precision is Precision.INT8)


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
        """What leaves the last layer at each row's [CLS], (B, H)."""
        pairs = _Pairs.of(packed)
        room = self._room(len(_filled(hidden_TH)), pairs.longest_short)
        self._kernels.copy(hidden_TH.bfloat16(), room.scratch, room.hidden)
        for layer in self._layers[:-1]:
            query, key, value = layer.qkv(room.hidden).parts(3)
            self._attend(query, pairs.tokens_P, key, value, pairs, room)
            self._after_attention(layer, room)
        return self._last_layer(self._layers[-1], room, pairs)[: len(packed.rows_B)]

    def _last_layer(self, layer: LayerWeights[FusedProduct], room: _Room, pairs: _Pairs) -> Tensor:
        """Only [CLS] leaves the layer, because the classifier reads nothing else; keys and values need every token."""
        key, value = layer.key_value(room.hidden).parts(2)
        cls_B = _filled(pairs.tokens_P[:-1])
        cls = replace(self._room(len(cls_B), pairs.longest_short), hidden=room.hidden.rows(cls_B))
        self._attend(layer.query(cls.hidden), torch.arange(len(pairs.tokens_P)), key, value, pairs, cls)
        self._after_attention(layer, cls)
        return cls.hidden.states_XN

    def _attend(
        self, query: Product, queries_P: Tensor, key: Product, value: Product, pairs: _Pairs, room: _Room
    ) -> None:
        """Each row attends to itself; the queries of row p are those from `queries_P[p]` to `queries_P[p + 1]`."""
        heads, tokens_P, short = self._shape.num_attention_heads, pairs.tokens_P, pairs.short
        some = queries_P[: short + 1], tokens_P[: short + 1]
        self._kernels.attend(query, some[0], key, value, some[1], heads, room.scratch, room.context)
        if pairs.long_runs:
            queries, tokens = queries_P[[short, -1]].tolist(), tokens_P[[short, -1]].tolist()
            attention = RectangleAttention(pairs.long_runs, heads)
            context_XH = attention(query.values(*queries), key.values(*tokens), value.values(*tokens))
            self._kernels.copy(context_XH, room.scratch, room.context.slice(*queries))

    def _after_attention(self, layer: LayerWeights[FusedProduct], room: _Room) -> None:
        passes, hidden, scratch = self._kernels, room.hidden, room.scratch
        passes.add_and_normalize(layer.attention_output(room.context), hidden, layer.attention_norm, scratch, hidden)
        passes.activate(layer.ffn(hidden), self._gate, scratch, room.activated)
        passes.add_and_normalize(layer.ffn_output(room.activated), hidden, layer.ffn_norm, scratch, hidden)

    def _room(self, rows: int, longest: int) -> _Room:
        shape, int8 = self._shape, self._int8
        widest = max(shape.hidden_size, shape.intermediate_size)
        floats = self._kernels.scratch_floats(longest, shape.num_attention_heads, shape.head_size, widest)
        return _Room(
            hidden=Operand.zeros(rows, shape.hidden_size, states=True, quantized=int8),
            context=Operand.zeros(rows, shape.hidden_size, states=not int8, quantized=int8),
            activated=Operand.zeros(rows, shape.intermediate_size, states=not int8, quantized=int8),
            scratch=torch.empty(floats),
        )


@dataclass(frozen=True)
class _Room:
    """Memory that every layer of a micro-batch writes to anew: what its products read, and what the kernels want."""

    hidden: Operand
    context: Operand
    activated: Operand
    scratch: Tensor


@dataclass(frozen=True)
class _Pairs:
    """The rows of a micro-batch: row p has the tokens `tokens_P[p]` to `tokens_P[p + 1]`; the first are `short`."""

    tokens_P: Tensor
    short: int
    longest_short: int
    long_runs: tuple[LengthRun, ...]

    @classmethod
    def of(cls, packed: PackedTokens) -> _Pairs:
        """The pairs of `packed`, which stand shortest first."""
        short = [run for run in packed.runs if run.length <= LONGEST_SHORT_PAIR]
        return cls(
            tokens_P=torch.from_numpy(np.append(packed.first_token_B, len(packed.input_ids_T))),
            short=sum(run.rows for run in short),
            longest_short=max((run.length for run in short), default=0),
            long_runs=packed.runs[len(short) :],
        )


def _filled(rows_X: Tensor) -> Tensor:
    """The rows (X, …) and zeros after them, up to whole blocks."""
    return functional.pad(rows_X, (0, 0) * (rows_X.ndim - 1) + (0, -len(rows_X) % ROW_BLOCK))
