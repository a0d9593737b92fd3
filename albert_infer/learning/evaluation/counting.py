"""Counts rows while they are read, and keeps a bounded number of them. Memory does not grow with the rows.

All figures follow from these counts. Cells are counts by gold label and label, (labels, labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.utils import murmurhash3_32

from albert_infer.errors import InputError
from albert_infer.learning.evaluation.rows import POSITION, gold_of, labels_of, probabilities_of
from albert_infer.learning.evaluation.sampling import LeastRows, hashes
from albert_infer.preflight.gold import GOLD, NO_GOLD
from albert_infer.schema import (
    HYPOTHESIS,
    LABEL,
    N_TOKENS,
    PREMISE,
    THREE_LABELS,
    TRUNCATED,
    LabelSet,
    labels_in,
    probability_columns,
)

# Steps of confidence, the probability of the label: enough to draw a curve. A bin of `calibration` has 20 steps.
CONFIDENCE_STEPS: Final = 300
# With this many rows, sampling adds 0.1 % to the error of baselines and temperature.
SAMPLE_ROWS: Final = 100_000
HARDEST_ROWS: Final = 20
# The first values of a column are counted separately, later ones together. Each takes a few hundred bytes.
MAX_VALUES: Final = 1000
MAX_VALUE_LETTERS: Final = 100
OTHER: Final = "(other)"
NULL: Final = "(null)"
# The limit of a hypothesis in the sample. Words that reveal a label come early.
MAX_SAMPLE_LETTERS: Final = 500
# The limit of a text on the page.
MAX_TEXT_LETTERS: Final = 400
# Upper bounds of the slices by tokens; SNLI has a mean of 28, MultiNLI of 40, documents have hundreds.
TOKEN_BOUNDS: Final = (16, 32, 64, 128, 256)
TOKEN_SLICES: Final = ("1 to 16", "17 to 32", "33 to 64", "65 to 128", "129 to 256", "257 and more")
# Which half of the sample a row is in, by its premise. All pairs of one premise are in the same half.
LEARNT_FROM: Final = "_learnt_from"


class ValueCells:
    """The cells of each value of a column: of the first MAX_VALUES values, and of all others together."""

    def __init__(self, labels: int) -> None:
        self._labels = labels
        self._numbers: dict[str, int] = {}
        self._cells = np.zeros((MAX_VALUES + 1, labels * labels), np.int64)

    def add(self, values: pa.DictionaryArray, cells: NDArray[np.int64]) -> None:
        """Count rows by value and cell, both (R)."""
        numbers = np.array([self._number(value) for value in [*values.dictionary.to_pylist(), NULL]], np.int64)
        indices = values.indices.fill_null(len(values.dictionary)).to_numpy(zero_copy_only=False)
        flat = numbers[indices] * self._cells.shape[1] + cells
        self._cells += np.bincount(flat, minlength=self._cells.size).reshape(self._cells.shape)

    def items(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """The values with rows, and their cells, in order of first appearance. OTHER is last."""
        for value, number in [*self._numbers.items(), (OTHER, MAX_VALUES)]:
            if self._cells[number].any():
                yield value, self._cells[number].reshape(self._labels, self._labels)

    def _number(self, value: str) -> int:
        value = value[:MAX_VALUE_LETTERS]
        if value not in self._numbers and len(self._numbers) == MAX_VALUES:
            return MAX_VALUES
        return self._numbers.setdefault(value, len(self._numbers))


class Counts:
    """The counts of one source. `slices` are columns to count by; `review_below` splits rows by confidence.

    `label_set` has the labels of the source.
    """

    def __init__(
        self,
        slices: Sequence[str] = (),
        review_below: float | None = None,
        sample_rows: int = SAMPLE_ROWS,
        label_set: LabelSet = THREE_LABELS,
    ) -> None:
        count = len(label_set)
        self.label_set = label_set
        self.rows = 0
        self.labels: NDArray[np.int64] = np.zeros(count, np.int64)
        self.cells: NDArray[np.int64] = np.zeros((count, count), np.int64)
        # The rows by step of confidence, and by wrong or right label; and the sums of their confidence.
        self.confidence: NDArray[np.int64] = np.zeros((CONFIDENCE_STEPS, 2), np.int64)
        self.confidence_sums: NDArray[np.float64] = np.zeros((CONFIDENCE_STEPS, 2), np.float64)
        # Rows to review, and other rows: all of them, and the cells of those with gold labels.
        self.review_rows: NDArray[np.int64] = np.zeros(2, np.int64)
        self.review_cells: NDArray[np.int64] = np.zeros((2, count, count), np.int64)
        self.slices = {name: ValueCells(count) for name in (N_TOKENS, TRUNCATED, *slices)}
        self.review_below = review_below
        self.sample = LeastRows(sample_rows)
        self.hardest = LeastRows(HARDEST_ROWS)

    def add(self, rows: pa.Table) -> None:
        """Count a batch. Raises InputError for a slice column whose values have no text form."""
        labels, probabilities = labels_of(rows), probabilities_of(rows)
        self.rows += rows.num_rows
        self.labels += np.bincount(labels, minlength=len(self.labels))
        gold, confidence = gold_of(rows), probabilities.max(axis=1)
        self._review(gold, labels, confidence)
        known = gold != NO_GOLD
        rows, labels, confidence = rows.filter(pa.array(known)), labels[known], confidence[known]
        cells = gold[known] * len(self.label_set) + labels
        self.cells += np.bincount(cells, minlength=self.cells.size).reshape(self.cells.shape)
        self._confidence(confidence, gold[known] == labels)
        for name, counted in self.slices.items():
            counted.add(_values(rows, name), cells)
        self._keep(rows, confidence, gold[known] != labels)

    def _keep(self, rows: pa.Table, confidence: NDArray[np.float32], wrong: NDArray[np.bool_]) -> None:
        keys = hashes(rows[POSITION].to_numpy())
        wanted = self.sample.wants(keys)
        self.sample.add(_sampled(rows.filter(pa.array(wanted))), keys[wanted])
        hard = wrong & self.hardest.wants(-confidence)
        self.hardest.add(_shown(rows.filter(pa.array(hard))), -confidence[hard])

    def _review(self, gold: NDArray[np.int8], labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> None:
        if self.review_below is None:
            return
        # In float32, like the probabilities: a row exactly at the threshold is not below it.
        above = (confidence >= np.float32(self.review_below)).astype(np.int64)
        self.review_rows += np.bincount(above, minlength=2)
        known = gold != NO_GOLD
        count = len(self.label_set)
        flat = (above[known] * count + gold[known]) * count + labels[known]
        self.review_cells += np.bincount(flat, minlength=self.review_cells.size).reshape(self.review_cells.shape)

    def _confidence(self, confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> None:
        counts, sums = confidence_counts(confidence, right)
        self.confidence += counts
        self.confidence_sums += sums


def confidence_counts(
    confidence: NDArray[np.float32], right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows by step of confidence, and by wrong or right label; and the sums of their confidence."""
    steps = np.clip(np.ceil(confidence.astype(np.float64) * CONFIDENCE_STEPS) - 1, 0, CONFIDENCE_STEPS - 1)
    flat = steps.astype(np.int64) * 2 + right
    shape, size = (CONFIDENCE_STEPS, 2), 2 * CONFIDENCE_STEPS
    counts, sums = np.zeros(shape, np.int64), np.zeros(shape, np.float64)
    counts += np.bincount(flat, minlength=size).reshape(shape)
    sums += np.bincount(flat, confidence, minlength=size).reshape(shape)
    return counts, sums


def _values(rows: pa.Table, name: str) -> pa.DictionaryArray:
    """The values of a column as text for people."""
    if name == N_TOKENS:
        bins = np.searchsorted(TOKEN_BOUNDS, rows[N_TOKENS].to_numpy())
        return pa.DictionaryArray.from_arrays(pa.array(bins, pa.int32()), list(TOKEN_SLICES))
    if name == TRUNCATED:
        cut = rows[TRUNCATED].to_numpy().astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(cut), ["whole", "truncated"])
    column = rows[name]
    try:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        parts = [
            pa.DictionaryArray.from_arrays(part.indices, part.dictionary.cast(pa.string())) for part in coded.chunks
        ]
    except pa.ArrowException as error:
        remedy = "name columns of texts, numbers, dates or booleans"
        raise InputError(f"--slices {name}", f"its values are of type {column.type}", remedy) from error
    whole = pa.chunked_array(parts, pa.dictionary(pa.int32(), pa.string())).unify_dictionaries()
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)


def _sampled(rows: pa.Table) -> pa.Table:
    """The columns of the sample."""
    halves = [murmurhash3_32(premise, positive=True) % 2 == 0 for premise in rows[PREMISE].to_pylist()]
    hypotheses = pc.utf8_slice_codeunits(rows[HYPOTHESIS].cast(pa.string()), 0, MAX_SAMPLE_LETTERS)
    table = rows.select(_label_columns(rows)).append_column(HYPOTHESIS, hypotheses)
    return table.append_column(LEARNT_FROM, pa.array(halves, pa.bool_()))


def _label_columns(rows: pa.Table) -> list[str]:
    return [POSITION, GOLD, LABEL, *probability_columns(labels_in(rows.column_names))]


def _shown(rows: pa.Table) -> pa.Table:
    """The columns for the page."""
    table = rows.select(_label_columns(rows))
    for name in (PREMISE, HYPOTHESIS):
        table = table.append_column(name, pc.utf8_slice_codeunits(rows[name].cast(pa.string()), 0, MAX_TEXT_LETTERS))
    return table


@dataclass(frozen=True)
class Sample:
    """A uniform sample of rows with gold labels: at most SAMPLE_ROWS, ordered by hash."""

    gold: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    hypotheses: list[str]
    learnt_from: NDArray[np.bool_]

    @classmethod
    def of(cls, counts: Counts) -> Sample:
        """The sample of the counts. At least one row must have a gold label."""
        rows: pa.Table = counts.sample.rows()
        return cls(
            gold_of(rows).astype(np.int64),
            labels_of(rows),
            probabilities_of(rows),
            rows[HYPOTHESIS].to_pylist(),
            rows[LEARNT_FROM].to_numpy(),
        )

    def rows(self, which: NDArray[np.bool_]) -> Sample:
        """The rows where `which` is True."""
        hypotheses = [self.hypotheses[row] for row in np.flatnonzero(which)]
        return Sample(
            self.gold[which], self.labels[which], self.probabilities[which], hypotheses, self.learnt_from[which]
        )
