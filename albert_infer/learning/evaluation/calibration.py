"""How far probabilities are what they say, and the temperature that makes them so.

Expected calibration error and temperature scaling are those of Guo, Pleiss, Sun and Weinberger, "On Calibration of
Modern Neural Networks", ICML 2017: 15 bins of equal width over the probability of the label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from albert_infer.errors import InputError
from albert_infer.learning.evaluation.counting import CONFIDENCE_STEPS, LABELS, Counts, Sample
from albert_infer.learning.evaluation.metrics import ENDS, Estimate, drawn, share
from albert_infer.model.calibration import LEAST, MOST, UNCALIBRATED

BINS: Final = 15
# Fewer say little of even one number.
LEAST_PAIRS: Final = 50
# Kept shares that the table of review thresholds shows.
REVIEW_THRESHOLDS: Final = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Bin:
    """Rows whose label has a probability above `low`, at most `high`."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Threshold:
    """What sending labels up to a probability to a person would leave: rows kept, and their accuracy."""

    below: float
    kept: int
    kept_share: float
    accuracy: Estimate


@dataclass(frozen=True)
class Calibration:
    """Of all rows with gold labels; the log loss is that of the sample."""

    ece: Estimate
    log_loss: float
    log_loss_rows: int
    bins: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Fit:
    """A temperature, fitted on the sampled pairs, and what fitting one does for pairs that it was not fitted on.

    That is measured on the same pairs, each half with the temperature of the other.
    """

    temperature: float
    fitted_on: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def calibration(counts: Counts, sample: Sample) -> Calibration:
    """How far the probabilities of the labels are the shares that are right."""
    by_bin = counts.confidence.reshape(BINS, -1, 2).sum(axis=1)
    sums = counts.confidence_sums.reshape(BINS, -1, 2).sum(axis=1)
    bins = tuple(
        Bin(place / BINS, (place + 1) / BINS, int(rows.sum()), float(sums[place].sum() / rows.sum()), _right(rows))
        for place, rows in enumerate(by_bin)
        if rows.any()
    )
    loss = nll(tempered(sample.probabilities, 1.0), sample.gold)
    return Calibration(_ece(by_bin, sums), loss, len(sample.gold), bins, _thresholds(counts))


def _right(rows: NDArray[np.int64]) -> Estimate:
    """The share of the right ones, which are counted second."""
    return share(int(rows[1]), int(rows.sum()))


def _thresholds(counts: Counts) -> tuple[Threshold, ...]:
    steps = [round(below * CONFIDENCE_STEPS) for below in REVIEW_THRESHOLDS]
    kept = [counts.confidence[step:].sum(axis=0) for step in steps]
    total = counts.confidence.sum()
    return tuple(
        Threshold(below, int(rows.sum()), float(rows.sum() / total), _right(rows))
        for below, rows in zip(REVIEW_THRESHOLDS, kept, strict=True)
    )


def _ece(by_bin: NDArray[np.int64], sums: NDArray[np.float64]) -> Estimate:
    """The expected calibration error of bins (15, 2) with their added up confidences.

    Draws keep the mean confidence of their bin, which varies by less than the bin's width. Drawing adds noise to every
    bin, and so to a sum of absolute values: the draws are moved back by as much as their mean is above the value.
    """
    total = by_bin.sum()
    value = float(np.abs(by_bin[:, 1] - sums.sum(axis=1)).sum() / total)
    means = np.divide(sums, by_bin, out=np.zeros_like(sums), where=by_bin > 0)
    draws = drawn(by_bin)
    errors = np.abs(draws[:, :, 1] - (draws * means).sum(axis=2)).sum(axis=1) / total
    low, high = np.percentile(errors - (errors.mean() - value), ENDS)
    return Estimate(value, max(float(low), 0.0), float(high))


def expected_calibration_error(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """The same, of rows that are at hand: probabilities (R, 3) and gold labels (R)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == gold
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.int64)
    gaps = np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(gold))


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """What the probabilities (R, 3) become when the logits that they came from are divided by `temperature`.

    With 1 they stay as they are, but add up to 1 in float64. Logarithms of probabilities are the logits less a number
    of the row's own, which the softmax takes out again; one that is 0 in float32 counts as the least that it holds.
    """
    least = np.finfo(np.float32).smallest_subnormal
    logits = np.log(np.maximum(probabilities.astype(np.float64), least)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def fitted_temperature(sample: Sample, current: float = UNCALIBRATED) -> Fit:
    """The temperature of the least log loss on the pairs, and what the temperature of each half does for the other.

    It takes the place of the `current` one, which the probabilities have seen. Raises InputError for too few pairs.
    """
    halves = sample.rows(sample.learnt_from), sample.rows(~sample.learnt_from)
    if min(len(half.gold) for half in halves) < LEAST_PAIRS:
        found = " and ".join(f"{len(half.gold):,}" for half in halves) + " pairs in the halves, split by premise"
        raise InputError("--fit-temperature", found, f"give pairs of which each half has {LEAST_PAIRS}")
    gold = np.concatenate([half.gold for half in halves])
    before = np.concatenate([tempered(half.probabilities, 1.0) for half in halves])
    crossed = zip(halves, reversed(halves), strict=True)
    after = np.concatenate([tempered(half.probabilities, _least_loss(other)) for half, other in crossed])
    return Fit(
        current * _least_loss(sample),
        len(gold),
        nll_before=nll(before, gold),
        nll_after=nll(after, gold),
        ece_before=expected_calibration_error(before, gold),
        ece_after=expected_calibration_error(after, gold),
    )


def _least_loss(sample: Sample) -> float:
    """The temperature that gives the probabilities of a sample the least log loss."""

    def loss(log_temperature: float) -> float:
        return nll(tempered(sample.probabilities, float(np.exp(log_temperature))), sample.gold)

    best = minimize_scalar(loss, bounds=np.log((LEAST, MOST)), method="bounded")
    return float(np.exp(best.x))


def nll(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """The mean negative logarithm of the gold label's probability."""
    return float(log_loss(gold, probabilities, labels=range(LABELS)))
