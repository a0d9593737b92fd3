"""Encoded pairs, the pairs of rows, and the progress of a computed micro-batch."""
# ruff: noqa: N802, N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def equal_runs(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the R runs of ids between the `offsets` (R+1); equal runs get equal numbers (R, int64)."""
    begins, tokens = (pa.py_buffer(array) for array in (offsets * ids.itemsize, ids))
    runs = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, [None, begins, tokens])
    numbers: NDArray[np.int64] = runs.dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


@dataclass(frozen=True)
class EncodedPairs:
    """Ragged, unpadded token ids of R pairs, special tokens included: `[CLS] premise [SEP] hypothesis [SEP]`.

    `input_ids` (T, int32) holds the tokens of all pairs in order. `offsets` (R+1, int64) holds the index of each pair's
    first token. `premise_segment_tokens` (R, int32) is the length of segment 0, `[CLS] premise [SEP]`; all later tokens
    of the pair are segment 1.
    """

    input_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    premise_segment_tokens: NDArray[np.int32]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per pair (R, int64)."""
        return np.diff(self.offsets)

    def first_alike(self) -> NDArray[np.int64]:
        """For each pair, the index of the first pair with the same tokens and segments (R, int64)."""
        which_ids = equal_runs(self.input_ids, self.offsets)
        segments = self.premise_segment_tokens.astype(np.int64)
        alike = which_ids * (segments.max(initial=0) + 1) + segments
        _, first, which = np.unique(alike, return_index=True, return_inverse=True)
        return first[which]


@dataclass(frozen=True)
class ComputedBatch:
    """The progress that one computed micro-batch reports.

    `lengths` are the token counts of its rows and of the rows equal to them. `pairs_done` is the number of pairs that
    the batch completes. `halved` says that the batch did not fit into the device's memory. `seconds` is the time spent
    in forward passes since the previous report.
    """

    lengths: NDArray[np.int64]
    pairs_done: int
    halved: bool
    seconds: float


@dataclass(frozen=True)
class RowPairs:
    """The pairs of R rows, where row r has `premise_parts_R[r]` times `hypothesis_parts_R[r]` pairs (int64).

    The pairs (P) are in the order of the rows. In a row, all parts of the premise with the first part of the hypothesis
    come first, then those with the second part.
    """

    premise_parts_R: NDArray[np.int64]
    hypothesis_parts_R: NDArray[np.int64]

    @cached_property
    def counts_R(self) -> NDArray[np.int64]:
        """Pairs of each row."""
        return self.premise_parts_R * self.hypothesis_parts_R

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The index of each row's first pair, and the number of pairs (R+1)."""
        return offsets_of(self.counts_R)

    @cached_property
    def rows_P(self) -> NDArray[np.int64]:
        """The row of each pair."""
        return np.repeat(np.arange(len(self.counts_R)), self.counts_R)

    @cached_property
    def premise_P(self) -> NDArray[np.int64]:
        """Which part of its row's premise each pair has."""
        return self._index_P % self.premise_parts_R[self.rows_P]

    @cached_property
    def hypothesis_P(self) -> NDArray[np.int64]:
        """Which part of its row's hypothesis each pair has."""
        return self._index_P // self.premise_parts_R[self.rows_P]

    def sums(self, values_P: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
        """The sum of the values of each row's pairs (R, int64)."""
        sums: NDArray[np.int64] = np.diff(offsets_of(values_P)[self.offsets])
        return sums

    def of_rows(self, rows: NDArray[np.bool_] | slice) -> RowPairs:
        """The pairs of these rows only."""
        return RowPairs(self.premise_parts_R[rows], self.hypothesis_parts_R[rows])

    @cached_property
    def _index_P(self) -> NDArray[np.int64]:
        return np.arange(len(self.rows_P)) - self.offsets[self.rows_P]


def offsets_of(counts: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where each of R groups of these sizes begins, and where the last one ends (R+1)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def row_batches(counts_R: NDArray[np.int64], at_a_time: int) -> Iterator[slice]:
    """Yield all rows in ranges. The counts of a range sum to at most `at_a_time`, or the range is one row."""
    ends_R = np.cumsum(counts_R)
    first = 0
    while first < len(counts_R):
        before = ends_R[first - 1] if first else 0
        stop = max(int(np.searchsorted(ends_R, before + at_a_time, side="right")), first + 1)
        yield slice(first, stop)
        first = stop
