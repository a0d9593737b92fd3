"""The figures of runs that score consistency, against gold answers: ROC AUC, and the best balanced accuracy.

A score has no threshold of its own. The threshold with the best balanced accuracy is fitted on the same rows, as in
the benchmark of SummaC (Laban et al. 2022), so its accuracy on other rows is somewhat lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from albert_infer.learning.evaluation.metrics import (
    DRAWS,
    SEED,
    Estimate,
    drawn,
    drawn_recall,
    estimate,
    share,
)
from albert_infer.learning.evaluation.rows import POSITION
from albert_infer.learning.evaluation.sampling import LeastRows, hashes
from albert_infer.learning.evaluation.scored_gold import CONSISTENT, INCONSISTENT
from albert_infer.preflight.gold import NO_GOLD
from albert_infer.schema import SCORE

# The rows that the figures use at most: a uniform sample of all rows.
SAMPLE_ROWS: Final = 100_000
# Points of the curve in the document.
CURVE_POINTS: Final = 200
_GOLD: Final = "_gold"


@dataclass(frozen=True)
class Consistency:
    """The scores of rows, compared with gold answers. All figures are those of the sampled rows.

    `threshold` is fitted on these rows: a row counts as consistent if its score is at least the threshold. The interval
    of `balanced_accuracy` is that of this threshold.
    """

    rows: int
    sampled_rows: int
    consistent_rows: int
    inconsistent_rows: int
    auc: Estimate
    balanced_accuracy: Estimate
    threshold: float
    # The shares of consistent rows, and of inconsistent rows, on their side of the threshold.
    consistent_recall: Estimate
    inconsistent_recall: Estimate
    consistent_mean_score: float
    inconsistent_mean_score: float
    # The shares of inconsistent and of consistent rows at or above a threshold, by falling threshold.
    curve: tuple[tuple[float, float], ...]


class ConsistencyCounts:
    """A uniform sample of rows with a score and a gold answer."""

    def __init__(self, sample_rows: int = SAMPLE_ROWS) -> None:
        self.rows = 0
        self.with_gold = 0
        self._sample = LeastRows(sample_rows)

    def add(self, rows: pa.Table, gold: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count a batch with its gold answers (R). Returns which of its rows have one (R)."""
        self.rows += rows.num_rows
        known: NDArray[np.bool_] = gold != NO_GOLD
        self.with_gold += int(known.sum())
        keys = hashes(rows[POSITION].to_numpy())
        wanted = known & self._sample.wants(keys)
        table = rows.select([POSITION, SCORE]).append_column(_GOLD, pa.array(gold)).filter(pa.array(wanted))
        self._sample.add(table, keys[wanted])
        return known

    def sample(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The gold answers and the scores of the sample. At least one row must have a gold answer."""
        rows = self._sample.rows()
        assert rows is not None  # noqa: S101  (for the type checker: callers check)
        return rows[_GOLD].to_numpy(), rows[SCORE].to_numpy()


def consistency(counts: ConsistencyCounts) -> Consistency:
    """The figures of the counts. Some rows must be consistent, and others inconsistent."""
    gold, score = counts.sample()
    false_positives, true_positives, thresholds = roc_curve(gold, score)
    # The first threshold is infinite, above all scores.
    balanced = (true_positives + 1 - false_positives)[1:] / 2
    chosen = 1 + int(balanced.argmax())
    threshold = float(thresholds[chosen])
    above = (score >= thresholds[chosen]).astype(np.int64)
    cells = np.bincount(gold * 2 + above, minlength=4).reshape(2, 2)
    points = np.unique(np.linspace(0, len(thresholds) - 1, min(CURVE_POINTS, len(thresholds))).round().astype(np.int64))
    return Consistency(
        counts.with_gold,
        len(gold),
        int(cells[CONSISTENT].sum()),
        int(cells[INCONSISTENT].sum()),
        auc=estimate(float(roc_auc_score(gold, score)), _drawn_auc(gold, score)),
        balanced_accuracy=estimate(balanced_accuracy_score(gold, above), drawn_recall(drawn(cells)).mean(axis=1)),
        threshold=threshold,
        consistent_recall=share(int(cells[CONSISTENT, CONSISTENT]), int(cells[CONSISTENT].sum())),
        inconsistent_recall=share(int(cells[INCONSISTENT, INCONSISTENT]), int(cells[INCONSISTENT].sum())),
        consistent_mean_score=float(score[gold == CONSISTENT].mean(dtype=np.float64)),
        inconsistent_mean_score=float(score[gold == INCONSISTENT].mean(dtype=np.float64)),
        curve=tuple((float(false_positives[point]), float(true_positives[point])) for point in points),
    )


def _drawn_auc(gold: NDArray[np.int64], score: NDArray[np.float32]) -> NDArray[np.float64]:
    """The area under the ROC curve of each draw of the rows; NaN if all drawn rows have the same answer.

    The area is the probability that a consistent row has a larger score than an inconsistent row. Equal scores count
    as a half.
    """
    generator = np.random.default_rng(SEED)
    _, codes = np.unique(score, return_inverse=True)
    flat, levels = codes * 2 + gold, int(codes.max()) + 1
    draws = np.full(DRAWS, np.nan)
    for index in range(DRAWS):
        rows = np.bincount(flat[generator.integers(0, len(flat), len(flat))], minlength=2 * levels).reshape(levels, 2)
        inconsistent, consistent = rows[:, INCONSISTENT].astype(np.float64), rows[:, CONSISTENT].astype(np.float64)
        below = np.cumsum(inconsistent) - inconsistent / 2
        if consistent.any() and inconsistent.any():
            draws[index] = consistent @ below / (consistent.sum() * inconsistent.sum())
    return draws
