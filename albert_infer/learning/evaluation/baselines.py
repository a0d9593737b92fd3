"""What could be had without reading a premise: the most frequent label, and a classifier that sees hypotheses alone.

Gold sets of sentence pairs often give their labels away in the hypothesis (Gururangan et al. 2018, "Annotation
Artifacts in Natural Language Inference Data"; Poliak et al. 2018, "Hypothesis Only Baselines in Natural Language
Inference"). A model that is little better than this baseline may have learnt no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from albert_infer.learning.evaluation.counting import LABELS, Sample
from albert_infer.learning.evaluation.metrics import Estimate, drawn, estimate, share

# Words and pairs of neighbours; collisions cost nothing that shows at this size.
FEATURES: Final = 1 << 18
# The best of 1e-5 to 3e-4 on the SNLI development split, where all four lie within two points.
PENALTY: Final = 3e-5


@dataclass(frozen=True)
class Baselines:
    """All measured on the same half of the sampled rows, which the classifier did not learn from."""

    learnt_from: int
    measured_on: int
    model: Estimate
    hypothesis_only: Estimate
    majority: Estimate
    # By how much the model is above the classifier that sees hypotheses alone, row by row.
    gap: Estimate


def baselines(sample: Sample) -> Baselines | None:
    """The baselines, or None where a half has no rows, or the one to learn from has a single label."""
    learnt, measured = sample.rows(sample.learnt_from), sample.rows(~sample.learnt_from)
    if len(np.unique(learnt.gold)) < 2 or not len(measured.gold):
        return None
    classifier = make_pipeline(
        HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False),
        # A logistic regression. By descent, because L-BFGS carries all weights of all words densely and is as good:
        # 52.4 % on half of the SNLI test split either way, in 0.1 s rather than minutes.
        SGDClassifier(loss="log_loss", alpha=PENALTY, random_state=0),
    )
    classifier.fit(learnt.hypotheses, learnt.gold)
    gold, guessed = measured.gold, classifier.predict(measured.hypotheses)
    most_frequent = np.bincount(learnt.gold, minlength=LABELS).argmax()
    by_model, by_words = measured.labels == gold, guessed == gold
    return Baselines(
        len(learnt.gold),
        len(gold),
        model=_share(by_model),
        hypothesis_only=_share(by_words),
        majority=_share(gold == most_frequent),
        gap=_gap(by_model, by_words),
    )


def _share(right: NDArray[np.bool_]) -> Estimate:
    return share(int(right.sum()), len(right))


def _gap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Estimate:
    """Accuracy of one above the other's, of the same rows."""
    counts = np.bincount(one * 2 + other, minlength=4)
    draws = drawn(counts)
    return estimate(float(one.mean() - other.mean()), (draws[:, 2] - draws[:, 1]) / len(one))
