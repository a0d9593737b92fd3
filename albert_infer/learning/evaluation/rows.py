"""The rows that are evaluated, as every source of them gives them: labelled, with gold, in the order of the input.

A row is known by its place: the number of its file among the input's, and its row there. Two sources of one input are
compared by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.preflight.gold import GOLD
from albert_infer.schema import HYPOTHESIS, LABEL, N_TOKENS, PREMISE, PROBABILITIES, TRUNCATED, NliLabel

PLACE: Final = "_place"
# A file has at most 2³⁰ rows (`reading.MAX_FILE_ROWS`).
ROW_BITS: Final = 30
# The columns of every batch; those to slice by come after them.
COLUMNS: Final = (PLACE, GOLD, LABEL, *PROBABILITIES, N_TOKENS, TRUNCATED, PREMISE, HYPOTHESIS)


class RowSource(Protocol):
    """Labelled rows, with gold labels or, as a run to compare with may be, without."""

    @property
    def rows(self) -> int:
        """How many there are to read, rejected ones included where they are read."""
        ...

    @property
    def has_gold(self) -> bool:
        """Whether there is a column of gold labels."""
        ...

    @property
    def rejected(self) -> Mapping[str, int]:
        """Rows without a label, by reason; complete once all batches are read."""
        ...

    def told(self) -> Mapping[str, object]:
        """What it is, as JSON: where it lies and what labelled it."""
        ...

    def place_of(self, place: int) -> tuple[str, int]:
        """The input file and the row there of a `_place`."""
        ...

    def batches(self) -> Iterator[pa.Table]:
        """The labelled rows, `COLUMNS` first, some thousand at a time, with rising places."""
        ...


def places(file: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the rows of one file."""
    return (file << ROW_BITS) + rows


def file_and_row(place: int) -> tuple[int, int]:
    """The number of the file, and the row there."""
    return place >> ROW_BITS, place & ((1 << ROW_BITS) - 1)


def gold_of(rows: pa.Table) -> NDArray[np.int8]:
    """The gold label of each row as its place in `NliLabel`, NO_GOLD where there is none."""
    found: NDArray[np.int8] = rows[GOLD].to_numpy()
    return found


def labels_of(rows: pa.Table) -> NDArray[np.int64]:
    """The label of each row as its place in `NliLabel`."""
    distinct = rows[LABEL].combine_chunks().dictionary_encode()
    codes = np.array([list(NliLabel).index(NliLabel(label)) for label in distinct.dictionary.to_pylist()], np.int64)
    found: NDArray[np.int64] = codes[distinct.indices.to_numpy()]
    return found


def probabilities_of(rows: pa.Table) -> NDArray[np.float32]:
    """The probabilities (R, 3), in the order of `NliLabel`."""
    return np.column_stack([rows[name].to_numpy() for name in PROBABILITIES])
