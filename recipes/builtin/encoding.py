"""Pairs as token ids, and batches of them as tensors. Shapes: B pairs of a batch, L tokens of its longest pair."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

# 99 % of the pairs of SNLI and MultiNLI are shorter. The few long ones would cost too much time.
MAX_TOKENS: Final = 128
# Pairs that the tokenizer takes at a time. Its own results need far more memory than the ids.
ENCODED_TOGETHER: Final = 10_000


@dataclass(frozen=True)
class EncodedPairs:
    """Token ids of pair `i` are `ids[offsets[i] : offsets[i + 1]]`; the first `premise_tokens[i]` are of segment 0."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    premise_tokens: NDArray[np.int16]
    pad_id: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each pair."""
        return np.diff(self.offsets)

    def first(self, count: int) -> EncodedPairs:
        """The first `count` pairs."""
        offsets = self.offsets[: count + 1]
        return EncodedPairs(self.ids[: offsets[-1]], offsets, self.premise_tokens[:count], self.pad_id)


def encoded_pairs(tokenizer: Tokenizer, premises: Sequence[str], hypotheses: Sequence[str]) -> EncodedPairs:
    """The pairs with the tokenizer's special tokens, cut to `MAX_TOKENS`. The tokenizer stays set so."""
    pad_id = next(id_ for id_ in map(tokenizer.token_to_id, ("<pad>", "[PAD]")) if id_ is not None)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    ids, lengths, premise_tokens = [], [], []
    for start in range(0, len(premises), ENCODED_TOGETHER):
        chosen = slice(start, start + ENCODED_TOGETHER)
        for encoding in tokenizer.encode_batch(list(zip(premises[chosen], hypotheses[chosen], strict=True))):
            ids.append(np.asarray(encoding.ids, np.int32))
            lengths.append(len(encoding.ids))
            premise_tokens.append(len(encoding.ids) - sum(encoding.type_ids))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return EncodedPairs(np.concatenate(ids), offsets, np.asarray(premise_tokens, np.int16), pad_id)


def padded(pairs: EncodedPairs, positions: NDArray[np.int64], *, segments: bool) -> dict[str, torch.Tensor]:
    """The pairs at `positions` as keyword arguments of a model; `token_type_ids` only for models with `segments`."""
    lengths_B = pairs.lengths[positions]
    columns_BL = np.arange(lengths_B.max())[np.newaxis]
    mask_BL = columns_BL < lengths_B[:, np.newaxis]
    ids_BL = np.full(mask_BL.shape, pairs.pad_id, np.int64)
    ids_BL[mask_BL] = np.concatenate([pairs.ids[pairs.offsets[at] : pairs.offsets[at + 1]] for at in positions])
    tensors = {"input_ids": ids_BL, "attention_mask": mask_BL.astype(np.int64)}
    if segments:
        tensors["token_type_ids"] = (mask_BL & (columns_BL >= pairs.premise_tokens[positions, np.newaxis])).astype(
            np.int64
        )
    return {name: torch.from_numpy(array) for name, array in tensors.items()}
