"""What is kept of the rows while they stream by: counts, and bounded numbers of rows. Memory does not grow with them.

Everything that is told later is a function of this. Cells are counts by gold label and label, (3, 3).
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
from albert_infer.learning.evaluation.rows import PLACE, gold_of, labels_of, probabilities_of
from albert_infer.learning.evaluation.sampling import LeastRows, hashes
from albert_infer.preflight.gold import GOLD, NO_GOLD
from albert_infer.schema import HYPOTHESIS, LABEL, N_TOKENS, PREMISE, PROBABILITIES, TRUNCATED, NliLabel

LABELS: Final = len(NliLabel)
# Confidence, the probability of the label, in steps fine enough to draw a curve; 20 of them are a bin of `calibration`.
CONFIDENCE_STEPS: Final = 300
# Enough that sampling adds a tenth of a percent to what a bag of words or a temperature is judged by.
SAMPLE_ROWS: Final = 100_000
HARDEST_ROWS: Final = 20
# Of a column: the values first seen are counted one by one, later ones together; each is a few hundred bytes.
MAX_VALUES: Final = 1000
MAX_VALUE_LETTERS: Final = 100
OTHER: Final = "(other)"
NULL: Final = "(null)"
# A hypothesis in the sample; the words that give a label away come early.
MAX_SAMPLE_LETTERS: Final = 500
# A text on the page.
MAX_TEXT_LETTERS: Final = 400
# Upper bounds of the slices by tokens; SNLI has a mean of 28, MultiNLI of 40, documents have hundreds.
TOKEN_BOUNDS: Final = (16, 32, 64, 128, 256)
TOKEN_SLICES: Final = ("1 to 16", "17 to 32", "33 to 64", "65 to 128", "129 to 256", "257 and more")
# Which half of the sample a row is in, by its premise: pairs of one premise are never on both sides of a judgement.
LEARNT_FROM: Final = "_learnt_from"


class ValueCells:
    """The cells of each value of a column: of the first MAX_VALUES distinct ones, and of all others together."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._cells = np.zeros((MAX_VALUES + 1, LABELS * LABELS), np.int64)

    def add(self, values: pa.DictionaryArray, cells: NDArray[np.int64]) -> None:
        """Count rows by value and cell, both (R)."""
        numbers = np.array([self._number(value) for value in [*values.dictionary.to_pylist(), NULL]], np.int64)
        places = values.indices.fill_null(len(values.dictionary)).to_numpy(zero_copy_only=False)
        flat = numbers[places] * (LABELS * LABELS) + cells
        self._cells += np.bincount(flat, minlength=self._cells.size).reshape(self._cells.shape)

    def items(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Values that have rows, with their cells, in the order in which they were first seen; OTHER last."""
        for value, number in [*self._numbers.items(), (OTHER, MAX_VALUES)]:
            if self._cells[number].any():
                yield value, self._cells[number].reshape(LABELS, LABELS)

    def _number(self, value: str) -> int:
        value = value[:MAX_VALUE_LETTERS]
        if value not in self._numbers and len(self._numbers) == MAX_VALUES:
            return MAX_VALUES
        return self._numbers.setdefault(value, len(self._numbers))


class Counts:
    """The rows of one source, counted. `slices` are columns of them; `review_below` splits them by confidence."""

    def __init__(
        self, slices: Sequence[str] = (), review_below: float | None = None, sample_rows: int = SAMPLE_ROWS
    ) -> None:
        self.rows = 0
        self.labels: NDArray[np.int64] = np.zeros(LABELS, np.int64)
        self.cells: NDArray[np.int64] = np.zeros((LABELS, LABELS), np.int64)
        # By step of confidence, and whether the label is wrong or right; the confidence itself added up beside it.
        self.confidence: NDArray[np.int64] = np.zeros((CONFIDENCE_STEPS, 2), np.int64)
        self.confidence_sums: NDArray[np.float64] = np.zeros((CONFIDENCE_STEPS, 2), np.float64)
        # All rows, and those with gold by cell, that are to be reviewed, and that are not.
        self.review_rows: NDArray[np.int64] = np.zeros(2, np.int64)
        self.review_cells: NDArray[np.int64] = np.zeros((2, LABELS, LABELS), np.int64)
        self.slices = {name: ValueCells() for name in (N_TOKENS, TRUNCATED, *slices)}
        self.review_below = review_below
        self.sample = LeastRows(sample_rows)
        self.hardest = LeastRows(HARDEST_ROWS)

    def add(self, rows: pa.Table) -> None:
        """Count a batch. Raises InputError for a column that cannot be told apart by value."""
        labels, probabilities = labels_of(rows), probabilities_of(rows)
        self.rows += rows.num_rows
        self.labels += np.bincount(labels, minlength=LABELS)
        gold, confidence = gold_of(rows), probabilities.max(axis=1)
        self._review(gold, labels, confidence)
        known = gold != NO_GOLD
        rows, labels, confidence = rows.filter(pa.array(known)), labels[known], confidence[known]
        cells = gold[known] * LABELS + labels
        self.cells += np.bincount(cells, minlength=LABELS * LABELS).reshape(LABELS, LABELS)
        self._confidence(confidence, gold[known] == labels)
        for name, counted in self.slices.items():
            counted.add(_values(rows, name), cells)
        self._keep(rows, confidence, gold[known] != labels)

    def _keep(self, rows: pa.Table, confidence: NDArray[np.float32], wrong: NDArray[np.bool_]) -> None:
        keys = hashes(rows[PLACE].to_numpy())
        drawn = self.sample.wants(keys)
        self.sample.add(_sampled(rows.filter(pa.array(drawn))), keys[drawn])
        telling = wrong & self.hardest.wants(-confidence)
        self.hardest.add(_shown(rows.filter(pa.array(telling))), -confidence[telling])

    def _review(self, gold: NDArray[np.int8], labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> None:
        if self.review_below is None:
            return
        # In float32, as the probabilities are: a row at the threshold itself is not below it.
        kept = (confidence >= np.float32(self.review_below)).astype(np.int64)
        self.review_rows += np.bincount(kept, minlength=2)
        known = gold != NO_GOLD
        flat = (kept[known] * LABELS + gold[known]) * LABELS + labels[known]
        self.review_cells += np.bincount(flat, minlength=self.review_cells.size).reshape(self.review_cells.shape)

    def _confidence(self, confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> None:
        steps = np.clip(np.ceil(confidence.astype(np.float64) * CONFIDENCE_STEPS) - 1, 0, CONFIDENCE_STEPS - 1)
        flat = steps.astype(np.int64) * 2 + right
        size, shape = self.confidence.size, self.confidence.shape
        self.confidence += np.bincount(flat, minlength=size).reshape(shape)
        self.confidence_sums += np.bincount(flat, confidence, minlength=size).reshape(shape)


def _values(rows: pa.Table, name: str) -> pa.DictionaryArray:
    """The values of a column as text, each with a name that a person reads."""
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
    """What the sample holds of rows."""
    halves = [murmurhash3_32(premise, positive=True) % 2 == 0 for premise in rows[PREMISE].to_pylist()]
    hypotheses = pc.utf8_slice_codeunits(rows[HYPOTHESIS].cast(pa.string()), 0, MAX_SAMPLE_LETTERS)
    table = rows.select([PLACE, GOLD, LABEL, *PROBABILITIES]).append_column(HYPOTHESIS, hypotheses)
    return table.append_column(LEARNT_FROM, pa.array(halves, pa.bool_()))


def _shown(rows: pa.Table) -> pa.Table:
    """What the page shows of rows."""
    table = rows.select([PLACE, GOLD, LABEL, *PROBABILITIES])
    for name in (PREMISE, HYPOTHESIS):
        table = table.append_column(name, pc.utf8_slice_codeunits(rows[name].cast(pa.string()), 0, MAX_TEXT_LETTERS))
    return table


@dataclass(frozen=True)
class Sample:
    """Rows with gold labels, drawn uniformly: at most SAMPLE_ROWS, in the order of their hashes."""

    gold: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    hypotheses: list[str]
    learnt_from: NDArray[np.bool_]

    @classmethod
    def of(cls, counts: Counts) -> Sample:
        """The sample that was kept. At least one row must have a gold label."""
        rows: pa.Table = counts.sample.rows()
        return cls(
            gold_of(rows).astype(np.int64),
            labels_of(rows),
            probabilities_of(rows),
            rows[HYPOTHESIS].to_pylist(),
            rows[LEARNT_FROM].to_numpy(),
        )

    def rows(self, which: NDArray[np.bool_]) -> Sample:
        """Some of them."""
        hypotheses = [self.hypotheses[row] for row in np.flatnonzero(which)]
        return Sample(
            self.gold[which], self.labels[which], self.probabilities[which], hypotheses, self.learnt_from[which]
        )
