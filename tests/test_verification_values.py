"""Values are compared, not their types and encodings; what was lost on the way is seen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pairs import bytes_column

from albert_infer.verification.values import same, same_or_unreadable

KEY = UUID(int=7)
YEAR_1 = -62_135_596_800_000_000
NAN = float("nan")
SAME: list[tuple[pa.Array, pa.Array]] = [
    (pa.array(["a", None]), pa.array(["a", None], pa.large_string())),
    (pa.array(["a", None], pa.dictionary(pa.int8(), pa.string())), pa.array(["a", None])),
    (pa.array(["{}", None], pa.json_()), pa.array(["{}", None], pa.json_())),
    (pa.array(["{}", None], pa.json_()), pa.array(["{}", None])),
    (pa.array([KEY.bytes, None], pa.uuid()), pa.array([KEY.bytes, None], pa.uuid())),
    (pa.array([KEY.bytes, None], pa.uuid()), pa.array([str(KEY), None])),
    (pa.array([7.0, 0.0, NAN]), pa.array(["7", "0", None])),
    (pa.array([7.0, NAN]), pa.array([7, None])),
    (pa.array([Decimal(7), None], pa.decimal128(38, 0)), pa.array(["7", None])),
    (pa.array([1, None], pa.int8()), pa.array([1, None])),
    (pa.array([1.5, NAN, None], pa.float32()), pa.array([1.5, NAN, None])),
    (pa.array([1], pa.timestamp("ms", "+00:00")), pa.array([1_000_000], pa.timestamp("ns", "UTC"))),
    (pa.array([Decimal("1.20")]), pa.array([Decimal("1.2")], pa.decimal128(9, 5))),
    (pa.nulls(2), pa.array([None, None], pa.list_(pa.int8()))),
    (pa.array([{"a": 1, "b": "x"}]), pa.array([{"b": "x", "a": 1, "c": None}])),
    (pa.array([[1.0, NAN], None]), pa.array([[1.0, NAN], None], pa.large_list(pa.float64()))),
    (pa.array([[{"a": 1}]]), pa.array([[{"b": None, "a": 1}]])),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))),
]
OTHER: list[tuple[pa.Array, pa.Array]] = [
    (pa.array(["a"]), pa.array([None], pa.string())),
    (pa.array([KEY.bytes], pa.uuid()), pa.array([str(UUID(int=8))])),
    (pa.array([7.5]), pa.array(["8"])),
    (pa.array([7.5]), pa.array([7])),
    (pa.array([YEAR_1], pa.timestamp("us")), pa.array([-6_795_364_578_871_345_152], pa.timestamp("ns"))),
    (pa.array([1_001], pa.timestamp("ns")), pa.array([1], pa.timestamp("us"))),
    (pa.array([{"a": 1}]), pa.array([{"b": 1}])),
    (pa.array([[1]]), pa.array([[1, 1]])),
    (pa.array([[YEAR_1]], pa.list_(pa.timestamp("us"))), pa.array([[0]], pa.list_(pa.timestamp("ns")))),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "found"), SAME, ids=str)
def test_the_same_values_are_the_same_in_any_type(expected: pa.Array, found: pa.Array) -> None:
    assert same(expected, found).all()


@pytest.mark.parametrize(("expected", "found"), OTHER, ids=str)
def test_another_value_is_seen(expected: pa.Array, found: pa.Array) -> None:
    assert not same(expected, found).any()


@pytest.mark.parametrize("nest", [lambda texts: texts, lambda texts: pa.ListArray.from_arrays([0, 1, 2, 3], texts)])
def test_a_rejected_row_may_have_null_where_the_input_is_not_utf8_and_nowhere_else(nest: Any) -> None:
    expected = nest(bytes_column([b"a", b"\xff", b"c"]))
    found = pa.array([expected[0].as_py(), None, None], expected.type)
    assert same_or_unreadable(expected, found).tolist() == [True, True, False]
    assert same(expected, found).tolist() == [True, False, False]
