"""The tokens of a micro-batch laid end to end, without padding. numpy only.

Shapes: R rows of the call, B rows of a micro-batch, T its tokens.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.schema import EncodedPairs

# Attention on a GPU numbers the rows of a pass in a dimension of its grid that has 16 bits.
MOST_ROWS: Final = 65_535


@dataclass(frozen=True)
class LengthRun:
    """Adjacent rows of one length. They form a rectangle, so attention needs neither padding nor a mask."""

    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens in the rectangle."""
        return self.rows * self.length


@dataclass(frozen=True)
class PackedTokens:
    """One micro-batch, shortest rows first. `rows_B` are the indices of its rows in the call."""

    rows_B: NDArray[np.int64]
    runs: tuple[LengthRun, ...]
    first_token_B: NDArray[np.int64]
    input_ids_T: NDArray[np.int32]
    positions_T: NDArray[np.int32]
    token_type_ids_T: NDArray[np.int32]


def packed_tokens(pairs: EncodedPairs, rows_B: NDArray[np.int64]) -> PackedTokens:
    """Lay the rows `rows_B` of `pairs` end to end. The order of `rows_B` matters only for ties.

    Raises ValueError for a row without tokens: it has no [CLS], and would get the label of another row.
    """
    lengths_B = pairs.offsets[rows_B + 1] - pairs.offsets[rows_B]
    if not lengths_B.all():
        raise ValueError(f"row {rows_B[lengths_B.argmin()]} has no tokens: leave it out of the micro-batches")
    by_length_B = np.argsort(lengths_B, kind="stable")
    rows_B, lengths_B = rows_B[by_length_B], lengths_B[by_length_B]
    first_token_B = np.cumsum(lengths_B) - lengths_B
    positions_T = np.arange(lengths_B.sum()) - np.repeat(first_token_B, lengths_B)
    return PackedTokens(
        rows_B=rows_B,
        runs=_length_runs(lengths_B),
        first_token_B=first_token_B,
        input_ids_T=pairs.input_ids[np.repeat(pairs.offsets[rows_B], lengths_B) + positions_T],
        positions_T=positions_T.astype(np.int32),
        token_type_ids_T=(positions_T >= np.repeat(pairs.premise_segment_tokens[rows_B], lengths_B)).astype(np.int32),
    )


def with_rows_in_bounds(batches: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """The micro-batches in order; one of more than `MOST_ROWS` rows is cut into the fewest parts that have no more."""
    for rows_B in batches:
        yield from np.array_split(rows_B, -(-len(rows_B) // MOST_ROWS) or 1)


def _length_runs(sorted_lengths_B: NDArray[np.int64]) -> tuple[LengthRun, ...]:
    lengths, counts = np.unique(sorted_lengths_B, return_counts=True)
    return tuple(LengthRun(rows=int(rows), length=int(length)) for length, rows in zip(lengths, counts, strict=True))
