"""Footers and pages: what can be read is read exactly, what cannot is told with its reason and never raised."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_files import LZO, NO_SUCH_CODEC, claim_codec, claim_rows, pickled_objects
from hypothesis import given
from hypothesis import strategies as st
from pairs import FILE_PROPERTY, numbered_pairs, pair_table, write_pairs

from albert_infer import storage
from albert_infer.read.decoding import read_pairs
from albert_infer.read.fitness import footer_error, id_type, schema_error
from albert_infer.read.footers import MAX_FILE_ROWS, RowRange, UnreadableError, begins_as_parquet, read_footer, redacted
from albert_infer.read.planning import unit_ranges
from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import Folder, ObjectPin

IDS = PairColumns(pair_id="pair_id", id_type=pa.string())


def pinned(path: Path) -> tuple[Folder, ObjectPin]:
    folder = storage.open_folder(str(path.parent))
    pin = folder.stat(path.name)
    assert pin is not None
    return folder, pin


def reason_of(path: Path) -> Quarantine:
    with pytest.raises(UnreadableError) as unreadable:
        read_footer(*pinned(path))
    return unreadable.value.reason


def whole(path: Path, columns: PairColumns) -> pa.Table:
    folder, pin = pinned(path)
    groups = read_footer(folder, pin).row_groups
    return read_pairs(folder, pin, RowRange(0, sum(groups), 0, len(groups) - 1, 0), columns)


@FILE_PROPERTY
@given(rows=st.integers(1, 60), row_group_size=st.integers(1, 25), unit_rows=st.integers(1, 30))
def test_the_units_of_a_file_are_its_rows_in_order(rows: int, row_group_size: int, unit_rows: int) -> None:
    pairs = numbered_pairs(rows)
    with TemporaryDirectory() as folder:
        path = write_pairs(Path(folder) / "a.parquet", pairs, row_group_size)
        footer = read_footer(*pinned(path))
        units = [read_pairs(*pinned(path), cut, IDS) for cut in unit_ranges(footer.row_groups, unit_rows)]
    assert pa.concat_tables(units).equals(pairs)


def test_columns_come_under_our_names_in_our_order_and_types(tmp_path: Path) -> None:
    pairs = pa.table(
        {"extra": [1, 2], "s2": ["c", "d"], "topic": [7, 8], "s1": ["a", "b"], "key": pa.array([1, 2], pa.int32())}
    )
    topic = pa.field("topic", pa.int64())
    columns = PairColumns("s1", "s2", pair_id="key", id_type=pa.int64(), carried=(topic,))
    read = whole(write_pairs(tmp_path / "a.parquet", pairs), columns)
    assert read.schema.equals(pa.schema(columns.pair_fields))
    assert read.to_pydict() == {"pair_id": [1, 2], "premise": ["a", "b"], "hypothesis": ["c", "d"], "topic": [7, 8]}


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.null()],
    ids=str,
)
def test_texts_of_every_arrow_string_type_are_read_as_strings(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [None, None] if pa.types.is_null(kind) else ["a", None]
    pairs = pa.table({"premise": pa.array(texts, kind), "hypothesis": ["c", "d"]})
    path = write_pairs(tmp_path / "a.parquet", pairs)
    assert schema_error(read_footer(*pinned(path)).schema, PairColumns()) is None
    read = whole(path, PairColumns())
    assert read.schema.field("premise").type == pa.string()
    assert read["premise"].to_pylist() == texts


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        *((kind, pa.int64()) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32())),
        (pa.uint64(), pa.uint64()),
        *((kind, pa.string()) for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()))),
        *((kind, pa.string()) for kind in (pa.uuid(), pa.json_(), pa.float64(), pa.float32(), pa.decimal128(38, 0))),
        *((kind, None) for kind in (pa.decimal128(9, 2), pa.bool_(), pa.binary(), pa.null(), pa.list_(pa.int64()))),
    ],
    ids=str,
)
def test_ids_are_texts_or_integers(kind: pa.DataType, found: pa.DataType | None) -> None:
    assert id_type(kind) == found


def test_ids_beyond_int64_are_kept_as_they_are(tmp_path: Path) -> None:
    pairs = pair_table(["a"], ["b"]).append_column("pair_id", pa.array([2**63], pa.uint64()))
    read = whole(write_pairs(tmp_path / "a.parquet", pairs), PairColumns(pair_id="pair_id", id_type=pa.uint64()))
    assert read["pair_id"].to_pylist() == [2**63]


def test_a_footer_tells_columns_and_row_groups(tmp_path: Path) -> None:
    footer = read_footer(*pinned(write_pairs(tmp_path / "a.parquet", numbered_pairs(7), 3)))
    assert footer.row_groups == (3, 3, 1)
    assert footer.schema.names == ["pair_id", "premise", "hypothesis"]
    empty = read_footer(*pinned(write_pairs(tmp_path / "empty.parquet", numbered_pairs(0))))
    assert sum(empty.row_groups) == 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", Quarantine.EMPTY_OBJECT),
        (lambda data: b"id,premise\n1,a\n", Quarantine.NOT_PARQUET),
        (lambda data: b"PA", Quarantine.NOT_PARQUET),
        (lambda data: b"PARE" + data[4:], Quarantine.ENCRYPTED),
        (lambda data: data[:4], Quarantine.BAD_FOOTER),
        (lambda data: data[:-9], Quarantine.BAD_FOOTER),
        (lambda data: data[: len(data) // 2], Quarantine.BAD_FOOTER),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", Quarantine.BAD_FOOTER),
        (lambda data: data[:-200] + b"\xa5" * 192 + data[-8:], Quarantine.BAD_FOOTER),
    ],
)
def test_a_file_without_a_usable_footer_is_told_with_its_reason(
    tmp_path: Path, damage: Any, reason: Quarantine
) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(9))
    path.write_bytes(damage(path.read_bytes()))
    assert reason_of(path) == reason


@FILE_PROPERTY
@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_damaged_byte_of_the_pages_is_told_or_changes_nothing(place: int, value: int) -> None:
    with TemporaryDirectory() as folder:
        path = write_pairs(Path(folder) / "a.parquet", numbered_pairs(20), 10)
        last = pq.read_metadata(path).row_group(1).column(2)
        damage(path, 4 + place % (last.dictionary_page_offset + last.total_compressed_size - 4), value)
        read = read_or_reason(path)
        assert read == Quarantine.BAD_PAGE or read.equals(numbered_pairs(20))


@FILE_PROPERTY
@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_damaged_byte_of_the_footer_is_never_raised_as_anything_else(place: int, value: int) -> None:
    with TemporaryDirectory() as folder:
        path = write_pairs(Path(folder) / "a.parquet", numbered_pairs(20), 10)
        last = pq.read_metadata(path).row_group(1).column(2)
        first = last.dictionary_page_offset + last.total_compressed_size
        damage(path, first + place % (path.stat().st_size - first), value)
        read_or_reason(path)


@pytest.mark.parametrize("name", [b"premise", b"hypothesis", b"pair_id"])
def test_a_column_name_that_is_not_utf8_is_a_bad_footer(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(numbered_pairs(3), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(name, b"\xff" + name[1:]))
    assert reason_of(path) == Quarantine.BAD_FOOTER


def damage(path: Path, place: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= value
    path.write_bytes(data)


def read_or_reason(path: Path) -> Any:
    """The rows of a file, or why they cannot be read."""
    try:
        folder, pin = pinned(path)
        footer = read_footer(folder, pin)
        return schema_error(footer.schema, IDS) or whole(path, IDS)
    except UnreadableError as unreadable:
        return unreadable.reason


def test_a_damaged_page_spares_the_other_units_of_its_file(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(20), 10)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    folder, pin = pinned(path)
    first, second = unit_ranges((10, 10), 10)
    assert read_pairs(folder, pin, first, IDS).equals(numbered_pairs(10))
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(folder, pin, second, IDS)
    assert unreadable.value.reason == Quarantine.BAD_PAGE
    assert len(unreadable.value.detail) <= 200


def test_only_the_columns_that_were_asked_for_are_decoded(tmp_path: Path) -> None:
    pairs = numbered_pairs(10).append_column("extra", pa.array([f"never read {row}" for row in range(10)]))
    path = write_pairs(tmp_path / "a.parquet", pairs)
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 20] = b"\xff" * 20
    path.write_bytes(data)
    assert whole(path, IDS).equals(pairs.drop_columns(["extra"]))


def test_a_file_that_has_fewer_rows_than_planned_is_told(tmp_path: Path) -> None:
    folder, pin = pinned(write_pairs(tmp_path / "a.parquet", numbered_pairs(9)))
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(folder, pin, RowRange(0, 10, 0, 0, 0), IDS)
    assert unreadable.value.reason == Quarantine.ROW_COUNT


@pytest.mark.parametrize(
    ("fields", "reason", "told"),
    [
        ([("premise", pa.string())], Quarantine.SCHEMA_MISSING, "hypothesis"),
        ([("premise", pa.string()), ("Hypothesis", pa.string())], Quarantine.SCHEMA_MISSING, "`Hypothesis`"),
        ([("premise", pa.string())] * 2 + [("hypothesis", pa.string())], Quarantine.SCHEMA_DUPLICATE_COLUMN, "premise"),
        ([("premise", pa.binary()), ("hypothesis", pa.string())], Quarantine.SCHEMA_TYPE, "binary"),
        ([("premise", pa.list_(pa.string())), ("hypothesis", pa.string())], Quarantine.SCHEMA_TYPE, "list"),
        ([("premise", pa.string()), ("hypothesis", pa.json_())], Quarantine.SCHEMA_EXTENSION, "hypothesis"),
        ([("premise", pa.uuid()), ("hypothesis", pa.string())], Quarantine.SCHEMA_EXTENSION, "premise"),
    ],
)
def test_a_schema_that_does_not_fit_is_told_with_reason_and_column(
    fields: list[tuple[str, pa.DataType]], reason: Quarantine, told: str
) -> None:
    unfit = schema_error(pa.schema(fields), PairColumns())
    assert unfit is not None
    assert (unfit.reason, told in unfit.detail) == (reason, True)


def test_ids_and_carried_columns_must_have_the_types_of_the_run() -> None:
    topic = pa.field("topic", pa.int32())
    columns = PairColumns(pair_id="key", id_type=pa.int64(), carried=(topic,))
    fields = {"key": pa.int16(), "premise": pa.string(), "hypothesis": pa.string(), "topic": pa.int32()}
    assert schema_error(pa.schema(fields), columns) is None
    for name, kind, reason in (
        ("key", pa.string(), Quarantine.SCHEMA_ID),
        ("topic", pa.int64(), Quarantine.SCHEMA_TYPE),
    ):
        unfit = schema_error(pa.schema({**fields, name: kind}), columns)
        assert unfit is not None
        assert unfit.reason == reason


@pytest.mark.parametrize(
    ("data", "parquet"), [(b"PAR1....", True), (b"PAR1", True), (b"PAR", False), (b"", False), (b"PARE", True)]
)
def test_a_parquet_object_is_known_by_its_first_bytes(tmp_path: Path, data: bytes, parquet: bool) -> None:
    (tmp_path / "object").write_bytes(data)
    assert begins_as_parquet(*pinned(tmp_path / "object")) == parquet


@pytest.mark.parametrize(("claimed", "reason"), [(MAX_FILE_ROWS, None), (MAX_FILE_ROWS + 1, Quarantine.LIMIT_ROWS)])
def test_a_footer_that_claims_more_rows_than_a_plan_can_hold_is_told(
    tmp_path: Path, claimed: int, reason: Quarantine | None
) -> None:
    path = claim_rows(write_pairs(tmp_path / "a.parquet", numbered_pairs(12_345), 20_000), claimed)
    if reason is None:
        assert read_footer(*pinned(path)).row_groups == (claimed,)
    else:
        assert reason_of(path) == reason


@pytest.mark.parametrize("codec", [LZO, NO_SUCH_CODEC])
def test_a_codec_that_is_not_built_in_is_told_for_the_columns_that_have_it(tmp_path: Path, codec: int) -> None:
    pairs = numbered_pairs(9).append_column("tags", pa.array([["x"]] * 9))
    path = write_pairs(tmp_path / "a.parquet", pairs, 4)
    assert footer_error(read_footer(*pinned(path)), IDS) is None
    footer = read_footer(*pinned(claim_codec(path, "hypothesis", codec)))
    unreadable = footer_error(footer, IDS)
    assert unreadable is not None
    assert (unreadable.reason, "`hypothesis`" in unreadable.detail) == (Quarantine.CODEC, True)
    assert footer_error(footer, PairColumns("premise", "pair_id")) is None


def test_extension_types_are_found_at_any_depth(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    objects = pickled_objects(marker, 2)
    kind = objects.type
    nested = {
        "plain": kind,
        "list": pa.list_(kind),
        "large": pa.large_list(kind),
        "fixed": pa.list_(kind, 2),
        "struct": pa.struct([("a", pa.int8()), ("b", pa.list_(kind))]),
        "map": pa.map_(pa.string(), kind),
        "dictionary": pa.dictionary(pa.int8(), kind),
        "run_end": pa.run_end_encoded(pa.int32(), kind),
    }
    texts = {"premise": pa.string(), "hypothesis": pa.string()}
    for name, found in nested.items():
        columns = PairColumns(carried=(pa.field(name, found),))
        unreadable = schema_error(pa.schema({**texts, name: found}), columns)
        assert unreadable is not None, name
        assert unreadable.reason == Quarantine.SCHEMA_EXTENSION
        assert schema_error(pa.schema({**texts, name: found}), PairColumns()) is None
    for harmless in (pa.list_(pa.string()), pa.struct([("a", pa.map_(pa.string(), pa.int8()))]), pa.decimal128(9)):
        assert (
            schema_error(pa.schema({**texts, "x": harmless}), PairColumns(carried=(pa.field("x", harmless),))) is None
        )
    pairs = pair_table(["a", "b"], ["c", "d"]).append_column("objects", objects)
    path = write_pairs(tmp_path / "a.parquet", pairs)
    assert read_footer(*pinned(path)).schema.field("objects").type == kind
    assert whole(path, PairColumns()).num_rows == 2
    assert not marker.exists()
    # The fixture is what it says: looking at a value runs it.
    pq.read_table(path)["objects"].to_pylist()
    assert marker.exists()


UNKNOWN = {"ARROW:extension:name": "example.unknown", "ARROW:extension:metadata": "{}"}


def test_an_extension_is_one_whether_its_type_is_registered_or_not(tmp_path: Path) -> None:
    field = pa.field("x", pa.int64(), metadata=UNKNOWN)
    for kind in (field.type, pa.struct([field]), pa.list_(field), pa.map_(pa.string(), field)):
        found = field if kind == field.type else pa.field("x", kind)
        pairs = pair_table(["a"], ["b"]).append_column(found, pa.nulls(1, kind))
        footer = read_footer(*pinned(write_pairs(tmp_path / "a.parquet", pairs)))
        unreadable = footer_error(footer, PairColumns(carried=(found,)))
        assert unreadable is not None, kind
        assert unreadable.reason == Quarantine.SCHEMA_EXTENSION
        assert footer_error(footer, PairColumns()) is None


def test_an_extension_that_does_not_understand_its_own_footer_is_a_bad_footer(tmp_path: Path) -> None:
    from ray.data.extensions import ArrowTensorTypeV2

    kind = ArrowTensorTypeV2((2,), pa.int64())
    tensor = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2]], kind.storage_type))
    pairs = pair_table(["a"], ["b"]).append_column("tensor", tensor)
    path = tmp_path / "a.parquet"
    metadata = pairs.schema.serialize().to_pybytes()
    assert b"[2]" in metadata
    pq.write_table(pairs, path)
    stored = pq.read_metadata(path).metadata[b"ARROW:schema"]
    spoiled = base64.b64encode(base64.b64decode(stored).replace(b"[2]", b"\x80x2"))
    path.write_bytes(path.read_bytes().replace(stored, spoiled))
    assert reason_of(path) == Quarantine.BAD_FOOTER


def test_an_integer_of_128_bits_says_what_to_cast(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_pairs(path, pair_table(["a"], ["b"]).append_column("wide", pa.array([1])))
    # As Polars notes its Int128: the width of the one integer is patched in Arrow's own note.
    note = pq.read_metadata(path).metadata[b"ARROW:schema"]
    before, after = base64.b64decode(note).rsplit((64).to_bytes(4, "little"), 1)
    wide = base64.b64encode(before + (128).to_bytes(4, "little") + after)
    path.write_bytes(path.read_bytes().replace(note, wide))
    with pytest.raises(UnreadableError, match=r"more than 64 bits.*; cast the columns of Int128") as unreadable:
        read_footer(*pinned(path))
    assert unreadable.value.reason == Quarantine.BAD_FOOTER


def test_what_a_library_says_is_told_without_what_it_quotes() -> None:
    with pytest.raises(pa.ArrowInvalid) as raised:
        pa.array(["a secret"]).cast(pa.int64())
    assert "secret" in str(raised.value)
    assert "secret" not in redacted(raised.value)
    assert redacted(ValueError("a\x1b[31m\nb" + "c" * 999)) == ("a?[31m b" + "c" * 999)[:200]


def seconds_to_tell_a_codec(path: Path, columns: int) -> float:
    """The least processor time of three looks at a footer of so many columns, one of an unknown codec."""
    write_pairs(path, pa.table({f"c{place}": [place] for place in range(columns)}))
    claim_codec(path, "c7", LZO)
    times = []
    for _ in range(3):
        begun = time.process_time()
        assert read_footer(*pinned(path)).undecodable == {"c7"}
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.computes
def test_a_codec_is_looked_for_in_time_that_grows_with_the_columns_alone(tmp_path: Path) -> None:
    # Eight times for eight times as many; sixty-four where the whole footer is looked at for each.
    few, many = (seconds_to_tell_a_codec(tmp_path / f"{columns}.parquet", columns) for columns in (100, 800))
    assert many < 24 * few


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("INTERVAL '1 day'", "an INTERVAL"),
        ("'10:11:12+02'::TIMETZ", "a TIME WITH TIME ZONE"),
        ("TIME '10:11:12'", None),
    ],
)
def test_a_type_that_a_copy_would_lose_is_told_where_it_is_carried(
    tmp_path: Path, value: str, told: str | None
) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT 'a' AS premise, 'b' AS hypothesis")
        relation.project(f"premise, hypothesis, {value} AS \"x.y\", {{'y': {value}}} AS nested").write_parquet(
            str(path)
        )
    footer = read_footer(*pinned(path))
    assert footer_error(footer, PairColumns()) is None
    for name in ("x.y", "nested"):
        unreadable = footer_error(footer, PairColumns(carried=(footer.schema.field(name),)))
        if told is None:
            assert unreadable is None
        else:
            assert unreadable is not None
            assert (unreadable.reason, told in unreadable.detail) == (Quarantine.SCHEMA_TYPE, True)


@pytest.mark.parametrize("version", ["NONE", "V1", "V2", "BOTH"])
def test_a_geometry_is_told_where_it_is_carried_whether_the_type_or_a_note_says_so(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "a.parquet"
    point = "'POINT(1 2)'::GEOMETRY"
    columns = f"{point} AS g, [{point}] AS list, {{'q': {point}}} AS nested, 'x'::BLOB AS raw"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'a' AS premise, 'b' AS hypothesis, {columns}) "
            f"TO '{path}' (FORMAT parquet, GEOPARQUET_VERSION '{version}')"
        )
    footer = read_footer(*pinned(path))
    assert footer_error(footer, PairColumns(carried=(footer.schema.field("raw"),))) is None
    for name in ("g", "list", "nested"):
        unreadable = footer_error(footer, PairColumns(carried=(footer.schema.field(name),)))
        assert unreadable is not None
        assert (unreadable.reason, "a GEOMETRY" in unreadable.detail) == (Quarantine.SCHEMA_TYPE, True)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"columns": 3}', '{"columns": {"other": {}}}'])
def test_a_note_of_no_geometries_says_nothing(tmp_path: Path, note: str) -> None:
    pairs = numbered_pairs(1).replace_schema_metadata({"geo": note})
    assert read_footer(*pinned(write_pairs(tmp_path / "a.parquet", pairs))).unwritable == {}
