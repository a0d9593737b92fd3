"""Two labellings of the same rows: how often they agree, and which labels became which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from albert_infer.learning.evaluation.counting import LABELS
from albert_infer.learning.evaluation.metrics import Counted, Drawn, Estimate, drawn, estimate, share
from albert_infer.learning.evaluation.rows import PLACE, gold_of, labels_of, probabilities_of
from albert_infer.schema import NliLabel

GOLDS: Final = LABELS + 1  # NO_GOLD first


@dataclass(frozen=True)
class Judged:
    """Of the rows with gold labels that both labelled: who is right."""

    rows: int
    accuracy: Estimate
    other_accuracy: Estimate
    # By how much the other is more accurate, row by row.
    difference: Estimate
    both_right: int
    only_this_right: int
    only_other_right: int
    both_wrong: int


@dataclass(frozen=True)
class Churn:
    """How the labels of another run or checkpoint differ from this one's."""

    other: Mapping[str, object]
    rows: int
    only_in_this: int
    only_in_other: int
    agreement: Estimate
    kappa: float
    largest_difference: float
    # By label here, then by label there.
    became: dict[str, dict[str, int]]
    # None where no row has a gold label.
    judged: Judged | None


class Comparison:
    """Meets the rows of one source with those of another, both in rising order of their places, and counts them."""

    def __init__(self, other: Iterator[pa.Table]) -> None:
        self._other = other
        self._waiting: pa.Table | None = None
        self.cells: Counted = np.zeros((GOLDS, LABELS, LABELS), np.int64)
        self.only_in_this = 0
        self.only_in_other = 0
        self.largest_difference = 0.0

    def meet(self, rows: pa.Table) -> None:
        """Count the next rows with the other's of the same places."""
        other = self._up_to(int(rows[PLACE][-1].as_py()))
        here, there = rows[PLACE].to_numpy(), other[PLACE].to_numpy() if other else np.zeros(0, np.int64)
        common, of_here, of_there = np.intersect1d(here, there, assume_unique=True, return_indices=True)
        self.only_in_this += len(here) - len(common)
        self.only_in_other += len(there) - len(common)
        if other and len(common):
            self._count(rows.take(pa.array(of_here)), other.take(pa.array(of_there)))

    def finish(self) -> None:
        """Count what is left of the other's rows."""
        self.only_in_other += self._waiting.num_rows if self._waiting else 0
        self.only_in_other += sum(rows.num_rows for rows in self._other)

    def _up_to(self, last: int) -> pa.Table | None:
        """The other's rows up to this place, as far as they were not met before."""
        while self._waiting is None or not self._waiting.num_rows or self._waiting[PLACE][-1].as_py() < last:
            more = next(self._other, None)
            if more is None:
                break
            self._waiting = more if self._waiting is None else pa.concat_tables([self._waiting, more])
        if self._waiting is None:
            return None
        met = int(np.searchsorted(self._waiting[PLACE].to_numpy(), last, side="right"))
        rows, self._waiting = self._waiting.slice(0, met), self._waiting.slice(met)
        return rows

    def _count(self, rows: pa.Table, other: pa.Table) -> None:
        gold = gold_of(rows).astype(np.int64) + 1
        flat = (gold * LABELS + labels_of(rows)) * LABELS + labels_of(other)
        self.cells += np.bincount(flat, minlength=self.cells.size).reshape(self.cells.shape)
        difference = float(np.abs(probabilities_of(rows) - probabilities_of(other)).max())
        self.largest_difference = max(self.largest_difference, difference)


def churn(comparison: Comparison, other: Mapping[str, object]) -> Churn:
    """What was counted, as figures; `other` says what it was compared with."""
    both = comparison.cells.sum(axis=0)
    rows = int(both.sum())
    return Churn(
        other,
        rows,
        comparison.only_in_this,
        comparison.only_in_other,
        agreement=share(int(np.trace(both)), rows),
        kappa=_kappa(both),
        largest_difference=comparison.largest_difference,
        became={
            str(label): {str(other): int(count) for other, count in zip(NliLabel, counts, strict=True)}
            for label, counts in zip(NliLabel, both, strict=True)
        },
        judged=_judged(comparison.cells[1:]),
    )


def _kappa(both: Counted) -> float:
    one, other = np.nonzero(both)
    if len(set(one)) < 2 and len(set(other)) < 2:
        return float("nan")  # with one label only there is no chance to agree beyond
    return float(cohen_kappa_score(one, other, sample_weight=both[one, other]))


def _judged(cells: Counted) -> Judged | None:
    """Of cells (3, 3, 3) by gold label, label and the other's."""
    rows = int(cells.sum())
    if not rows:
        return None
    right, other_right = _right(cells)
    both = int(sum(cells[label, label, label] for label in range(LABELS)))
    draws = drawn(cells)
    drawn_right, drawn_other = _right(draws)
    return Judged(
        rows,
        accuracy=share(int(right), rows),
        other_accuracy=share(int(other_right), rows),
        difference=estimate(float(other_right - right) / rows, (drawn_other - drawn_right) / rows),
        both_right=both,
        only_this_right=int(right) - both,
        only_other_right=int(other_right) - both,
        both_wrong=rows - int(right) - int(other_right) + both,
    )


def _right(cells: Counted | Drawn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows that each of both got right, of cells (…, 3, 3, 3)."""
    this = np.einsum("...ggo->...", cells)
    other = np.einsum("...glg->...", cells)
    return this, other
