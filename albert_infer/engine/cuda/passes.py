"""The passes over memory between two matrix products of fused layers.

`PlainPasses` computes them in plain torch, on any device. It is the reference of the Triton kernels, which give the
same results up to rounding.

Shapes: T tokens of a micro-batch, B its rows, P where each row begins and where the last ends; X tokens or rows,
H hidden, E embedding, N columns, A heads, D columns of a head, L tokens of a row.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.weights import EndWeights, Norm

FP8: Final = torch.float8_e4m3fn
LARGEST_FP8: Final = torch.finfo(FP8).max
# A row of zeros would have a scale of zero.
SMALLEST_ROW: Final = 1e-12


@dataclass(frozen=True)
class Fp8Rows:
    """A matrix in fp8. Row x is `values_XN[x] · scales_X1[x]`."""

    values_XN: Tensor
    scales_X1: Tensor


class Passes(Protocol):
    """The passes of one device."""

    def embedded(self, ends: EndWeights, words_T: Tensor, types_T: Tensor, positions_T: Tensor) -> Tensor:
        """LayerNorm of the sum of each token's embeddings, (T, E)."""

    def add_and_normalize(self, product_XH: Tensor, bias_H: Tensor, residual_XH: Tensor, norm: Norm) -> Tensor:
        """LayerNorm of product + bias + residual. May overwrite the product."""

    def attend(
        self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, tokens_P: Tensor, *, longest: int, heads: int
    ) -> Tensor:
        """The context (X, H) of rows that attend to their own tokens.

        The queries are all tokens, or the first token of each row.

        Row b has the tokens from `tokens_P[b]` to `tokens_P[b + 1]`, int32. The longest row has `longest` tokens.
        """

    def quantized(self, states_XN: Tensor, *, gelu: bool) -> Fp8Rows:
        """The states in fp8, after the tanh form of GELU where `gelu` is set."""


class PlainPasses:
    """The passes in torch's own operations, each in fp32 from beginning to end."""

    def embedded(self, ends: EndWeights, words_T: Tensor, types_T: Tensor, positions_T: Tensor) -> Tensor:
        """As `Passes`."""
        parts = ((ends.words, words_T), (ends.token_types, types_T), (ends.positions, positions_T))
        embedded_TE = torch.stack([functional.embedding(index_T, table).float() for table, index_T in parts]).sum(0)
        return _normalized(embedded_TE, ends.embedding_norm).to(ends.words.dtype)

    def add_and_normalize(self, product_XH: Tensor, bias_H: Tensor, residual_XH: Tensor, norm: Norm) -> Tensor:
        """As `Passes`."""
        states_XH = product_XH.float() + bias_H.float() + residual_XH.float()
        return _normalized(states_XH, norm).to(product_XH.dtype)

    def attend(
        self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, tokens_P: Tensor, *, longest: int, heads: int
    ) -> Tensor:
        """As `Passes`, one row after another."""
        first_only = len(query_XH) != len(key_TH)
        queries_P = torch.arange(len(tokens_P)) if first_only else tokens_P
        rows = zip(_rows(query_XH, queries_P), _rows(key_TH, tokens_P), _rows(value_TH, tokens_P), strict=True)
        contexts = [_attended([part.float() for part in row], heads) for row in rows]
        return torch.cat(contexts).to(query_XH.dtype)

    def quantized(self, states_XN: Tensor, *, gelu: bool) -> Fp8Rows:
        """As `Passes`."""
        numbers_XN = states_XN.float()
        return fp8_rows(functional.gelu(numbers_XN, approximate="tanh") if gelu else numbers_XN)


def fp8_rows(numbers_XN: Tensor) -> Fp8Rows:
    """Numbers in fp32 as fp8. The scale of a row maps its largest number to the largest number of fp8."""
    scales_X1 = numbers_XN.abs().amax(1, keepdim=True).clamp_(min=SMALLEST_ROW).div_(LARGEST_FP8)
    return Fp8Rows((numbers_XN / scales_X1).to(FP8), scales_X1)


def _normalized(states_XN: Tensor, norm: Norm) -> Tensor:
    return functional.layer_norm(states_XN, norm.weight.shape, norm.weight.float(), norm.bias.float(), norm.eps)


def _rows(states_XH: Tensor, rows_P: Tensor) -> Iterator[Tensor]:
    return iter(torch.split(states_XH, rows_P.diff().tolist()))


def _attended(query_key_value: Sequence[Tensor], heads: int) -> Tensor:
    query_ALD, key_ALD, value_ALD = (part_LH.unflatten(1, (heads, -1)).transpose(0, 1) for part_LH in query_key_value)
    context_ALD = functional.scaled_dot_product_attention(query_ALD, key_ALD, value_ALD)
    return context_ALD.transpose(0, 1).flatten(1)
