"""Types of columns: each becomes one that every step takes, two are united only where no value changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bad_files import pickled_objects

from albert_infer.common.column_types import plain_type, united
from albert_infer.common.column_values import converted, plain
from albert_infer.common.extension_types import holds_unknown_extension

VIEW, TEXT, LARGE = pa.string_view(), pa.string(), pa.large_string()
REQUIRED = pa.field("item", pa.int8(), nullable=False)
TEXT_LISTS = [["a"], None, ["b", None, "c"], [], ["d"]]

ODD: dict[str, tuple[pa.Array, pa.DataType]] = {
    "view": (pa.array(["a", None, "b" * 40], VIEW), TEXT),
    "bytes view": (pa.array([b"a", None, b"\xff" * 40], pa.binary_view()), pa.binary()),
    "list view": (pa.array(TEXT_LISTS, pa.list_view(TEXT)), pa.list_(TEXT)),
    "large list view of views": (pa.array(TEXT_LISTS, pa.large_list_view(VIEW)), pa.large_list(TEXT)),
    "list of views": (pa.array(TEXT_LISTS, pa.list_(VIEW)), pa.list_(TEXT)),
    "fixed list of views": (pa.array([["a", "b"], None, ["c", None]], pa.list_(VIEW, 2)), pa.list_(TEXT, 2)),
    "struct of a view and a list view": (
        pa.array([{"a": "x", "b": ["y"]}, None, {"a": None, "b": None}, {"a": "z", "b": ["v", None]}],
                 pa.struct([("a", VIEW), ("b", pa.list_view(VIEW))])),
        pa.struct([("a", TEXT), ("b", pa.list_(TEXT))]),
    ),
    "map of views": (
        pa.array([[("k", ["v"])], None, [], [("a", None), ("b", ["c"])]], pa.map_(VIEW, pa.list_(VIEW))),
        pa.map_(TEXT, pa.list_(TEXT)),
    ),
    "dictionary of views": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.uint32()), pa.array(["a", "b"], VIEW)),
        pa.dictionary(pa.uint32(), TEXT),
    ),
    "list of dictionaries": (pa.array(TEXT_LISTS, pa.list_(pa.dictionary(pa.int32(), TEXT))), pa.list_(TEXT)),
    "runs": (pc.run_end_encode(pa.array(["a", "a", None, "b"])), TEXT),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("cut", [slice(None), slice(1, None), slice(1, 3), slice(0, 0)], ids=str)
def test_what_arrow_cannot_take_becomes_plain_and_keeps_its_values(case: str, cut: slice) -> None:
    column, kind = ODD[case]
    column = column[cut]
    found = plain(column)
    found.validate(full=True)
    assert (found.type, found.to_pylist()) == (kind, column.to_pylist())
    assert found.take(pa.array(range(len(found)), pa.int64())).equals(found)


def test_what_is_plain_stays_as_it_is() -> None:
    for kind in (
        TEXT,
        pa.dictionary(pa.int8(), TEXT, ordered=True),
        pa.list_(REQUIRED),
        pa.map_(TEXT, pa.struct([("a", TEXT)])),
        pa.uuid(),
        pa.json_(LARGE),
    ):
        assert plain_type(kind) is kind


STRUCT, OTHER_STRUCT = (
    pa.struct([("a", pa.int8()), ("b", TEXT)]),
    pa.struct([("b", TEXT), ("c", pa.bool_()), ("a", pa.int16())]),
)
UNITED: list[tuple[Any, Any, Any]] = [
    (pa.null(), TEXT, TEXT),
    (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.int32(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.uint32(), pa.uint32()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int64(), pa.int64()),
    (pa.uint64(), pa.int64(), None),
    (pa.int32(), pa.float32(), pa.float64()),
    (pa.int64(), pa.float64(), None),
    (pa.float16(), pa.float32(), pa.float32()),
    (pa.bool_(), pa.int8(), None),
    (TEXT, LARGE, LARGE),
    (TEXT, pa.binary(), None),
    (TEXT, pa.int64(), None),
    (pa.json_(), TEXT, TEXT),
    (pa.json_(), pa.json_(LARGE), pa.json_(LARGE)),
    (pa.binary(3), pa.binary(4), pa.binary()),
    (pa.uuid(), pa.binary(16), None),
    (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ns")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us", "+00:00"), pa.timestamp("us", "UTC")),
    (pa.timestamp("ms", "+00:00"), pa.timestamp("us", "+00:00"), pa.timestamp("us", "+00:00")),
    (pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("ms", "UTC"), None),
    (pa.timestamp("ms"), pa.timestamp("ms", "UTC"), None),
    (pa.timestamp("ms"), pa.date32(), None),
    (pa.duration("s"), pa.duration("ns"), pa.duration("ns")),
    (pa.time32("ms"), pa.time64("us"), pa.time64("us")),
    (pa.decimal128(9, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
    (pa.decimal128(9, 0), pa.decimal128(9, 4), pa.decimal128(13, 4)),
    (pa.decimal128(38, 0), pa.decimal128(28, 10), None),
    (pa.decimal256(40, 0), pa.decimal128(9, 0), None),
    (pa.decimal256(20, 0), pa.decimal128(28, 10), pa.decimal256(30, 10)),
    (pa.decimal128(28, 0), pa.decimal128(20, 10), pa.decimal128(38, 10)),
    (pa.decimal256(76, 0), pa.decimal128(38, 10), None),
    (pa.dictionary(pa.int8(), TEXT), pa.dictionary(pa.int32(), TEXT), pa.dictionary(pa.int32(), TEXT)),
    (pa.dictionary(pa.int8(), TEXT), TEXT, TEXT),
    (pa.list_(REQUIRED), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.list_(pa.int8()), pa.large_list(pa.int16()), pa.large_list(pa.int16())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), pa.list_(pa.int8())),
    (pa.list_(pa.int8()), pa.list_(TEXT), None),
    (pa.map_(TEXT, pa.int8()), pa.map_(TEXT, pa.int64()), pa.map_(TEXT, pa.int64())),
    (STRUCT, OTHER_STRUCT, pa.struct([("a", pa.int16()), ("b", TEXT), ("c", pa.bool_())])),
    (STRUCT, pa.struct([("a", TEXT)]), None),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "both"), UNITED, ids=str)
def test_two_types_are_united_where_no_value_changes(one: Any, other: Any, both: Any) -> None:
    assert united(one, other) == both
    for kind in (one, other):
        assert united(kind, kind) is kind
        if both is not None:
            assert united(both, kind) is both


def test_the_order_of_the_files_changes_the_order_of_fields_alone() -> None:
    for one, other, both in UNITED:
        again = united(other, one)
        if both is None or not pa.types.is_struct(both):
            zones = {getattr(kind, "tz", None) for kind in (one, other)}
            assert again == both or len(zones) > 1, (one, other)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, None, -3], pa.int8()), pa.int64()),
        (pa.array([2**31 - 1, None], pa.int32()), pa.float64()),
        (pa.array(["a", None]), LARGE),
        (pa.array(["a", None], pa.dictionary(pa.int8(), TEXT)), pa.dictionary(pa.int32(), LARGE)),
        (pa.array(["a", None], pa.dictionary(pa.int8(), TEXT)), LARGE),
        (pa.array(["{}", None], pa.json_()), TEXT),
        (pa.array(["{}", None], pa.json_()), pa.json_(LARGE)),
        (pa.array([Decimal("1.20"), None], pa.decimal128(5, 2)), pa.decimal256(50, 4)),
        (pa.array([[1], None, [2, 3], []], pa.list_(REQUIRED)), pa.large_list(pa.int64())),
        (pa.array([[1, 2], None, [3, None]], pa.list_(pa.int8(), 2)), pa.list_(pa.int64())),
        (pa.array([[("k", 1)], None, [], [("a", None)]], pa.map_(TEXT, pa.int8())), pa.map_(LARGE, pa.int64())),
        (pa.nulls(3), pa.uuid()),
        (pa.nulls(3), pa.dictionary(pa.int8(), TEXT)),
    ],
    ids=str,
)
def test_a_column_is_converted_without_changing_a_value(column: pa.Array, kind: pa.DataType) -> None:
    for piece in (column, column.slice(1), column.slice(0, 0)):
        found = converted(piece, kind)
        found.validate(full=True)
        assert (found.type, found.to_pylist()) == (kind, piece.to_pylist())


def test_a_struct_gets_the_order_and_the_fields_of_the_run() -> None:
    column = pa.array([{"a": 1, "b": "x"}, None, {"a": 2, "b": None}], STRUCT)
    kind = pa.struct([("b", LARGE), ("c", pa.bool_()), ("a", pa.int16())])
    found = converted(column, kind)
    assert found.type == kind
    assert found.to_pylist() == [{"a": 1, "b": "x", "c": None}, None, {"a": 2, "b": None, "c": None}]


@pytest.mark.parametrize("nest", [lambda kind: kind, pa.list_, lambda kind: pa.struct([("at", kind)])])
def test_a_time_that_does_not_fit_is_raised_and_never_another_year(nest: Any) -> None:
    year_1 = -62_135_596_800_000_000
    kind = nest(pa.timestamp("us"))
    value = {"timestamp": year_1, "list": [year_1], "struct": {"at": year_1}}[
        str(kind).partition("<")[0].partition("[")[0]
    ]
    with pytest.raises(pa.ArrowInvalid):
        converted(pa.array([value], kind), nest(pa.timestamp("ns")))


def test_extensions_that_bring_code_along_are_found_at_any_depth(tmp_path: Any) -> None:
    kind = pickled_objects(tmp_path / "marker", 1).type
    for found in (kind, pa.list_(kind), pa.struct([("a", pa.list_(kind))]), pa.map_(TEXT, kind)):
        assert holds_unknown_extension(found)
    for known in (pa.uuid(), pa.list_(pa.json_()), pa.struct([("a", pa.bool8())]), TEXT):
        assert not holds_unknown_extension(known)
