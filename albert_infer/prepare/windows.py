"""A premise that does not fit beside its hypothesis, in windows: where they begin, their tokens, and which decides.

numpy only; knows nothing of text, labels' names or devices. Shapes: R pairs of the call, W windows, L labels.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.schema import EncodedPairs, NliLabel, equal_runs

# Neighbours share a quarter of a window: about 120 of 512 tokens, so that a passage of some sentences is whole in one
# of them, for a third more work than windows side by side.
WINDOWS_PER_OVERLAP: Final = 4
# More than 1 MiB of prose, the longest text there is, needs beside a short hypothesis within 512 tokens. Others have
# more from a hypothesis that leaves hardly any room, and each would be read for a few tokens.
MAX_WINDOWS: Final = 1024
# Tokens laid out at a time: 4 MB of ids, and long enough for a device not to wait for the next.
TOKENS_AT_A_TIME: Final = 1 << 20
# Which label of a window decides, before which.
PRECEDENCE: Final = (NliLabel.ENTAILMENT, NliLabel.CONTRADICTION, NliLabel.NEUTRAL)


@dataclass(frozen=True)
class LongPremises:
    """All tokens of the premises (R) that are cut into windows, none of the others: those of r from `offsets[r]` on."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per premise (R, int64)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Windows:
    """Windows as pairs of their own (W), the row of each, and whether it is its row's last."""

    pairs: EncodedPairs
    rows_W: NDArray[np.int64]
    is_last_W: NDArray[np.bool_]


def window_counts(premise_R: NDArray[np.int64], room_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many windows of `room_R` tokens hold premises of `premise_R` tokens: 1 where it fits."""
    more_R = np.maximum(premise_R - room_R, 0)
    counts_R: NDArray[np.int64] = 1 - (-more_R // _steps(room_R))
    return counts_R


def first_alike(pairs: EncodedPairs, premises: LongPremises) -> NDArray[np.int64]:
    """For each pair the first one with the same tokens, segments and whole premise (R, int64)."""
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
    """The windows of the pairs `rows` but the first of each, which is the pair as it stands; in order, some at a time.

    They are as long as the pair itself, which is full, and hold the same hypothesis.
    """
    room_R = _room(pairs)
    more_R = np.zeros(len(room_R), np.int64)
    more_R[rows] = window_counts(premises.lengths, room_R)[rows] - 1
    rows_W = np.repeat(np.arange(len(more_R)), more_R)
    place_W = 1 + np.arange(len(rows_W)) - np.repeat(np.cumsum(more_R) - more_R, more_R)
    starts_W = np.minimum(place_W * _steps(room_R)[rows_W], (premises.lengths - room_R)[rows_W])
    is_last_W = place_W == more_R[rows_W]
    at_a_time = max(tokens_at_a_time // int(pairs.lengths[rows_W].max(initial=1)), 1)
    for first in range(0, len(rows_W), at_a_time):
        some = slice(first, first + at_a_time)
        yield Windows(_framed(pairs, premises, rows_W[some], starts_W[some]), rows_W[some], is_last_W[some])


def deciding_windows(rows_W: NDArray[np.int64], probabilities_WL: NDArray[np.float32]) -> NDArray[np.int64]:
    """The window whose label is that of its row, for each row from 0 on (R): the rule `entailment_first`.

    A window that entails decides; else one that contradicts; else all are neutral. Of several the one of the largest
    probability decides, and of equals the first. One whose probabilities are not finite decides before all others: of
    its row nothing is known. Every row has a window, and `probabilities_WL` are in the order of the labels.
    """
    rank_of_label = np.array([PRECEDENCE.index(label) for label in NliLabel])
    known_W = np.isfinite(probabilities_WL).all(axis=1)
    rank_W = np.where(known_W, rank_of_label[probabilities_WL.argmax(axis=1)], -1)
    order_W = np.lexsort((-probabilities_WL.max(axis=1), rank_W, rows_W))
    _, first_R = np.unique(rows_W[order_W], return_index=True)
    return order_W[first_R]


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of all ranges, one after another: `counts` of them from each start on."""
    before = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return positions


def _framed(
    pairs: EncodedPairs, premises: LongPremises, rows_W: NDArray[np.int64], starts_W: NDArray[np.int64]
) -> EncodedPairs:
    """Each pair again for each of its windows, with the window in place of the premise."""
    lengths_W, room_W = pairs.lengths[rows_W], _room(pairs)[rows_W]
    offsets = np.concatenate([[0], np.cumsum(lengths_W)])
    ids = pairs.input_ids[ranges(pairs.offsets[rows_W], lengths_W)]
    ids[ranges(offsets[:-1] + 1, room_W)] = premises.ids[ranges(premises.offsets[rows_W] + starts_W, room_W)]
    return EncodedPairs(ids, offsets, pairs.premise_segment_tokens[rows_W])


def _room(pairs: EncodedPairs) -> NDArray[np.int64]:
    """The premise tokens of each pair (R), which are segment 0 without [CLS] and [SEP]."""
    return np.maximum(pairs.premise_segment_tokens.astype(np.int64) - 2, 0)


def _steps(room_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """How far each window begins after the one before it; 1 where there is no room at all."""
    steps_R: NDArray[np.int64] = np.maximum(room_R - room_R // WINDOWS_PER_OVERLAP, 1)
    return steps_R
