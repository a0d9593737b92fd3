"""Figures are scikit-learn's, and the intervals are those of its figures over rows that are drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pairs import PROPERTY
from sklearn import metrics as sklearn_metrics

from albert_infer.learning.evaluation import metrics
from albert_infer.learning.evaluation.metrics import Counted, drawn, quality, share, summary

CELLS = arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 30)).filter(lambda cells: cells.any())


@pytest.mark.computes
@PROPERTY
@given(CELLS)
def test_the_formulas_of_the_draws_are_those_of_scikit_learn(cells: Counted) -> None:
    gold, labels = (np.repeat(places.ravel(), cells.ravel()) for places in np.indices((3, 3)))
    draw = cells[np.newaxis].astype(np.float64)
    wanted = sklearn_metrics.precision_recall_fscore_support(gold, labels, labels=[0, 1, 2], zero_division=np.nan)
    assert metrics.drawn_accuracy(draw)[0] == pytest.approx(sklearn_metrics.accuracy_score(gold, labels))
    for found, expected in zip(
        (metrics.drawn_precision(draw), metrics.drawn_recall(draw), metrics.drawn_f1(draw)), wanted[:3], strict=True
    ):
        np.testing.assert_allclose(found[0], expected)
    macro_f1 = sklearn_metrics.f1_score(gold, labels, average="macro", zero_division=0)
    assert summary(cells).macro_f1.value == pytest.approx(macro_f1)
    assert np.nanmean(metrics.drawn_f1(draw)) == pytest.approx(macro_f1)


@pytest.mark.computes
@PROPERTY
@given(CELLS)
def test_every_figure_lies_in_its_interval_and_the_matrix_holds_every_row(cells: Counted) -> None:
    found = quality(cells)
    told = [[found.confusion[gold][label].rows for label in found.labels] for gold in found.labels]
    assert (np.array(told) == cells).all()
    assert found.rows == cells.sum()
    estimates = [found.accuracy, *(of.recall for of in found.labels.values())]
    for each in estimates:
        assert np.isnan(each.value) or 0 <= each.low <= each.value + 1e-12
        assert np.isnan(each.value) or each.value - 1e-12 <= each.high <= 1


def test_an_interval_is_as_wide_as_drawing_rows_makes_it() -> None:
    found = share(750, 1000)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 1000)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - half, abs=0.003)
    assert found.high == pytest.approx(0.75 + half, abs=0.003)


def test_draws_have_as_many_rows_and_are_the_same_each_time() -> None:
    counts = np.array([[5, 0], [3, 9]])
    assert (drawn(counts).sum(axis=(1, 2)) == 17).all()
    assert (drawn(counts) == drawn(counts)).all()
    assert not drawn(np.zeros(3, np.int64)).any()


def test_a_label_that_was_never_given_has_no_precision() -> None:
    found = quality(np.array([[5, 0, 0], [2, 0, 0], [0, 0, 3]])).labels["neutral"]
    assert np.isnan(found.precision.value)
    assert found.recall.value == 0
