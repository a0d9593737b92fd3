"""Micro-batches hold every row once, within the budget, and follow from the lengths alone."""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from albert_infer.classify.batching import micro_batches

LENGTHS = st.lists(st.integers(min_value=1, max_value=90), max_size=60).map(
    lambda lengths: np.array(lengths, dtype=np.int64)
)
BUDGETS = st.integers(min_value=1, max_value=300)


def joined(batches: list[NDArray[np.int64]]) -> list[int]:
    return [int(row) for rows_B in batches for row in rows_B]


@given(LENGTHS, BUDGETS)
def test_every_row_is_in_exactly_one_micro_batch(lengths_R: NDArray[np.int64], budget: int) -> None:
    assert sorted(joined(micro_batches(lengths_R, budget))) == list(range(len(lengths_R)))


@given(LENGTHS, BUDGETS)
def test_only_a_row_alone_exceeds_the_budget(lengths_R: NDArray[np.int64], budget: int) -> None:
    for rows_B in micro_batches(lengths_R, budget):
        assert lengths_R[rows_B].sum() <= budget or len(rows_B) == 1


@given(LENGTHS, BUDGETS)
def test_a_micro_batch_is_closed_only_when_the_next_row_does_not_fit(lengths_R: NDArray[np.int64], budget: int) -> None:
    batches = micro_batches(lengths_R, budget)
    for rows_B, next_B in pairwise(batches):
        assert lengths_R[rows_B].sum() + lengths_R[next_B[0]] > budget


@given(LENGTHS, BUDGETS)
def test_rows_stand_shortest_first_and_ties_keep_their_order(lengths_R: NDArray[np.int64], budget: int) -> None:
    order = joined(micro_batches(lengths_R, budget))
    assert order == sorted(range(len(lengths_R)), key=lambda row: (lengths_R[row], row))


@given(LENGTHS, BUDGETS, st.randoms(use_true_random=False))
def test_shuffled_rows_give_the_same_lengths_in_every_micro_batch(
    lengths_R: NDArray[np.int64], budget: int, random: np.random.RandomState
) -> None:
    shuffled_R = lengths_R.copy()
    random.shuffle(shuffled_R)
    expected = [lengths_R[rows_B].tolist() for rows_B in micro_batches(lengths_R, budget)]
    assert [shuffled_R[rows_B].tolist() for rows_B in micro_batches(shuffled_R, budget)] == expected


def test_rows_that_fill_the_budget_exactly_go_together() -> None:
    batches = micro_batches(np.array([5, 5, 5, 5], dtype=np.int64), 10)
    assert [rows_B.tolist() for rows_B in batches] == [[0, 1], [2, 3]]


def test_a_row_longer_than_the_budget_goes_alone() -> None:
    batches = micro_batches(np.array([50, 3, 4, 60], dtype=np.int64), 10)
    assert [rows_B.tolist() for rows_B in batches] == [[1, 2], [0], [3]]
