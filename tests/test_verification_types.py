"""A verification has its own reading of types, of columns and of names: a wrong one in the other steps is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, labelled_unit, numbered_pairs
from test_column_types import ODD

from albert_infer import storage
from albert_infer.common.column_values import plain
from albert_infer.output.commit import Source, commit_unit
from albert_infer.output.layout import staged_name, staged_rejected_name
from albert_infer.schema import PairColumns, Rejection
from albert_infer.storage import input_names
from albert_infer.verification.claims import NamedFile, Pin, PlannedUnit, RowRange
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.input_files import is_input_by_name, may_be_parquet
from albert_infer.verification.recount import UnitFiles, recount_unit
from albert_infer.verification.values import chosen, same, same_or_unreadable

# Parquet files hold neither dictionaries of views nor runs.
IN_FILES = sorted(ODD.keys() - {"dictionary of views", "runs"})
FAR = pa.scalar(10**17, pa.timestamp("us"))  # Python's last year is 9999


@pytest.mark.parametrize("case", IN_FILES)
@pytest.mark.parametrize(
    "mask", [[True] * 9, [True, False] * 5, [False, True, True, False, True], [False] * 9], ids=str
)
def test_rows_of_any_type_are_chosen_and_are_those_that_were_published(case: str, mask: list[bool]) -> None:
    column, _ = ODD[case]
    rows = np.array(mask[: len(column)])
    (expected,) = chosen(pa.RecordBatch.from_arrays([column], ["x"]), rows).columns
    published = plain(column).filter(pa.array(rows))
    assert (expected.type, expected.to_pylist()) == (column.type, published.to_pylist())
    assert same(expected, published).all()


@pytest.mark.parametrize("case", IN_FILES)
def test_one_row_with_another_value_is_seen(case: str) -> None:
    column, _ = ODD[case]
    published = plain(column)
    others = published.take(pa.array([0, 0, *range(2, len(column))]))
    assert same(column, others).tolist() == [True, False, *[True] * (len(column) - 2)]


NESTED: dict[str, tuple[pa.DataType, pa.DataType]] = {
    "list": (pa.list_view(pa.timestamp("us")), pa.list_(pa.timestamp("us"))),
    "struct": (
        pa.struct([("a", pa.timestamp("us")), ("b", pa.string_view())]),
        pa.struct([("b", pa.string()), ("a", pa.timestamp("us"))]),
    ),
}


@pytest.mark.parametrize("case", NESTED)
def test_times_that_python_cannot_hold_are_compared_inside_of_views(case: str) -> None:
    kind, published = NESTED[case]

    def column(of: pa.DataType, *times: Any) -> pa.Array:
        if case == "list":
            return pa.array([None if time is None else [time] for time in times], of)
        return pa.array([None if time is None else {"a": time, "b": "x"} for time in times], of)

    far, near = FAR.value, datetime(2026, 11, 21)  # noqa: DTZ001
    found = column(published, far, far, None, near)
    assert same(column(kind, far, near, None, near), found).tolist() == [True, False, True, True]
    assert same(column(kind, far, far, far, None), found).tolist() == [True, True, False, False]


def test_a_text_that_is_no_utf8_may_be_null_among_rejected_rows_and_nowhere_else() -> None:
    bad = pa.array([[b"\xff"], [b"a"]], pa.list_(pa.binary())).view(pa.list_(pa.string())).cast(pa.list_(pa.string()))
    nothing = pa.array([None, None], pa.list_(pa.string()))
    assert same(bad, nothing).tolist() == [False, False]
    assert same_or_unreadable(bad, nothing).tolist() == [True, False]


SEGMENTS = st.lists(
    st.sampled_from(
        [
            *("a", "_", ".", "=", "~", "~$", "#", "+tmp", "-", "1", "x", "_gstmp", "!ut", "_COPYING_", "in-progress"),
            *(".parquet", ".PQ", ".parq", ".snappy", ".gz", ".none", ".bak", ".OLD", ".swp", ".tmp", ".temp"),
            *(".part", ".minio", ".csv", ".inprogress", ".download", ".crdownload", ".aria2", "_day=", "parquet"),
            *(".pending", ".partial", ".save", ".!qb", ".copying", ".incomplete", ".filepart", ".uploading"),
        ]
    ),
    min_size=1,
    max_size=5,
).map("".join)


@PROPERTY
@given(st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join))
def test_both_readings_of_the_rules_of_names_agree(name: str) -> None:
    expected = None
    if input_names.left_out(name) is not None:
        expected = False
    elif input_names.is_named_parquet(name):
        expected = True
    assert is_input_by_name(name) is expected
    assert may_be_parquet(name) == input_names.may_be_parquet(name)


Fields = list[pa.Field]
UNIT = "0123456789abcdef"


@dataclass(frozen=True)
class WrongColumns(PairColumns):
    """The columns of a publisher that declares them wrongly."""

    change: Callable[[Fields], Fields] = list

    @property
    def labelled(self) -> pa.Schema:
        """A file of labels."""
        return pa.schema(self.change(list(super().labelled)))

    @property
    def rejected(self) -> pa.Schema:
        """A file of rejected rows."""
        return pa.schema(self.change(list(super().rejected)))


def typed(name: str, kind: pa.DataType) -> Callable[[Fields], Fields]:
    return lambda fields: [field.with_type(kind) if field.name == name else field for field in fields]


def without(name: str) -> Callable[[Fields], Fields]:
    return lambda fields: [field for field in fields if field.name != name]


def swapped(one: str, other: str) -> Callable[[Fields], Fields]:
    def change(fields: Fields) -> Fields:
        by_name = {field.name: field for field in fields}
        turned = {one: other, other: one} if one in by_name else {}
        return [by_name[turned.get(field.name, field.name)] for field in fields]

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (list, []),
        (typed("label", pa.large_string()), ["column label of type string; found large_string"]),
        (typed("p_neutral", pa.float64()), ["column p_neutral of type float; found double"]),
        (typed("n_tokens", pa.int64()), ["column n_tokens of type int32; found int64"]),
        (typed("truncated", pa.int8()), ["column truncated of type bool; found int8"]),
        (typed("premise", pa.large_string()), ["column premise of type string; found large_string"]),
        (typed("source_row", pa.int32()), ["column source_row of type int64; found int32"] * 2),
        (typed("rejection", pa.large_string()), ["column rejection of type string; found large_string"]),
        (typed("detail", pa.large_string()), ["column detail of type string; found large_string"]),
        (without("truncated"), ["expected columns"]),
        (without("p_contradiction"), ["expected columns"]),
        (without("detail"), ["expected columns"]),
        (swapped("p_entailment", "p_contradiction"), ["expected columns"]),
        (swapped("n_tokens", "truncated"), ["expected columns"]),
        (swapped("rejection", "detail"), ["expected columns"]),
    ],
)
def test_files_by_a_wrong_declaration_of_columns_are_found(
    tmp_path: Path, change: Callable[[Fields], Fields], found: list[str]
) -> None:
    columns = WrongColumns(pair_id="pair_id", id_type=pa.string(), with_source=True, change=change)
    output, rows = storage.open_folder(str(tmp_path)), numbered_pairs(3)
    table = labelled_unit(UNIT, rows, (None, Rejection.NULL_TEXT, None), columns)
    commit_unit(output, UNIT, Source("in", 0, 3), table, columns)

    def named(path: str, rows: int) -> NamedFile:
        data = output.read(path)
        digest = hashlib.sha256(data).hexdigest()
        return NamedFile(path=path, unit_id=UNIT, rows=rows, bytes=len(data), sha256=digest)

    unit = PlannedUnit(unit_id=UNIT, pin=Pin(name="in", size=0, version=""), range=RowRange(first_row=0, rows=3))
    names = ("pair_id", "premise", "hypothesis")
    expected = OutputColumns(tuple(zip(names, names, strict=True)), with_source=True, max_tokens=99)
    there = {pin.name: pin for pin in output.objects()}
    files = UnitFiles(named(staged_name(UNIT), 2), named(staged_rejected_name(UNIT), 1))
    recount, _ = recount_unit(output, there, unit, "in", files, expected)
    told = [str(finding) for finding in recount.findings if "column" in str(finding)]
    assert len(told) == len(found), told
    assert all(expected in finding for expected, finding in zip(found, told, strict=True)), told
