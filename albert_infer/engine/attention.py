"""Attention of packed rows in torch: each row attends to its own tokens. Two ways with the same result.

Shapes: T tokens of a micro-batch, B its rows, H hidden, X either T or B; inside a rectangle N rows of one length L, A
heads of D columns.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.devices import to_device
from albert_infer.engine.packing import LengthRun, PackedTokens

# The limits of flash attention for packed rows: compute capability, types, and columns of a head.
LEAST_CAPABILITY: Final = (8, 0)
FLASH_DTYPES: Final = (torch.bfloat16, torch.float16)
WIDEST_HEAD: Final = 256


class Attention(Protocol):
    """The attention of one micro-batch."""

    def __call__(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor) -> Tensor:
        """The context (X, H). The queries are all tokens (X is T) or the first token of each row (X is B)."""


def attention_of(packed: PackedTokens, hidden_TH: Tensor, heads: int) -> Attention:
    """The fastest attention for these rows on the device of `hidden_TH`."""
    if not _flash_takes(hidden_TH, heads):
        return RectangleAttention(packed.runs, heads)
    tokens_P = np.append(packed.first_token_B, len(packed.input_ids_T)).astype(np.int32)
    return PackedAttention(to_device(tokens_P, hidden_TH.device), packed.runs[-1].length, heads)


def _flash_takes(hidden_TH: Tensor, heads: int) -> bool:
    if not hidden_TH.is_cuda or hidden_TH.dtype not in FLASH_DTYPES:
        return False
    head_size = hidden_TH.shape[1] // heads
    fits = head_size % 8 == 0 and head_size <= WIDEST_HEAD
    return fits and torch.cuda.get_device_capability(hidden_TH.device) >= LEAST_CAPABILITY


@dataclass(frozen=True)
class RectangleAttention:
    """Attention for any device and precision: rows of one length form a rectangle."""

    runs: Sequence[LengthRun]
    heads: int

    def __call__(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor) -> Tensor:
        """As `Attention`."""
        sizes = [run.tokens for run in self.runs]
        query_sizes = sizes if len(query_XH) == len(key_TH) else [run.rows for run in self.runs]
        parts = (torch.split(query_XH, query_sizes), torch.split(key_TH, sizes), torch.split(value_TH, sizes))
        contexts = [self._rectangle(run.rows, *qkv) for run, *qkv in zip(self.runs, *parts, strict=True)]
        return contexts[0] if len(contexts) == 1 else torch.cat(contexts)

    def _rectangle(self, rows: int, query_XH: Tensor, key_XH: Tensor, value_XH: Tensor) -> Tensor:
        query_NALD, key_NALD, value_NALD = (
            columns.view(rows, -1, self.heads, columns.shape[1] // self.heads).transpose(1, 2)
            for columns in (query_XH, key_XH, value_XH)
        )
        context_NALD = functional.scaled_dot_product_attention(query_NALD, key_NALD, value_NALD)
        return context_NALD.transpose(1, 2).reshape(query_XH.shape)


def flash_attention(*arguments: Any) -> Tensor:
    """`torch.nn.attention.varlen.varlen_attn`, for GPUs only."""
    # Imported here, because the import takes seconds, and a CPU does not need it.
    from torch.nn.attention.varlen import varlen_attn

    # The function returns a tensor unless the caller asks for more.
    context_XAD: Any = varlen_attn(*arguments)
    return context_XAD  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PackedAttention:
    """Rows of any lengths in one call. Row p has the tokens from `tokens_P[p]` to `tokens_P[p + 1]`, int32."""

    tokens_P: Tensor  # noqa: N815  (its shape)
    longest: int
    heads: int
    # Arguments: query, key and value (…, A, D), the first tokens of query rows and key rows, the longest of each.
    attend: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor] = flash_attention

    def __call__(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor) -> Tensor:
        """As `Attention`."""
        queries_P, longest_query = self.tokens_P, self.longest
        if len(query_XH) != len(key_TH):
            queries_P, longest_query = torch.arange(len(query_XH) + 1, device=key_TH.device, dtype=torch.int32), 1
        query_XAD, key_TAD, value_TAD = (part.unflatten(1, (self.heads, -1)) for part in (query_XH, key_TH, value_TH))
        context_XAD = self.attend(query_XAD, key_TAD, value_TAD, queries_P, self.tokens_P, longest_query, self.longest)
        return context_XAD.flatten(1)
