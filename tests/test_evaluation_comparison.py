"""Two labellings meet row by row, whatever their batches and whichever rows one of them lacks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from evaluated_rows import made_up_rows
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.learning.evaluation.comparison import Churn, Comparison, churn

ROWS = 60
KEPT = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)


def batches(rows: pa.Table, size: int) -> list[pa.Table]:
    return [rows.slice(first, size) for first in range(0, rows.num_rows, size)]


def compared(one: list[pa.Table], other: list[pa.Table]) -> Churn:
    comparison = Comparison(iter(other))
    for rows in one:
        comparison.add(rows)
    comparison.finish()
    return churn(comparison, {})


@pytest.mark.computes
@PROPERTY
@given(KEPT, KEPT, st.integers(1, 70), st.integers(1, 70))
def test_rows_meet_by_their_places(here: list[bool], there: list[bool], size: int, other_size: int) -> None:
    one, other = made_up_rows(ROWS, seed=1), made_up_rows(ROWS, seed=2)
    found = compared(
        batches(one.table().filter(pa.array(here)), size), batches(other.table().filter(pa.array(there)), other_size)
    )
    both = np.array(here) & np.array(there)
    assert found.rows == both.sum()
    assert found.only_in_this == (np.array(here) & ~np.array(there)).sum()
    assert found.only_in_other == (np.array(there) & ~np.array(here)).sum()
    same = (one.labels == other.labels)[both]
    if both.any():
        assert found.agreement.value == pytest.approx(same.mean())
        assert sum(found.became[label][label] for label in found.became) == same.sum()


def test_who_is_right_is_counted_on_the_rows_with_gold() -> None:
    one, other = made_up_rows(500, seed=1, right=0.9, unknown=0.2), made_up_rows(500, seed=1, right=0.5, unknown=0.2)
    found = compared([one.table()], [other.table()]).judged
    assert found is not None
    known = one.gold >= 0
    right, other_right = ((rows.labels == one.gold)[known] for rows in (one, other))
    assert found.rows == known.sum()
    assert found.difference.value == pytest.approx(other_right.mean() - right.mean())
    assert found.difference.high < 0
    assert (found.only_this_right, found.only_other_right) == (
        (right & ~other_right).sum(),
        (other_right & ~right).sum(),
    )
    assert found.both_right + found.only_this_right == right.sum()
    assert found.both_right + found.both_wrong + found.only_this_right + found.only_other_right == found.rows


def test_without_gold_labels_only_agreement_is_told() -> None:
    rows = made_up_rows(50, seed=1, unknown=1.0)
    found = compared([rows.table()], [rows.table()])
    assert found.judged is None
    assert (found.agreement.value, found.kappa, found.largest_difference) == (1.0, 1.0, 0.0)
