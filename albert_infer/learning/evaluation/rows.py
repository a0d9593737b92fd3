"""The protocol of a source of rows: labelled, with gold labels, in the order of the input.

A row's position combines the number of its input file and its row in the file. Two sources of one input are joined by
position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.preflight.gold import GOLD
from albert_infer.schema import (
    HYPOTHESIS,
    LABEL,
    N_TOKENS,
    PREMISE,
    TRUNCATED,
    LabelSet,
    labels_in,
    probability_columns,
)

POSITION: Final = "_input_position"
# A file has at most 2³⁰ rows (`reading.MAX_FILE_ROWS`).
ROW_BITS: Final = 30


class RowSource(Protocol):
    """Labelled rows. A run to compare with may have no gold labels."""

    @property
    def labels(self) -> LabelSet:
        """The labels of the checkpoint, in the order of the probability columns."""
        ...

    @property
    def rows(self) -> int:
        """The number of rows to read, with rejected rows if they are read too."""
        ...

    @property
    def has_gold(self) -> bool:
        """Whether there is a column of gold labels."""
        ...

    @property
    def rejected(self) -> Mapping[str, int]:
        """The numbers of rejected rows, by reason; complete after the last batch."""
        ...

    def description(self) -> Mapping[str, object]:
        """The location and the model of the source, as JSON."""
        ...

    def file_and_row(self, position: int) -> tuple[str, int]:
        """The input file, and the row in it, of a position."""
        ...

    def batches(self) -> Iterator[pa.Table]:
        """Yield the labelled rows, thousands at a time, by ascending position. `columns_of` come first."""
        ...


def columns_of(labels: LabelSet) -> tuple[str, ...]:
    """The columns of every batch. Slice columns follow."""
    return (POSITION, GOLD, LABEL, *probability_columns(labels), N_TOKENS, TRUNCATED, PREMISE, HYPOTHESIS)


def positions(file: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of the rows of one file."""
    return (file << ROW_BITS) + rows


def split_position(position: int) -> tuple[int, int]:
    """The number of the file, and the row in it."""
    return position >> ROW_BITS, position & ((1 << ROW_BITS) - 1)


def gold_of(rows: pa.Table) -> NDArray[np.int8]:
    """The gold label of each row as index in the labels of the source; NO_GOLD without one."""
    gold: NDArray[np.int8] = rows[GOLD].to_numpy()
    return gold


def labels_of(rows: pa.Table) -> NDArray[np.int64]:
    """The label of each row as index in the labels of the source."""
    distinct = rows[LABEL].combine_chunks().dictionary_encode()
    known = labels_in(rows.column_names)
    codes = np.array([known.index(label) for label in distinct.dictionary.to_pylist()], np.int64)
    labels: NDArray[np.int64] = codes[distinct.indices.to_numpy()]
    return labels


def probabilities_of(rows: pa.Table) -> NDArray[np.float32]:
    """The probabilities (R, labels)."""
    names = probability_columns(labels_in(rows.column_names))
    return np.column_stack([rows[name].to_numpy() for name in names])
