"""The layers of an ALBERT in torch's own operations, for any device and precision.

Shapes: T tokens of a micro-batch, B its rows, H hidden, F intermediate, X either T or B.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from albert_infer.engine.activations import ACTIVATION_BY_NAME
from albert_infer.engine.attention import Attention, attention_of
from albert_infer.engine.devices import to_device
from albert_infer.engine.packing import PackedTokens
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
        """The output of the last layer at the [CLS] of each row (B, H)."""
        attention = attention_of(packed, hidden_TH, self._heads)
        for layer in self._layers[:-1]:
            hidden_TH = self._layer(layer, hidden_TH, attention)
        return self._last_layer(
            self._layers[-1], hidden_TH, to_device(packed.first_token_B, hidden_TH.device), attention
        )

    def _layer(self, layer: LayerWeights[PlainProduct], hidden_TH: Tensor, attention: Attention) -> Tensor:
        query_TH, key_TH, value_TH = layer.qkv(hidden_TH).chunk(3, dim=1)
        return self._after_attention(layer, hidden_TH, attention(query_TH, key_TH, value_TH))

    def _last_layer(
        self, layer: LayerWeights[PlainProduct], hidden_TH: Tensor, first_token_B: Tensor, attention: Attention
    ) -> Tensor:
        """Compute only the [CLS] rows, because the classifier reads nothing else. Keys and values need every token."""
        cls_BH = hidden_TH.index_select(0, first_token_B)
        key_TH, value_TH = layer.key_value(hidden_TH).chunk(2, dim=1)
        return self._after_attention(layer, cls_BH, attention(layer.query(cls_BH), key_TH, value_TH))

    def _after_attention(self, layer: LayerWeights[PlainProduct], hidden_XH: Tensor, context_XH: Tensor) -> Tensor:
        attended_XH = layer.attention_norm(layer.attention_output(context_XH).add_(hidden_XH))
        activated_XF = self._activation(layer.ffn(attended_XH))
        return layer.ffn_norm(layer.ffn_output(activated_XF).add_(attended_XH))
