"""The figures of runs that rank hypotheses, against gold ids: counts while rows are read, and figures of the counts.

Memory grows with the hypotheses of the set, not with the rows. scikit-learn computes the figures, and a bootstrap of
the counts gives the intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from albert_infer.learning.evaluation.calibration import Reliability, reliability
from albert_infer.learning.evaluation.counting import CONFIDENCE_STEPS, OTHER, confidence_counts
from albert_infer.learning.evaluation.metrics import (
    DRAWS,
    SEED,
    Drawn,
    Estimate,
    LabelQuality,
    drawn,
    drawn_f1,
    drawn_precision,
    drawn_recall,
    estimate,
    share,
)
from albert_infer.preflight.gold import NO_GOLD
from albert_infer.schema import BEST, SCORE, TOP

# The hypotheses with figures of their own, and those with a row of the confusion matrix: the most frequent ones.
SHOWN_CLASSES: Final = 50
MATRIX_CLASSES: Final = 10
# Cells times draws that are drawn at a time: 64 MB.
_DRAWN_AT_A_TIME: Final = 1 << 23


@dataclass(frozen=True)
class Ranking:
    """The best hypotheses of rows, compared with gold ids. Macro-F1 averages over the hypotheses that occur."""

    rows: int
    hypotheses: int
    accuracy: Estimate
    macro_f1: Estimate
    # The share of rows whose gold id is among the best k, by k.
    accuracy_at: dict[str, Estimate]
    # The share of rows with the most frequent gold id.
    majority: Estimate
    # The most frequent gold ids first.
    classes: dict[str, LabelQuality]
    # Rows by gold id, then by best id: of the most frequent ids, and of all others together.
    confusion: dict[str, dict[str, int]]
    calibration: Reliability


class RankingCounts:
    """The counts of rows with a ranking of hypotheses with these `ids`."""

    def __init__(self, ids: Sequence[str], top_k: int) -> None:
        self._ids = ids
        self._array = pa.array(ids, pa.string())
        self.rows = 0
        # Rows by gold id and best id: `gold * len(ids) + best`.
        self.cells: Counter[int] = Counter()
        # Rows whose gold id is the first of `top`, the second and so on, and those where it is not in `top`.
        self.ranks = np.zeros(min(top_k, len(ids)) + 1, np.int64)
        self.confidence = np.zeros((CONFIDENCE_STEPS, 2), np.int64)
        self.confidence_sums = np.zeros((CONFIDENCE_STEPS, 2), np.float64)

    def add(self, rows: pa.Table, gold: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count a batch with the indices of its gold ids (R). Returns which of its rows are wrong (R)."""
        self.rows += rows.num_rows
        known = gold != NO_GOLD
        best = self._indices(rows[BEST])
        judged, right = gold[known], (gold == best)[known]
        cells, counts = np.unique(judged * len(self._ids) + best[known], return_counts=True)
        self.cells.update(dict(zip(cells.tolist(), counts.tolist(), strict=True)))
        top = self._indices(pc.list_flatten(rows[TOP])).reshape(len(gold), -1)[known]
        is_gold = np.column_stack([top == judged[:, np.newaxis], np.ones(len(judged), np.bool_)])
        self.ranks += np.bincount(is_gold.argmax(axis=1), minlength=len(self.ranks))
        confidence, sums = confidence_counts(rows[SCORE].to_numpy()[known], right)
        self.confidence += confidence
        self.confidence_sums += sums
        wrong: NDArray[np.bool_] = known & (gold != best)
        return wrong

    def _indices(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        indices: NDArray[np.int64] = pc.index_in(column, self._array).to_numpy().astype(np.int64)
        return indices

    @property
    def with_gold(self) -> int:
        """The rows with a gold id."""
        return self.cells.total()


def ranking(counts: RankingCounts, ids: Sequence[str]) -> Ranking:
    """The figures of the counts. At least one row must have a gold id."""
    flat = np.array(sorted(counts.cells), np.int64)
    rows = np.array([counts.cells[cell] for cell in flat.tolist()], np.int64)
    gold, best = flat // len(ids), flat % len(ids)
    total = int(rows.sum())
    by_gold = np.bincount(gold, rows, len(ids)).astype(np.int64)
    ranked = np.argsort(-by_gold, kind="stable")
    reached = np.cumsum(counts.ranks[:-1])
    return Ranking(
        total,
        len(ids),
        accuracy=share(round(accuracy_score(gold, best, sample_weight=rows, normalize=False)), total),
        macro_f1=_macro_f1(gold, best, rows),
        accuracy_at={str(k): share(int(reached[k - 1]), total) for k in range(1, len(reached) + 1)},
        majority=share(int(by_gold.max()), total),
        classes=_classes(gold, best, rows, [code for code in ranked[:SHOWN_CLASSES].tolist() if by_gold[code]], ids),
        confusion=_confusion(gold, best, rows, ranked[:MATRIX_CLASSES], ids),
        calibration=reliability(counts.confidence, counts.confidence_sums),
    )


def _macro_f1(gold: NDArray[np.int64], best: NDArray[np.int64], rows: NDArray[np.int64]) -> Estimate:
    value = f1_score(gold, best, average="macro", sample_weight=rows, zero_division=0)
    # The ids that occur, as 0, 1, 2 and so on.
    occurring, codes = np.unique(np.concatenate([gold, best]), return_inverse=True)
    golds, bests = codes[: len(gold)], codes[len(gold) :]
    generator = np.random.default_rng(SEED)
    draws: list[float] = []
    while len(draws) < DRAWS:
        number = min(max(_DRAWN_AT_A_TIME // len(rows), 1), DRAWS - len(draws))
        for counts in generator.multinomial(int(rows.sum()), rows / rows.sum(), size=number):
            of_gold, of_best = (np.bincount(each, counts, len(occurring)) for each in (golds, bests))
            right = np.bincount(golds, counts * (golds == bests), len(occurring))
            occurs = of_gold + of_best > 0
            draws.append(float((2 * right[occurs] / (of_gold + of_best)[occurs]).mean()))
    return estimate(float(value), np.array(draws))


def _classes(
    gold: NDArray[np.int64],
    best: NDArray[np.int64],
    rows: NDArray[np.int64],
    codes: Sequence[int],
    ids: Sequence[str],
) -> dict[str, LabelQuality]:
    by_kind = precision_recall_fscore_support(gold, best, labels=codes, sample_weight=rows, zero_division=np.nan)
    classes = {}
    for index, code in enumerate(codes):
        is_gold, is_best = gold == code, best == code
        # Of one hypothesis against all others: rows by gold, then by best.
        cells = np.array(
            [[rows[(is_gold == one) & (is_best == other)].sum() for other in (True, False)] for one in (True, False)]
        )
        draws = drawn(cells.astype(np.int64))
        drawn_figures: list[Drawn] = [each(draws)[:, 0] for each in (drawn_precision, drawn_recall, drawn_f1)]
        figures = [estimate(by_kind[kind][index], drawn_figures[kind]) for kind in range(3)]
        classes[ids[code]] = LabelQuality(int(cells[0].sum()), int(cells[:, 0].sum()), *figures)
    return classes


def _confusion(
    gold: NDArray[np.int64],
    best: NDArray[np.int64],
    rows: NDArray[np.int64],
    shown: NDArray[np.int64],
    ids: Sequence[str],
) -> dict[str, dict[str, int]]:
    """Rows by gold and best id. OTHER is last, if the set has other ids than those `shown`."""
    names = [*(ids[code] for code in shown), *([OTHER] if len(shown) < len(ids) else [])]
    number = np.full(len(ids), len(shown), np.int64)
    number[shown] = np.arange(len(shown))
    cells = np.zeros((len(names), len(names)), np.int64)
    np.add.at(cells, (number[gold], number[best]), rows)
    return {name: dict(zip(names, map(int, of_gold), strict=True)) for name, of_gold in zip(names, cells, strict=True)}
