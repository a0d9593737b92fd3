"""The layers of an ALBERT in bf16, fp16 or fp8 on a card: products by cuBLAS, and one pass over memory between two.

The mathematics is that of `plain`. GELU is part of the product before it. The bias of a product before a LayerNorm is
part of the LayerNorm. Rows of at most 64 tokens attend in tiles of their size.

Shapes: T tokens of a micro-batch, B its rows, P where each row begins and where the last ends, H hidden; X is T or B.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.activations import ACTIVATION_BY_NAME, is_gelu_tanh
from albert_infer.engine.attention import Attention, attention_of
from albert_infer.engine.cuda.fp8 import Fp8Multiply, Fp8Product, fp8_takes, scaled_product
from albert_infer.engine.cuda.passes import Passes
from albert_infer.engine.devices import to_device
from albert_infer.engine.packing import PackedTokens
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors, Dense, LayerWeights

# Longer rows fill the tiles of flash attention.
LONGEST_SHORT_ROW: Final = 64
# A wider head does not fit the shared memory of every card.
WIDEST_HEAD: Final = 128
# A wider row does not fit the registers of a program.
WIDEST_ROW: Final = 2**14


class HalfProduct(Dense):
    """A product in the precision of its weight."""

    def unbiased(self, hidden_XI: Tensor) -> Tensor:
        """The product without the bias."""
        return functional.linear(hidden_XI, self.weight)

    def with_gelu(self, hidden_XI: Tensor) -> Tensor:
        """The tanh form of GELU of the product and its bias."""
        if not hidden_XI.is_cuda:
            return torch.ops.aten.gelu_(self(hidden_XI), approximate="tanh")  # type: ignore[no-any-return]
        # Private: no public function has the epilogue of cublasLt. It is the tanh form on a card, and not on a CPU.
        return torch._addmm_activation(self.bias, hidden_XI, self.weight.t(), use_gelu=True)


CudaProduct = HalfProduct | Fp8Product


class CudaLayers:
    """The layers of a checkpoint, first to last."""

    def __init__(self, shape: AlbertShape, layers: Sequence[LayerWeights[CudaProduct]], passes: Passes) -> None:
        self.passes = passes
        self._layers = layers
        self._heads = shape.num_attention_heads
        self._attends_short = shape.head_size <= WIDEST_HEAD
        self._is_gelu_tanh = is_gelu_tanh(shape.hidden_act)
        self._activation = ACTIVATION_BY_NAME[shape.hidden_act]

    def cls_states(self, hidden_TH: Tensor, packed: PackedTokens) -> Tensor:
        """What leaves the last layer at each row's [CLS], (B, H)."""
        ends_P = np.append(packed.first_token_B, len(packed.input_ids_T)).astype(np.int32)
        tokens_P = to_device(ends_P, hidden_TH.device)
        attention = self._attention(packed, tokens_P, hidden_TH)
        for layer in self._layers[:-1]:
            query_TH, key_TH, value_TH = layer.qkv(hidden_TH).chunk(3, dim=1)
            hidden_TH = self._after_attention(layer, hidden_TH, attention(query_TH, key_TH, value_TH))
        return self._last_layer(self._layers[-1], hidden_TH, tokens_P[:-1], attention)

    def _attention(self, packed: PackedTokens, tokens_P: Tensor, hidden_TH: Tensor) -> Attention:
        """One kernel for all rows, which have similar lengths."""
        longest = packed.runs[-1].length
        if self._attends_short and longest <= LONGEST_SHORT_ROW:
            return ShortAttention(self.passes, tokens_P, longest, self._heads)
        return attention_of(packed, hidden_TH, self._heads)

    def _last_layer(
        self, layer: LayerWeights[CudaProduct], hidden_TH: Tensor, first_token_B: Tensor, attention: Attention
    ) -> Tensor:
        """Only [CLS] leaves the layer, because the classifier reads nothing else; keys and values need every token."""
        cls_BH = hidden_TH.index_select(0, first_token_B)
        key_TH, value_TH = layer.key_value(hidden_TH).chunk(2, dim=1)
        return self._after_attention(layer, cls_BH, attention(layer.query(cls_BH), key_TH, value_TH))

    def _after_attention(self, layer: LayerWeights[CudaProduct], hidden_XH: Tensor, context_XH: Tensor) -> Tensor:
        passes, attended, output = self.passes, layer.attention_output, layer.ffn_output
        attended_XH = passes.add_and_normalize(
            attended.unbiased(context_XH), attended.bias, hidden_XH, layer.attention_norm
        )
        fed_XH = self._fed(layer, attended_XH)
        return passes.add_and_normalize(fed_XH, output.bias, attended_XH, layer.ffn_norm)

    def _fed(self, layer: LayerWeights[CudaProduct], attended_XH: Tensor) -> Tensor:
        """The second product of the feed-forward part, without its bias."""
        first, second = layer.ffn, layer.ffn_output
        if self._is_gelu_tanh and isinstance(first, HalfProduct):
            return second.unbiased(first.with_gelu(attended_XH))
        if self._is_gelu_tanh and isinstance(second, Fp8Product):
            return second.unbiased_of_gelu(first(attended_XH))
        return second.unbiased(self._activation(first(attended_XH)))


@dataclass(frozen=True)
class ShortAttention:
    """Rows of at most `LONGEST_SHORT_ROW` tokens."""

    passes: Passes
    tokens_P: Tensor
    longest: int
    heads: int

    def __call__(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor) -> Tensor:
        """As `Attention`."""
        return self.passes.attend(query_XH, key_TH, value_TH, self.tokens_P, longest=self.longest, heads=self.heads)


def half_layers(tensors: AlbertTensors, dtype: torch.dtype, device: torch.device, passes: Passes) -> CudaLayers:
    """The layers in bf16 or fp16."""
    return CudaLayers(tensors.shape, tensors.layers(dtype, device, HalfProduct), passes)


def fp8_layers(
    tensors: AlbertTensors, device: torch.device, passes: Passes, multiply: Fp8Multiply = scaled_product
) -> CudaLayers:
    """The layers in fp8. A product is in bf16 if fp8 does not take its sides."""

    def product(weight_OI: Tensor, bias_O: Tensor) -> CudaProduct:
        if fp8_takes(weight_OI):
            return Fp8Product(weight_OI, bias_O, passes, multiply)
        return HalfProduct(weight_OI, bias_O)

    return CudaLayers(tensors.shape, tensors.layers(torch.bfloat16, device, product), passes)
