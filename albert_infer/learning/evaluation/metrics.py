"""Counts to figures with 95 % intervals. Figures are scikit-learn's; the intervals are bootstrapped from the counts.

Drawing rows with replacement and counting them is drawing the counts from a multinomial distribution, so the bootstrap
of a figure that is a function of counts needs the counts alone, whatever the number of rows. It is done with arrays of
all draws, R in shapes; a test holds its formulas against scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from albert_infer.schema import NliLabel

# The ends of a 95 % interval are then themselves known to about 0.1 of its width.
DRAWS: Final = 2000
SEED: Final = 20_170_612
ENDS: Final = (2.5, 97.5)

Counted = NDArray[np.int64]
Drawn = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure, and the ends of its 95 % interval; all three are NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelQuality:
    """One label: how many rows have it by gold, how many were given it, and how well that fits."""

    gold_rows: int
    labelled_rows: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Cell:
    """Rows of a gold label that got a label, and their share of that gold label's rows."""

    rows: int
    share: Estimate


@dataclass(frozen=True)
class Quality:
    """How well the labels of some rows fit their gold labels; macro-F1 is over the labels that occur."""

    rows: int
    accuracy: Estimate
    macro_f1: Estimate
    labels: dict[str, LabelQuality]
    # By gold label, then by label.
    confusion: dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Summary:
    """The same in short, for a part of the rows."""

    rows: int
    accuracy: Estimate
    macro_f1: Estimate


def quality(cells: Counted) -> Quality:
    """Every figure of the cells (3, 3), by gold label and label; at least one row must be there."""
    draws = drawn(cells)
    gold, labels, rows = _rows_of(cells)
    order = list(range(len(NliLabel)))
    told = precision_recall_fscore_support(gold, labels, labels=order, sample_weight=rows, zero_division=np.nan)
    drawn_figures = drawn_precision(draws), drawn_recall(draws), drawn_f1(draws)
    by_label = {}
    shares = _ratio(draws, draws.sum(axis=2, keepdims=True))
    confusion: dict[str, dict[str, Cell]] = {}
    for place, label in enumerate(NliLabel):
        figures = (estimate(told[kind][place], drawn_figures[kind][:, place]) for kind in range(3))
        of_gold = int(cells[place].sum())
        by_label[str(label)] = LabelQuality(of_gold, int(cells[:, place].sum()), *figures)
        confusion[str(label)] = {
            str(given): Cell(int(count), estimate(count / of_gold if of_gold else np.nan, shares[:, place, column]))
            for column, (given, count) in enumerate(zip(NliLabel, cells[place], strict=True))
        }
    short = _summary(cells, draws)
    return Quality(short.rows, short.accuracy, short.macro_f1, by_label, confusion)


def summary(cells: Counted) -> Summary:
    """Accuracy and macro-F1 of the cells (3, 3), by gold label and label."""
    return _summary(cells, drawn(cells))


def _summary(cells: Counted, draws: Drawn) -> Summary:
    if not cells.any():
        return Summary(0, UNDEFINED, UNDEFINED)
    gold, labels, rows = _rows_of(cells)
    accuracy = accuracy_score(gold, labels, sample_weight=rows)
    macro_f1 = f1_score(gold, labels, average="macro", sample_weight=rows, zero_division=0)
    return Summary(
        int(cells.sum()),
        estimate(accuracy, drawn_accuracy(draws)),
        estimate(macro_f1, np.nanmean(drawn_f1(draws), axis=1)),
    )


UNDEFINED: Final = Estimate(np.nan, np.nan, np.nan)


def share(rows: int, of: int) -> Estimate:
    """The share `rows` of `of`."""
    if not of:
        return UNDEFINED
    return estimate(rows / of, drawn(np.array([rows, of - rows]))[:, 0] / of)


def drawn(counts: Counted, draws: int = DRAWS) -> Drawn:
    """`draws` bootstrap samples of the rows that were counted, counted alike: (R, *counts.shape)."""
    total = int(counts.sum())
    if not total:
        return np.zeros((draws, *counts.shape))
    # Seeded anew each time, so that no figure depends on which others are asked for.
    generator = np.random.default_rng(SEED)
    flat = generator.multinomial(total, counts.ravel() / total, size=draws)
    return flat.reshape(draws, *counts.shape).astype(np.float64)


def estimate(value: float, draws: Drawn) -> Estimate:
    """The figure with the percentile interval of its draws (R); draws in which it is not defined do not count."""
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(defined):
        return UNDEFINED
    low, high = np.percentile(defined, ENDS)
    return Estimate(float(value), float(low), float(high))


def drawn_accuracy(draws: Drawn) -> Drawn:
    """Accuracy of each draw (R) of cells (R, 3, 3)."""
    return _ratio(np.trace(draws, axis1=1, axis2=2), draws.sum(axis=(1, 2)))


def drawn_precision(draws: Drawn) -> Drawn:
    """Precision of each label (R, 3), NaN where none was given."""
    return _ratio(_right(draws), draws.sum(axis=1))


def drawn_recall(draws: Drawn) -> Drawn:
    """Recall of each label (R, 3), NaN where no gold label is one."""
    return _ratio(_right(draws), draws.sum(axis=2))


def drawn_f1(draws: Drawn) -> Drawn:
    """F1 of each label (R, 3), NaN where it does not occur."""
    return _ratio(2 * _right(draws), draws.sum(axis=1) + draws.sum(axis=2))


def _right(draws: Drawn) -> Drawn:
    return np.diagonal(draws, axis1=1, axis2=2)


def _ratio(part: Drawn, whole: Drawn) -> Drawn:
    found: Drawn = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
    return found


def _rows_of(cells: Counted) -> tuple[Any, Any, Counted]:
    """Gold labels, labels and rows of the cells that have rows: what scikit-learn takes with `sample_weight`."""
    gold, labels = np.nonzero(cells)
    return gold, labels, cells[gold, labels]
