"""Measures the calibration of probabilities, and fits a temperature.

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
from albert_infer.learning.evaluation.counting import CONFIDENCE_STEPS, Counts, Sample
from albert_infer.learning.evaluation.metrics import ENDS, Estimate, drawn, share
from albert_infer.model.calibration import LEAST, MOST, UNCALIBRATED

BINS: Final = 15
# Fewer pairs are too few to fit one number.
LEAST_PAIRS: Final = 50
# The thresholds in the table of reviews.
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
    """The rows whose label has at least the probability `below`, and their accuracy. People would review the others."""

    below: float
    kept: int
    kept_share: float
    accuracy: Estimate


@dataclass(frozen=True)
class Reliability:
    """Probabilities of labels, compared with the shares of right labels."""

    ece: Estimate
    bins: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Calibration:
    """The calibration of all rows with gold labels. The log loss is that of the sample."""

    ece: Estimate
    log_loss: float
    log_loss_rows: int
    bins: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Fit:
    """A temperature, fitted on the sampled pairs, and its effect on pairs that it was not fitted on.

    The effect is cross-validated: each half of the pairs uses the temperature of the other half.
    """

    temperature: float
    fitted_on: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def calibration(counts: Counts, sample: Sample) -> Calibration:
    """Compare the probabilities of the labels with the shares of right labels."""
    compared = reliability(counts.confidence, counts.confidence_sums)
    loss = nll(tempered(sample.probabilities, 1.0), sample.gold)
    return Calibration(compared.ece, loss, len(sample.gold), compared.bins, compared.thresholds)


def reliability(confidence: NDArray[np.int64], confidence_sums: NDArray[np.float64]) -> Reliability:
    """Compare the counts of `counting.confidence_counts` with the shares of right rows."""
    by_bin = confidence.reshape(BINS, -1, 2).sum(axis=1)
    sums = confidence_sums.reshape(BINS, -1, 2).sum(axis=1)
    bins = tuple(
        Bin(index / BINS, (index + 1) / BINS, int(rows.sum()), float(sums[index].sum() / rows.sum()), _right(rows))
        for index, rows in enumerate(by_bin)
        if rows.any()
    )
    return Reliability(_ece(by_bin, sums), bins, _thresholds(confidence))


def _right(rows: NDArray[np.int64]) -> Estimate:
    """The share of right rows. `rows` has the counts of wrong and right rows."""
    return share(int(rows[1]), int(rows.sum()))


def _thresholds(confidence: NDArray[np.int64]) -> tuple[Threshold, ...]:
    steps = [round(below * CONFIDENCE_STEPS) for below in REVIEW_THRESHOLDS]
    kept = [confidence[step:].sum(axis=0) for step in steps]
    total = confidence.sum()
    return tuple(
        Threshold(below, int(rows.sum()), float(rows.sum() / total), _right(rows))
        for below, rows in zip(REVIEW_THRESHOLDS, kept, strict=True)
    )


def _ece(by_bin: NDArray[np.int64], sums: NDArray[np.float64]) -> Estimate:
    """The expected calibration error of bins (15, 2) with their summed confidences.

    Draws use the mean confidence of their bin, which varies by less than the bin's width. Drawing adds noise to every
    bin, and so increases a sum of absolute values. The draws are corrected by their mean minus the value.
    """
    total = by_bin.sum()
    value = float(np.abs(by_bin[:, 1] - sums.sum(axis=1)).sum() / total)
    means = np.divide(sums, by_bin, out=np.zeros_like(sums), where=by_bin > 0)
    draws = drawn(by_bin)
    errors = np.abs(draws[:, :, 1] - (draws * means).sum(axis=2)).sum(axis=1) / total
    low, high = np.percentile(errors - (errors.mean() - value), ENDS)
    return Estimate(value, max(float(low), 0.0), float(high))


def expected_calibration_error(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """The expected calibration error of rows in memory: probabilities (R, labels) and gold labels (R)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == gold
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.int64)
    gaps = np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(gold))


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """The probabilities (R, labels) after a division of their logits by `temperature`.

    A temperature of 1 only normalises the sums to 1 in float64. The logarithms of probabilities are the logits minus a
    constant of the row, which the softmax cancels. A probability of 0 in float32 counts as the smallest number there.
    """
    least = np.finfo(np.float32).smallest_subnormal
    logits = np.log(np.maximum(probabilities.astype(np.float64), least)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def fitted_temperature(sample: Sample, current: float = UNCALIBRATED) -> Fit:
    """Fit the temperature with the least log loss, and measure its effect by cross-validation on the two halves.

    The result replaces the `current` temperature, which the probabilities include. Raises InputError for too few pairs.
    """
    halves = sample.rows(sample.learnt_from), sample.rows(~sample.learnt_from)
    if min(len(half.gold) for half in halves) < LEAST_PAIRS:
        problem = " and ".join(f"{len(half.gold):,}" for half in halves) + " pairs in the halves, split by premise"
        raise InputError("--fit-temperature", problem, f"give more pairs: each half needs {LEAST_PAIRS}")
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
    """The temperature with the least log loss on a sample."""

    def loss(log_temperature: float) -> float:
        return nll(tempered(sample.probabilities, float(np.exp(log_temperature))), sample.gold)

    best = minimize_scalar(loss, bounds=np.log((LEAST, MOST)), method="bounded")
    return float(np.exp(best.x))


def nll(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """The mean negative logarithm of the gold label's probability."""
    return float(log_loss(gold, probabilities, labels=range(probabilities.shape[1])))
