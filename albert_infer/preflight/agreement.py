"""Compares the labels of the run's precision with those of fp32 on pairs of the run, and refuses low agreement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify.classification import Classifier
from albert_infer.common.printable import how_many
from albert_infer.errors import LimitError
from albert_infer.preflight.intervals import wilson_interval
from albert_infer.schema import LABEL, REJECTION, Precision, labels_in, probability_columns

CONFIDENCE: Final = 0.99


@dataclass(frozen=True)
class Agreement:
    """The share of equal labels and the largest probability difference, for the `pairs` pairs with a label.

    `upper_bound` is the upper confidence bound, at CONFIDENCE, of that share among all pairs.
    """

    pairs: int
    equal_labels: float
    upper_bound: float
    largest_difference: float

    def to_text(self, precision: Precision) -> str:
        """The result as text, for `precision`."""
        equal = f"{round(self.equal_labels * self.pairs):,} of {how_many(self.pairs, 'pair')} of the input"
        return (
            f"{equal} get the same label in {precision} as in fp32 ({self.equal_labels:.2%}); "
            f"probabilities differ by at most {self.largest_difference:.1g}"
        )


def measure_agreement(classifier: Classifier, exact: Classifier, pairs: pa.Table) -> Agreement | None:
    """Label the prepared `pairs` with both classifiers. `exact` computes in fp32. None if no pair has a label."""
    if not pairs.num_rows:
        return None
    actual, expected = classifier.classified(pairs), exact.classified(pairs)
    labelled = actual[REJECTION].is_null().to_numpy() & expected[REJECTION].is_null().to_numpy()
    count = int(labelled.sum())
    if not count:
        return None
    equal = int((_labels(actual) == _labels(expected))[labelled].sum())
    return Agreement(
        pairs=count,
        equal_labels=equal / count,
        upper_bound=upper_bound(equal, count),
        largest_difference=float(np.abs(_probabilities(actual) - _probabilities(expected))[labelled].max()),
    )


def upper_bound(equal: int, pairs: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper confidence bound of the share of equal labels, from `equal` of `pairs`."""
    return wilson_interval(equal, pairs, 2 * confidence - 1)[1]


def refuse_disagreement(agreement: Agreement | None, precision: Precision, min_agreement: float) -> None:
    """Raises LimitError if even the upper bound is below `min_agreement`."""
    if agreement is not None and agreement.upper_bound < min_agreement:
        share = f"{agreement.equal_labels:.2%} of {agreement.pairs:,} sampled pairs have fp32's label in {precision}"
        bound = f"so at most {agreement.upper_bound:.2%} of all do ({CONFIDENCE:.0%} confidence)"
        remedy = "give --precision fp32, or lower --min-agreement"
        raise LimitError(f"--min-agreement {min_agreement}", f"{share}, {bound}", remedy)


def _labels(labelled: pa.Table) -> NDArray[np.object_]:
    return np.asarray(labelled[LABEL].to_numpy())


def _probabilities(labelled: pa.Table) -> NDArray[np.float32]:
    names = probability_columns(labels_in(labelled.column_names))
    return np.stack([labelled[name].to_numpy() for name in names], axis=1)
