"""Calibration error as it is defined, and a temperature that undoes what was done to probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from evaluated_rows import made_up_rows
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import PROPERTY

from albert_infer.errors import InputError
from albert_infer.learning.evaluation.calibration import (
    BINS,
    calibration,
    expected_calibration_error,
    fitted_temperature,
    tempered,
)
from albert_infer.learning.evaluation.counting import Counts, Sample


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def sample_of(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> Sample:
    rows = len(gold)
    halves = np.arange(rows) % 2 == 0
    single = probabilities.astype(np.float32)
    return Sample(gold, single.argmax(axis=1), single, ["a text"] * rows, halves)


def overconfident(rows: int, factor: float) -> Sample:
    """Labels drawn from probabilities, and those probabilities with their logits multiplied by `factor`."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (rows, 3))
    gold = np.array([generator.choice(3, p=row) for row in softmax(logits)])
    return sample_of(softmax(logits * factor), gold)


@pytest.mark.computes
@PROPERTY
@given(st.integers(1, 400), st.integers(0, 20))
def test_the_error_from_counts_is_that_of_the_rows_bin_by_bin(rows: int, seed: int) -> None:
    made_up = made_up_rows(rows, seed=seed)
    counts = Counts()
    counts.add(made_up.table())
    found = calibration(counts, Sample.of(counts))
    probabilities, gold = made_up.probabilities.astype(np.float64), made_up.gold.astype(np.int64)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    expected = 0.0
    for place in range(BINS):
        inside = (confidence > place / BINS) & (confidence <= (place + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.ece.value == pytest.approx(expected, abs=1e-6)
    assert expected_calibration_error(probabilities, gold) == pytest.approx(expected, abs=1e-6)
    assert found.ece.low <= found.ece.value + 1e-9
    assert sum(each.rows for each in found.bins) == rows


def test_a_threshold_keeps_the_rows_above_it() -> None:
    made_up = made_up_rows(2000, seed=2)
    counts = Counts()
    counts.add(made_up.table())
    confidence = made_up.probabilities.max(axis=1)
    for each in calibration(counts, Sample.of(counts)).thresholds:
        kept = confidence > each.below
        assert each.kept == kept.sum()
        if kept.any():
            assert each.accuracy.value == pytest.approx((made_up.labels == made_up.gold)[kept].mean())


@PROPERTY
@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3), st.floats(0.2, 5))
def test_a_temperature_on_probabilities_is_one_on_their_logits(logits: list[float], temperature: float) -> None:
    row = np.array([logits])
    found = tempered(softmax(row).astype(np.float32), temperature)
    np.testing.assert_allclose(found, softmax(row / temperature), atol=1e-5)


def test_a_probability_of_nothing_is_no_infinity() -> None:
    assert np.isfinite(tempered(np.array([[1, 0, 0]], np.float32), 2.0)).all()


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_a_factor_and_heals_pairs_that_it_was_not_fitted_on(factor: float) -> None:
    fit = fitted_temperature(overconfident(8000, factor))
    assert fit.temperature == pytest.approx(factor, rel=0.08)
    assert fit.fitted_on == 8000
    assert fit.ece_after < 0.03
    if factor != 1.0:
        assert fit.ece_after < fit.ece_before / 2
        assert fit.nll_after < fit.nll_before


def test_the_temperature_is_of_all_pairs_and_each_half_is_judged_by_that_of_the_other() -> None:
    sure, unsure = overconfident(4000, 3.0), overconfident(4000, 1.0)
    gold = np.concatenate([sure.gold, unsure.gold])
    probabilities = np.concatenate([sure.probabilities, unsure.probabilities])
    halves = np.arange(8000) < 4000
    fit = fitted_temperature(Sample(gold, probabilities.argmax(axis=1), probabilities, ["a text"] * 8000, halves))
    assert 1.2 < fit.temperature < 2.8
    # Each is given the temperature that the other would need.
    crossed = np.concatenate([tempered(sure.probabilities, 1.0), tempered(unsure.probabilities, 3.0)])
    assert fit.ece_after == pytest.approx(expected_calibration_error(crossed, gold), rel=0.05)


def test_a_new_temperature_takes_the_place_of_the_current_one() -> None:
    sample = overconfident(4000, 2.0)
    alone, over = fitted_temperature(sample), fitted_temperature(sample, 1.5)
    assert over.temperature == pytest.approx(1.5 * alone.temperature, rel=1e-3)
    assert over.ece_before == pytest.approx(alone.ece_before)


def test_too_few_pairs_for_a_temperature_are_refused() -> None:
    with pytest.raises(InputError, match="--fit-temperature: 20 and 20 pairs in the halves"):
        fitted_temperature(overconfident(40, 1.0))
