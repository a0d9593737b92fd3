"""A text that is not UTF-8 is found wherever it is in a column, and nothing of it is left for a reader to fail at."""

from __future__ import annotations

import base64
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import bytes_column

from albert_infer.prepare.utf8 import cleaned
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import DETAIL, REJECTION, Rejection

BAD = b"caf\xe9"
# Three rows; the middle one holds a text that is not UTF-8.
TEXTS = bytes_column([b"a", b"b", BAD, b"c"])
THREE = bytes_column([b"a", BAD, b"c"])
OFFSETS = pa.array([0, 1, 3, 4], pa.int32())
STRUCTS = pa.StructArray.from_arrays([pa.array([1, 2, 3]), THREE], ["n", "text"])
KEYS = pa.array(["w", "x", "y", "z"])
COLUMNS: dict[str, pa.Array] = {
    "text": THREE,
    "large text": THREE.cast(pa.large_binary()).view(pa.large_string()),
    "json": pa.ExtensionArray.from_storage(pa.json_(), bytes_column([b"1", BAD, b"{}"])),
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), bytes_column([b"a", BAD])),
    "list": pa.ListArray.from_arrays(OFFSETS, TEXTS),
    "large list": pa.LargeListArray.from_arrays(OFFSETS.cast(pa.int64()), TEXTS),
    "fixed list": pa.FixedSizeListArray.from_arrays(bytes_column([b"a", b"b", b"c", BAD, b"d", b"e"]), 2),
    "struct": STRUCTS,
    "map value": pa.MapArray.from_arrays(OFFSETS, KEYS, TEXTS),
    "map key": pa.MapArray.from_arrays(OFFSETS, TEXTS, KEYS),
    "list of structs": pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), STRUCTS),
    "struct of lists": pa.StructArray.from_arrays([pa.ListArray.from_arrays(OFFSETS, TEXTS)], ["tags"]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_row_is_rejected_and_every_reader_can_read_both_files(kind: str, tmp_path: Path) -> None:
    note = COLUMNS[kind]
    pairs = pa.table({"premise": ["a"] * 3, "hypothesis": ["b"] * 3, "note": note})
    judged = mark_rejected(pairs)
    judged.validate(full=True)
    assert judged[REJECTION].to_pylist() == [None, Rejection.BAD_UTF8, None]
    assert judged[DETAIL][1].as_py() == f"note base64 {base64.b64encode(BAD).decode()}"
    assert judged.schema.field("note").type == note.type
    assert judged["note"].take([0, 2]).to_pylist() == note.take(pa.array([0, 2])).to_pylist()
    assert judged["note"][1].as_py() is None
    for name, rows in (("labelled", [0, 2]), ("rejected", [1])):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(judged.take(rows), path)
        assert pq.read_table(path)["note"].to_pylist() == judged["note"].take(rows).to_pylist()
        with duckdb.connect() as connection:
            assert len(connection.read_parquet(str(path)).fetchall()) == len(rows)


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_slice_and_a_null_row_hide_what_is_not_theirs(kind: str) -> None:
    note = COLUMNS[kind]
    column, found = cleaned(pa.chunked_array([note.slice(2), note, note.slice(0, 1)]))
    assert found == {2: BAD}
    column.validate(full=True)
    assert column.to_pylist() == [note[2].as_py(), note[0].as_py(), None, note[2].as_py(), note[0].as_py()]


def test_the_bytes_of_a_dictionary_that_only_other_units_point_at_are_not_kept() -> None:
    note = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), bytes_column([b"good", BAD]))
    column, found = cleaned(pa.chunked_array([note]))
    assert (found, column.to_pylist()) == ({}, ["good", "good"])
    column.validate(full=True)


def test_columns_without_bad_texts_are_left_as_they_are() -> None:
    for column in (pa.chunked_array([["a", None]]), pa.chunked_array([[b"\xff"]]), pa.chunked_array([[["a"], []]])):
        found, faults = cleaned(column)
        assert faults == {}
        assert found.equals(column)
        assert found.type == column.type
