"""Cuts a premise that is too long for its pair into windows. `classify.folds` folds their probabilities.

numpy only. Knows nothing of texts or devices. Shapes: R pairs of the call, W windows.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.schema import EncodedPairs, equal_runs

# Neighbours share a quarter of a window: about 120 of 512 tokens. A passage of some sentences is then whole in one
# window. This costs a third more work than windows without overlap.
WINDOWS_PER_OVERLAP: Final = 4
# Enough for 1 MiB of prose, the longest text, with a short hypothesis and 512 tokens. A pair needs more windows only
# if its hypothesis leaves hardly any room, so that each window would have a few new tokens.
MAX_WINDOWS: Final = 1024
# Tokens per batch of windows: 4 MB of ids, and enough that the device does not wait for the next batch.
TOKENS_AT_A_TIME: Final = 1 << 20


@dataclass(frozen=True)
class LongPremises:
    """All tokens of premises in windows: premise r has `ids[offsets[r]:offsets[r + 1]]`. Other premises have none."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per premise (R, int64)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Windows:
    """Windows as pairs (W), the row of each window, and whether the window is the last of its row."""

    pairs: EncodedPairs
    rows_W: NDArray[np.int64]
    is_last_W: NDArray[np.bool_]


def window_counts(premise_R: NDArray[np.int64], room_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of windows of `room_R` tokens for premises of `premise_R` tokens: 1 for a premise that fits."""
    more_R = np.maximum(premise_R - room_R, 0)
    counts_R: NDArray[np.int64] = 1 - (-more_R // _steps(room_R))
    return counts_R


def first_alike(pairs: EncodedPairs, premises: LongPremises) -> NDArray[np.int64]:
    """For each pair, the index of the first pair with the same tokens, segments and whole premise (R, int64)."""
    which_premise = equal_runs(premises.ids, premises.offsets)
    alike = pairs.first_alike() * (which_premise.max(initial=0) + 1) + which_premise
    _, first, which = np.unique(alike, return_index=True, return_inverse=True)
    return first[which]


def further_windows(
    pairs: EncodedPairs,
    premises: LongPremises,
    rows: NDArray[np.int64],
    tokens_at_a_time: int = TOKENS_AT_A_TIME,
) -> Iterator[Windows]:
    """Yield all windows of the pairs `rows` after their first, in batches and in order. `pairs` has the first windows.

    Each window is as long as its pair, and has the same hypothesis.
    """
    room_R = _room(pairs)
    more_R = np.zeros(len(room_R), np.int64)
    more_R[rows] = window_counts(premises.lengths, room_R)[rows] - 1
    rows_W = np.repeat(np.arange(len(more_R)), more_R)
    # The first window of a row has index 0.
    index_W = 1 + np.arange(len(rows_W)) - np.repeat(np.cumsum(more_R) - more_R, more_R)
    starts_W = np.minimum(index_W * _steps(room_R)[rows_W], (premises.lengths - room_R)[rows_W])
    is_last_W = index_W == more_R[rows_W]
    at_a_time = max(tokens_at_a_time // int(pairs.lengths[rows_W].max(initial=1)), 1)
    for first in range(0, len(rows_W), at_a_time):
        batch = slice(first, first + at_a_time)
        yield Windows(_framed(pairs, premises, rows_W[batch], starts_W[batch]), rows_W[batch], is_last_W[batch])


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of all ranges, one range after another. Range i has `counts[i]` indices from `starts[i]` on."""
    before = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return positions


def _framed(
    pairs: EncodedPairs, premises: LongPremises, rows_W: NDArray[np.int64], starts_W: NDArray[np.int64]
) -> EncodedPairs:
    """One pair for each window, with the window's tokens instead of the first window's."""
    lengths_W, room_W = pairs.lengths[rows_W], _room(pairs)[rows_W]
    offsets = np.concatenate([[0], np.cumsum(lengths_W)])
    ids = pairs.input_ids[ranges(pairs.offsets[rows_W], lengths_W)]
    ids[ranges(offsets[:-1] + 1, room_W)] = premises.ids[ranges(premises.offsets[rows_W] + starts_W, room_W)]
    return EncodedPairs(ids, offsets, pairs.premise_segment_tokens[rows_W])


def _room(pairs: EncodedPairs) -> NDArray[np.int64]:
    """The number of premise tokens of each pair (R): segment 0 without [CLS] and [SEP]."""
    return np.maximum(pairs.premise_segment_tokens.astype(np.int64) - 2, 0)


def _steps(room_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distance between the starts of two windows, in tokens. At least 1, also without any room."""
    steps_R: NDArray[np.int64] = np.maximum(room_R - room_R // WINDOWS_PER_OVERLAP, 1)
    return steps_R
