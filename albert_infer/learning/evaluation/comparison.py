"""Compares two labellings of the same rows: agreement, and changes of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from albert_infer.learning.evaluation.metrics import Counted, Drawn, Estimate, drawn, estimate, share
from albert_infer.learning.evaluation.rows import POSITION, gold_of, labels_of, probabilities_of
from albert_infer.schema import THREE_LABELS, LabelSet


@dataclass(frozen=True)
class Judged:
    """Which of both labellings is right, on the rows with gold labels that both labelled."""

    rows: int
    accuracy: Estimate
    other_accuracy: Estimate
    # The other accuracy minus this one, on the same rows.
    difference: Estimate
    both_right: int
    only_this_right: int
    only_other_right: int
    both_wrong: int


@dataclass(frozen=True)
class Churn:
    """The differences between the labels of this run or checkpoint and another one."""

    other: Mapping[str, object]
    rows: int
    only_in_this: int
    only_in_other: int
    agreement: Estimate
    kappa: float
    largest_difference: float
    # The number of rows by label in this labelling, then by label in the other.
    became: dict[str, dict[str, int]]
    # None if no row has a gold label.
    judged: Judged | None


class Comparison:
    """Joins the rows of two sources by position, and counts them.

    Both sources have ascending positions, and the labels `label_set`.
    """

    def __init__(self, other: Iterator[pa.Table], label_set: LabelSet = THREE_LABELS) -> None:
        self._other = other
        self.label_set = label_set
        self._unmatched: pa.Table | None = None
        self.cells: Counted = np.zeros((len(label_set) + 1, len(label_set), len(label_set)), np.int64)  # NO_GOLD first
        self.only_in_this = 0
        self.only_in_other = 0
        self.largest_difference = 0.0

    def add(self, rows: pa.Table) -> None:
        """Count the next rows, with the rows of the other source at the same positions."""
        other = self._up_to(int(rows[POSITION][-1].as_py()))
        own, others = rows[POSITION].to_numpy(), other[POSITION].to_numpy() if other else np.zeros(0, np.int64)
        common, own_rows, other_rows = np.intersect1d(own, others, assume_unique=True, return_indices=True)
        self.only_in_this += len(own) - len(common)
        self.only_in_other += len(others) - len(common)
        if other and len(common):
            self._count(rows.take(pa.array(own_rows)), other.take(pa.array(other_rows)))

    def finish(self) -> None:
        """Count the remaining rows of the other source."""
        self.only_in_other += self._unmatched.num_rows if self._unmatched else 0
        self.only_in_other += sum(rows.num_rows for rows in self._other)

    def _up_to(self, last: int) -> pa.Table | None:
        """The next rows of the other source, up to the position `last`."""
        while self._unmatched is None or not self._unmatched.num_rows or self._unmatched[POSITION][-1].as_py() < last:
            more = next(self._other, None)
            if more is None:
                break
            self._unmatched = more if self._unmatched is None else pa.concat_tables([self._unmatched, more])
        if self._unmatched is None:
            return None
        end = int(np.searchsorted(self._unmatched[POSITION].to_numpy(), last, side="right"))
        rows, self._unmatched = self._unmatched.slice(0, end), self._unmatched.slice(end)
        return rows

    def _count(self, rows: pa.Table, other: pa.Table) -> None:
        gold = gold_of(rows).astype(np.int64) + 1
        count = len(self.label_set)
        flat = (gold * count + labels_of(rows)) * count + labels_of(other)
        self.cells += np.bincount(flat, minlength=self.cells.size).reshape(self.cells.shape)
        difference = float(np.abs(probabilities_of(rows) - probabilities_of(other)).max())
        self.largest_difference = max(self.largest_difference, difference)


def churn(comparison: Comparison, other: Mapping[str, object]) -> Churn:
    """The figures of a comparison. `other` describes the other source."""
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
            str(label): {str(other): int(count) for other, count in zip(comparison.label_set, counts, strict=True)}
            for label, counts in zip(comparison.label_set, both, strict=True)
        },
        judged=_judged(comparison.cells[1:]),
    )


def _kappa(both: Counted) -> float:
    one, other = np.nonzero(both)
    if len(set(one)) < 2 and len(set(other)) < 2:
        return float("nan")  # with a single label, kappa is undefined
    return float(cohen_kappa_score(one, other, sample_weight=both[one, other]))


def _judged(cells: Counted) -> Judged | None:
    """The comparison with gold, from cells (labels, labels, labels) by gold label, label and other label."""
    rows = int(cells.sum())
    if not rows:
        return None
    right, other_right = _right(cells)
    both = int(sum(cells[label, label, label] for label in range(len(cells))))
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
    """The numbers of rows that this and the other labelling got right, from cells (…, labels, labels, labels)."""
    this = np.einsum("...ggo->...", cells)
    other = np.einsum("...glg->...", cells)
    return this, other
