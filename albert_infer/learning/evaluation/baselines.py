"""Baselines that read no premise: the most frequent label, and a classifier of hypotheses alone.

Gold sets of sentence pairs often give their labels away in the hypothesis (Gururangan et al. 2018, "Annotation
Artifacts in Natural Language Inference Data"; Poliak et al. 2018, "Hypothesis Only Baselines in Natural Language
Inference"). A model that is little better than this baseline may have learned no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from albert_infer.learning.evaluation.counting import Sample
from albert_infer.learning.evaluation.metrics import Estimate, drawn, estimate, share

# Words and pairs of adjacent words. At this size collisions do not matter.
FEATURES: Final = 1 << 18
# The best of 1e-5 to 3e-4 on the SNLI development split. All four values are within two points.
PENALTY: Final = 3e-5


@dataclass(frozen=True)
class Baselines:
    """Accuracies on the half of the sampled rows that the classifier did not learn from."""

    learnt_from: int
    measured_on: int
    model: Estimate
    hypothesis_only: Estimate
    majority: Estimate
    # The accuracy of the model minus that of the classifier of hypotheses, on the same rows.
    gap: Estimate


def baselines(sample: Sample) -> Baselines | None:
    """The baselines; None if a half has no rows, or if the first half has only one label."""
    first_half, second_half = sample.rows(sample.learnt_from), sample.rows(~sample.learnt_from)
    if len(np.unique(first_half.gold)) < 2 or not len(second_half.gold):
        return None
    classifier = make_pipeline(
        HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False),
        # A logistic regression by gradient descent. L-BFGS needs dense weights for all words, and minutes instead of
        # 0.1 s. Both get 52.4 % on half of the SNLI test split.
        SGDClassifier(loss="log_loss", alpha=PENALTY, random_state=0),
    )
    classifier.fit(first_half.hypotheses, first_half.gold)
    gold, guessed = second_half.gold, classifier.predict(second_half.hypotheses)
    most_frequent = np.bincount(first_half.gold).argmax()
    by_model, by_words = second_half.labels == gold, guessed == gold
    return Baselines(
        len(first_half.gold),
        len(gold),
        model=_share(by_model),
        hypothesis_only=_share(by_words),
        majority=_share(gold == most_frequent),
        gap=_gap(by_model, by_words),
    )


def _share(right: NDArray[np.bool_]) -> Estimate:
    return share(int(right.sum()), len(right))


def _gap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Estimate:
    """The accuracy of `one` minus that of `other`, on the same rows."""
    counts = np.bincount(one * 2 + other, minlength=4)
    draws = drawn(counts)
    return estimate(float(one.mean() - other.mean()), (draws[:, 2] - draws[:, 1]) / len(one))
