"""Wilson's interval is that of the textbooks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.preflight.intervals import wilson_interval


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_that_of_a_textbook(right: int, of: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), method 3."""
    assert wilson_interval(right, of) == pytest.approx((low, high), abs=5e-5)


@PROPERTY
@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_the_interval_holds_the_share_and_is_that_of_the_others_turned_round(
    of: int, share: float, confidence: float
) -> None:
    right = round(share * of)
    low, high = wilson_interval(right, of, confidence)
    assert 0 <= low <= right / of <= high <= 1
    assert wilson_interval(of - right, of, confidence) == pytest.approx((1 - high, 1 - low))
