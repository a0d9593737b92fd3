"""Turns counts into figures with 95 % intervals. scikit-learn computes the figures; a bootstrap gives the intervals.

The counts of rows that are drawn with replacement have a multinomial distribution. So the bootstrap of a figure that
depends only on counts draws counts, for any number of rows. Arrays hold all draws, R in shapes. A test compares the
formulas with those of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from albert_infer.schema import THREE_LABELS, LabelSet

# With this number the ends of a 95 % interval have an error of about a tenth of its width.
DRAWS: Final = 2000
SEED: Final = 20_170_612
ENDS: Final = (2.5, 97.5)

Counted = NDArray[np.int64]
Drawn = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure, and the ends of its 95 % interval. All three are NaN for an undefined figure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelQuality:
    """One label: its rows by gold, its rows by label, and its precision, recall and F1."""

    gold_rows: int
    labelled_rows: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Cell:
    """The rows with a gold label and a label, and their share of the rows with that gold label."""

    rows: int
    share: Estimate


@dataclass(frozen=True)
class Quality:
    """The figures of labels against gold labels. Macro-F1 averages over the labels that occur."""

    rows: int
    accuracy: Estimate
    macro_f1: Estimate
    labels: dict[str, LabelQuality]
    # By gold label, then by label.
    confusion: dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Summary:
    """The main figures of a part of the rows."""

    rows: int
    accuracy: Estimate
    macro_f1: Estimate


def quality(cells: Counted, label_set: LabelSet = THREE_LABELS) -> Quality:
    """All figures of the cells (labels, labels), by gold label and label. There must be at least one row."""
    draws = drawn(cells)
    gold, labels, rows = _rows_of(cells)
    order = list(range(len(label_set)))
    by_kind = precision_recall_fscore_support(gold, labels, labels=order, sample_weight=rows, zero_division=np.nan)
    drawn_figures = drawn_precision(draws), drawn_recall(draws), drawn_f1(draws)
    by_label = {}
    shares = _ratio(draws, draws.sum(axis=2, keepdims=True))
    confusion: dict[str, dict[str, Cell]] = {}
    for index, label in enumerate(label_set):
        figures = (estimate(by_kind[kind][index], drawn_figures[kind][:, index]) for kind in range(3))
        of_gold = int(cells[index].sum())
        by_label[str(label)] = LabelQuality(of_gold, int(cells[:, index].sum()), *figures)
        confusion[str(label)] = {
            str(given): Cell(int(count), estimate(count / of_gold if of_gold else np.nan, shares[:, index, column]))
            for column, (given, count) in enumerate(zip(label_set, cells[index], strict=True))
        }
    short = _summary(cells, draws)
    return Quality(short.rows, short.accuracy, short.macro_f1, by_label, confusion)


def summary(cells: Counted) -> Summary:
    """Accuracy and macro-F1 of the cells (labels, labels), by gold label and label."""
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
    """The share `rows / of`."""
    if not of:
        return UNDEFINED
    return estimate(rows / of, drawn(np.array([rows, of - rows]))[:, 0] / of)


def drawn(counts: Counted, draws: int = DRAWS) -> Drawn:
    """The counts of `draws` bootstrap samples of the counted rows, (R, *counts.shape)."""
    total = int(counts.sum())
    if not total:
        return np.zeros((draws, *counts.shape))
    # Each call uses the same seed, so that a figure does not depend on other figures.
    generator = np.random.default_rng(SEED)
    flat = generator.multinomial(total, counts.ravel() / total, size=draws)
    return flat.reshape(draws, *counts.shape).astype(np.float64)


def estimate(value: float, draws: Drawn) -> Estimate:
    """The figure with the percentile interval of its draws (R). Undefined draws do not count."""
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(defined):
        return UNDEFINED
    low, high = np.percentile(defined, ENDS)
    return Estimate(float(value), float(low), float(high))


def drawn_accuracy(draws: Drawn) -> Drawn:
    """Accuracy of each draw (R) of cells (R, labels, labels)."""
    return _ratio(np.trace(draws, axis1=1, axis2=2), draws.sum(axis=(1, 2)))


def drawn_precision(draws: Drawn) -> Drawn:
    """Precision of each label (R, labels); NaN if no row has the label."""
    return _ratio(_right(draws), draws.sum(axis=1))


def drawn_recall(draws: Drawn) -> Drawn:
    """Recall of each label (R, labels); NaN if no row has it as gold label."""
    return _ratio(_right(draws), draws.sum(axis=2))


def drawn_f1(draws: Drawn) -> Drawn:
    """F1 of each label (R, labels); NaN if no row has it as label or gold label."""
    return _ratio(2 * _right(draws), draws.sum(axis=1) + draws.sum(axis=2))


def _right(draws: Drawn) -> Drawn:
    return np.diagonal(draws, axis1=1, axis2=2)


def _ratio(part: Drawn, whole: Drawn) -> Drawn:
    ratio: Drawn = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
    return ratio


def _rows_of(cells: Counted) -> tuple[Any, Any, Counted]:
    """Gold labels, labels and row counts of the cells with rows, for scikit-learn with `sample_weight`."""
    gold, labels = np.nonzero(cells)
    return gold, labels, cells[gold, labels]
