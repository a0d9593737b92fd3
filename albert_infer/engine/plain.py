"""The layers of an ALBERT in torch's own operations: any device, any precision.

Shapes: T tokens of a micro-batch, B its rows, H hidden, F intermediate, X either T or B; inside attention N rows of one
length L, A heads of D columns.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.activations import ACTIVATION_BY_NAME
from albert_infer.engine.packing import LengthRun, PackedTokens
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import LayerWeights

# A matrix product with bias: (…, in) to a fresh tensor (…, out).
PlainProduct = Callable[[Tensor], Tensor]


class PlainLayers:
    """The layers of a checkpoint, first to last."""

    def __init__(self, shape: AlbertShape, layers: Sequence[LayerWeights[PlainProduct]]) -> None:
        self._layers = layers
        self._heads = shape.num_attention_heads
        self._activation = ACTIVATION_BY_NAME[shape.hidden_act]

    def cls_states(self, hidden_TH: Tensor, packed: PackedTokens) -> Tensor:
        """What leaves the last layer at each row's [CLS], (B, H)."""
        for layer in self._layers[:-1]:
            hidden_TH = self._layer(layer, hidden_TH, packed.runs)
        first_token_B = torch.from_numpy(packed.first_token_B).to(hidden_TH.device, non_blocking=True)
        return self._last_layer(self._layers[-1], hidden_TH, first_token_B, packed.runs)

    def _layer(self, layer: LayerWeights[PlainProduct], hidden_TH: Tensor, runs: Sequence[LengthRun]) -> Tensor:
        query_TH, key_TH, value_TH = layer.qkv(hidden_TH).chunk(3, dim=1)
        context_TH = self._attention(query_TH, key_TH, value_TH, runs)
        return self._after_attention(layer, hidden_TH, context_TH)

    def _last_layer(
        self, layer: LayerWeights[PlainProduct], hidden_TH: Tensor, first_token_B: Tensor, runs: Sequence[LengthRun]
    ) -> Tensor:
        """Only [CLS] leaves the layer, because the classifier reads nothing else; keys and values need every token."""
        cls_BH = hidden_TH.index_select(0, first_token_B)
        key_TH, value_TH = layer.key_value(hidden_TH).chunk(2, dim=1)
        context_BH = self._attention(layer.query(cls_BH), key_TH, value_TH, runs)
        return self._after_attention(layer, cls_BH, context_BH)

    def _after_attention(self, layer: LayerWeights[PlainProduct], hidden_XH: Tensor, context_XH: Tensor) -> Tensor:
        attended_XH = layer.attention_norm(layer.attention_output(context_XH).add_(hidden_XH))
        activated_XF = self._activation(layer.ffn(attended_XH))
        return layer.ffn_norm(layer.ffn_output(activated_XF).add_(attended_XH))

    def _attention(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, runs: Sequence[LengthRun]) -> Tensor:
        return attention(query_XH, key_TH, value_TH, runs, self._heads)


def attention(query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, runs: Sequence[LengthRun], heads: int) -> Tensor:
    """Each row attends to itself, (X, H). The queries are all tokens of a row or its first alone: X is T or B."""
    query_sizes = [run.tokens if len(query_XH) == len(key_TH) else run.rows for run in runs]
    sizes = [run.tokens for run in runs]
    parts = zip(
        runs,
        torch.split(query_XH, query_sizes),
        torch.split(key_TH, sizes),
        torch.split(value_TH, sizes),
        strict=True,
    )
    contexts = [_rectangle_attention(run.rows, heads, *qkv) for run, *qkv in parts]
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)


def _rectangle_attention(rows: int, heads: int, query_XH: Tensor, key_XH: Tensor, value_XH: Tensor) -> Tensor:
    query_NALD, key_NALD, value_NALD = (
        columns.view(rows, -1, heads, columns.shape[1] // heads).transpose(1, 2)
        for columns in (query_XH, key_XH, value_XH)
    )
    context_NALD = functional.scaled_dot_product_attention(query_NALD, key_NALD, value_NALD)
    return context_NALD.transpose(1, 2).reshape(query_XH.shape)
