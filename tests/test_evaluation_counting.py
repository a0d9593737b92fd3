"""What is kept of the rows is the same however they come, and does not grow with them."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evaluated_rows import Rows, made_up_rows
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY
from sklearn.metrics import confusion_matrix

from albert_infer.errors import InputError
from albert_infer.learning.evaluation import counting
from albert_infer.learning.evaluation.counting import MAX_VALUES, NULL, OTHER, Counts, Sample, ValueCells
from albert_infer.learning.evaluation.rows import POSITION
from albert_infer.learning.evaluation.sampling import LeastRows, hashes
from albert_infer.preflight.gold import NO_GOLD
from albert_infer.schema import LABEL, N_TOKENS, TRUNCATED


def counted(rows: pa.Table, *cuts: int, **how: Any) -> Counts:
    counts = Counts(**how)
    for first, stop in zip((0, *sorted(cuts)), (*sorted(cuts), rows.num_rows), strict=True):
        counts.add(rows.slice(first, stop - first))
    return counts


def value_rows(values: ValueCells) -> dict[str, int]:
    return {value: int(cells.sum()) for value, cells in values.items()}


@PROPERTY
@given(st.integers(1, 300), st.integers(0, 9), st.lists(st.integers(0, 300), max_size=4))
def test_batches_of_any_size_count_as_one(rows: int, seed: int, cuts: list[int]) -> None:
    made_up = made_up_rows(rows, seed=seed, unknown=0.2)
    table = made_up.table(topic=pa.array([number % 4 for number in range(rows)]))
    whole = counted(table, slices=["topic"], review_below=0.6)
    parts = counted(table, *(min(cut, rows) for cut in cuts), slices=["topic"], review_below=0.6)
    for name in ("rows", "labels", "cells", "confidence", "review_rows", "review_cells"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    np.testing.assert_allclose(whole.confidence_sums, parts.confidence_sums)
    for name, values in whole.slices.items():
        assert value_rows(values) == value_rows(parts.slices[name])
    for name in ("sample", "hardest"):
        assert getattr(whole, name).rows() == getattr(parts, name).rows()


def test_cells_are_the_confusion_matrix_of_rows_with_gold_and_review_splits_them() -> None:
    rows = made_up_rows(500, seed=1, unknown=0.3)
    counts = counted(rows.table(), review_below=0.6)
    known, confidence = rows.gold != NO_GOLD, rows.probabilities.max(axis=1)
    assert (counts.cells == confusion_matrix(rows.gold[known], rows.labels[known])).all()
    assert (counts.rows, counts.cells.sum()) == (500, known.sum())
    assert counts.review_rows.tolist() == [(confidence < np.float32(0.6)).sum(), (confidence >= np.float32(0.6)).sum()]
    assert (counts.review_cells.sum(axis=0) == counts.cells).all()


def test_the_label_counts_and_not_the_largest_probability() -> None:
    table = made_up_rows(6, seed=0, right=1).table()
    turned = table.set_column(table.column_names.index(LABEL), LABEL, pa.array(["neutral"] * 6))
    assert counted(turned).cells[:, 1].sum() == 6


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array(["a", None, "a"]), {"a": 2, NULL: 1}),
        (pa.array([1, 2, 1], pa.int16()), {"1": 2, "2": 1}),
        (pa.array([True, False, True]), {"true": 2, "false": 1}),
        (pa.array(["a", "b", "a"]).dictionary_encode(), {"a": 2, "b": 1}),
        (pa.array([datetime.date(2026, 11, 21)] * 3), {"2026-11-21": 3}),
        (pa.array(["x" * 500] * 3), {"x" * 100: 3}),
    ],
    ids=str,
)
def test_a_column_of_any_plain_type_is_sliced_by_its_values(column: pa.Array, values: dict[str, int]) -> None:
    counts = counted(made_up_rows(3, seed=0).table(topic=column), slices=["topic"])
    assert value_rows(counts.slices["topic"]) == values


def test_a_column_of_lists_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"--slices topic: its values are of type list.*name columns of texts"):
        counted(made_up_rows(2, seed=0).table(topic=pa.array([[1], [2]])), slices=["topic"])


def test_length_and_truncation_are_slices_without_being_asked_for() -> None:
    counts = counted(made_up_rows(100, seed=0).table())
    assert value_rows(counts.slices[N_TOKENS]) == {"1 to 16": 27, "17 to 32": 43, "33 to 64": 30}
    assert value_rows(counts.slices[TRUNCATED]) == {"whole": 80, "truncated": 20}


def test_what_is_kept_does_not_grow_with_the_rows() -> None:
    counts = Counts(["key"], sample_rows=100)
    for batch in range(20):
        numbers = range(batch * 1000, (batch + 1) * 1000)
        rows = made_up_rows(1000, seed=batch).table(first=batch * 1000, key=[f"key {number}" for number in numbers])
        counts.add(rows)
    found = value_rows(counts.slices["key"])
    assert len(found) <= MAX_VALUES + 1
    assert found[OTHER] == 20_000 - sum(rows for value, rows in found.items() if value != OTHER)
    assert len(Sample.of(counts).gold) == 100
    hardest = counts.hardest.rows()
    assert hardest is not None
    assert hardest.num_rows == counting.HARDEST_ROWS


@PROPERTY
@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(1, 30), st.integers(1, 60))
def test_the_rows_with_the_least_keys_are_kept(keys: list[int], limit: int, batch: int) -> None:
    kept = LeastRows(limit)
    for first in range(0, len(keys), batch):
        some = np.array(keys[first : first + batch])
        wanted = kept.wants(some)
        places = np.arange(first, first + len(some))
        kept.add(pa.table({POSITION: places[wanted]}), some[wanted])
    expected = sorted(range(len(keys)), key=lambda place: (keys[place], place))[:limit]
    found = kept.rows()
    assert found is not None
    assert found[POSITION].to_pylist() == expected


def test_hashes_of_neighbours_are_spread_evenly_and_differ() -> None:
    found = hashes(np.arange(100_000))
    assert len(np.unique(found)) == 100_000
    shares = np.bincount((found >> np.uint64(60)).astype(np.int64), minlength=16) / 100_000
    assert np.abs(shares - 1 / 16).max() < 0.005


def test_the_hardest_rows_are_the_most_confident_wrong_ones() -> None:
    rows = made_up_rows(300, seed=3)
    confidence = rows.probabilities.max(axis=1)
    wrong = np.flatnonzero(rows.labels != rows.gold)
    expected = wrong[np.argsort(-confidence[wrong], kind="stable")][: counting.HARDEST_ROWS]
    found = counted(rows.table(), 100, 200).hardest.rows()
    assert found is not None
    assert found[POSITION].to_pylist() == expected.tolist()


def test_no_premise_is_in_both_halves_of_the_sample() -> None:
    rows = Rows(np.zeros(400, np.int8), np.tile(np.array([0.8, 0.1, 0.1], np.float32), (400, 1)))
    table = rows.table()
    premises = pa.array([f"premise {row % 40}" for row in range(400)])
    counts = counted(table.set_column(table.column_names.index("premise"), "premise", premises))
    sample, kept = Sample.of(counts), counts.sample.rows()
    assert kept is not None
    sides: dict[int, set[bool]] = {}
    for place, side in zip(kept[POSITION].to_pylist(), sample.learnt_from.tolist(), strict=True):
        sides.setdefault(place % 40, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert 100 < sample.learnt_from.sum() < 300
