"""The rows of a unit: what a few bytes may expand to is bounded, and counts that do not agree are told."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_files import claim_rows, write_dictionary_bomb
from pairs import numbered_pairs, pair_table, write_pairs
from test_reading import IDS, pinned

from albert_infer.common.column_types import plain_type
from albert_infer.errors import ObjectChangedError
from albert_infer.read.decoded_size import MAX_DECODED_BYTES
from albert_infer.read.decoding import READ_BYTES, PairReader, read_pairs
from albert_infer.read.fitness import footer_error
from albert_infer.read.footers import RowRange, UnreadableError, read_footer
from albert_infer.read.planning import unit_ranges
from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import ObjectPin
from albert_infer.storage.local import LocalFolder

# Beside what Python and Arrow take: the dictionary is copied some times on its way through the decoder.
BOMB_MEGABYTES = 400
MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_decoding import reason_of_unit
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(reason_of_unit(Path(sys.argv[2])), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def whole(path: Path) -> RowRange:
    groups = read_footer(*pinned(path)).row_groups
    return RowRange(0, sum(groups), 0, len(groups) - 1, 0)


def reason_of_unit(path: Path, columns: PairColumns = IDS) -> Quarantine:
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(*pinned(path), whole(path), columns)
    return unreadable.value.reason


@pytest.mark.process
def test_a_dictionary_bomb_is_told_before_it_expands(tmp_path: Path) -> None:
    path = write_dictionary_bomb(tmp_path / "bomb.parquet", 16_000)
    assert path.stat().st_size < 2000
    # Alone, because the peak of this process is that of all tests before.
    argv = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(path)]
    reason, megabytes = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert reason == Quarantine.LIMIT_DECODED_BYTES
    assert int(megabytes) < BOMB_MEGABYTES


@pytest.mark.computes
@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
        pa.binary(MAX_DECODED_BYTES // 16),
    ],
    ids=str,
)
def test_every_flat_column_counts_for_the_limit_and_keeps_its_type_below_it(tmp_path: Path, kind: pa.DataType) -> None:
    value = b"x" * (MAX_DECODED_BYTES // 16)
    written = kind if pa.types.is_fixed_size_binary(kind) else pa.binary() if "binary" in str(kind) else pa.string()
    # A dictionary, since otherwise the writer would hold every value; the reader takes it for the type it is told.
    notes = pa.DictionaryArray.from_arrays(pa.array([0] * 17, pa.int32()), pa.array([value], pa.binary()).cast(written))
    pairs = pair_table(["a"] * 17, ["b"] * 17).append_column("note", notes)
    path = tmp_path / "a.parquet"
    pq.write_table(pairs, path, compression="zstd", dictionary_pagesize_limit=1 << 30, write_statistics=False)
    columns = PairColumns(carried=(pa.field("note", plain_type(kind)),))
    assert reason_of_unit(path, columns) == Quarantine.LIMIT_DECODED_BYTES
    read = read_pairs(*pinned(path), RowRange(0, 2, 0, 0, 0), columns)
    assert (read["note"].type, read.num_rows) == (plain_type(kind), 2)


@pytest.mark.computes
def test_only_the_rows_of_the_unit_count_for_the_limit(tmp_path: Path) -> None:
    path = write_dictionary_bomb(tmp_path / "bomb.parquet", 40)
    for skip in (0, 30):
        assert read_pairs(*pinned(path), RowRange(skip, 10, 0, 0, skip), IDS).num_rows == 10
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(*pinned(path), RowRange(0, 20, 0, 0, 0), IDS)
    assert "--unit-rows" in unreadable.value.detail


@pytest.mark.parametrize("dictionary", [True, False])
def test_carried_columns_keep_their_types_and_values(tmp_path: Path, dictionary: bool) -> None:
    kinds = {
        "lar.ge + é%20": pa.large_string(),
        "raw": pa.binary(),
        "fixed": pa.binary(2),
        "category": pa.dictionary(pa.int32(), pa.string()),
        "tags": pa.list_(pa.string()),
        "empty": pa.null(),
    }
    values = {"tags": [["aa"], None, ["bb", "aa"]], "empty": [None] * 3}
    pairs = numbered_pairs(3)
    for name, kind in kinds.items():
        pairs = pairs.append_column(name, pa.array(values.get(name, ["aa", None, "bb"]), kind))
    path = tmp_path / "a.parquet"
    pq.write_table(pairs, path, row_group_size=2, use_dictionary=dictionary)
    carried = tuple(pa.field(name, kind) for name, kind in kinds.items())
    columns = PairColumns(pair_id="pair_id", id_type=pa.string(), carried=carried)
    read = read_pairs(*pinned(path), whole(path), columns)
    assert read.schema.equals(pairs.schema)
    assert read.to_pydict() == pairs.to_pydict()


def test_a_footer_of_more_rows_than_the_pages_hold_is_told(tmp_path: Path) -> None:
    path = claim_rows(write_pairs(tmp_path / "a.parquet", numbered_pairs(12_345), 20_000), 12_346)
    assert reason_of_unit(path) == Quarantine.ROW_COUNT


@dataclass(frozen=True)
class CountingFolder(LocalFolder):
    """A folder that adds up the bytes that are read from it."""

    read_sizes: list[int] = field(default_factory=list, compare=False)

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:  # noqa: D102  (as its base)
        sizes, inner = self.read_sizes, super().open_pinned(pin)

        class Counted(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                data = inner.read(-1 if size is None else size)
                sizes.append(len(data))
                return data

            def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
                return inner.seek(offset, whence)

            def tell(self) -> int:
                return inner.tell()

            def close(self) -> None:
                inner.close()
                super().close()

        return Counted(self.uri_of(pin.name))


def one_group(folder: Path, rows: int) -> tuple[CountingFolder, ObjectPin]:
    """A file of one row group, of some megabytes that cannot be compressed."""
    noise = np.random.default_rng(0).bytes(64 * rows).hex()
    texts = [noise[128 * row : 128 * (row + 1)] for row in range(rows)]
    write_pairs(folder / "a.parquet", pair_table(texts, texts), rows)
    counting = CountingFolder(str(folder))
    pin = counting.stat("a.parquet")
    assert pin is not None
    return counting, pin


def test_a_huge_row_group_is_read_once_for_all_its_units_and_never_whole(tmp_path: Path) -> None:
    folder, pin = one_group(tmp_path, 60_000)
    cuts = list(unit_ranges((60_000,), 1500))
    reader = PairReader(folder, PairColumns())
    units = [reader.read(pin, cut) for cut in cuts]
    assert sum(folder.read_sizes) < 1.2 * pin.size
    assert max(folder.read_sizes) <= READ_BYTES < pin.size / 4
    folder.read_sizes.clear()
    whole_file = read_pairs(folder, pin, RowRange(0, 60_000, 0, 0, 0), PairColumns())
    assert pa.concat_tables(units).equals(whole_file)


def test_units_may_be_read_in_any_order_and_some_not_at_all(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(100), 50)
    folder, pin = pinned(path)
    reader = PairReader(folder, IDS)
    cuts = list(unit_ranges((50, 50), 7))
    for place in (0, 1, 4, 4, 3, 12, 9, 2, 15, 15, 0):
        cut = cuts[place]
        assert reader.read(pin, cut).equals(numbered_pairs(cut.rows, cut.first_row)), place
    reader.close()


@pytest.mark.computes
def test_a_unit_that_cannot_be_read_spares_those_behind_it(tmp_path: Path) -> None:
    path = write_dictionary_bomb(tmp_path / "bomb.parquet", 40)
    folder, pin = pinned(path)
    reader = PairReader(folder, IDS)
    assert reader.read(pin, RowRange(0, 5, 0, 0, 0)).num_rows == 5
    with pytest.raises(UnreadableError):
        reader.read(pin, RowRange(5, 20, 0, 0, 5))
    assert reader.read(pin, RowRange(25, 5, 0, 0, 25)).num_rows == 5


def test_a_file_that_changes_between_two_units_of_a_row_group_is_told(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(40), 40)
    folder, pin = pinned(path)
    reader = PairReader(folder, IDS)
    reader.read(pin, RowRange(0, 10, 0, 0, 0))
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ObjectChangedError):
        reader.read(pin, RowRange(10, 10, 0, 0, 10))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_delta_coded_texts_are_read(tmp_path: Path, encoding: str) -> None:
    pairs = numbered_pairs(300).append_column("note", pa.array([None, "x", "\u00e9"] * 100))
    path = tmp_path / "a.parquet"
    coded = dict.fromkeys(pairs.column_names, encoding)
    pq.write_table(pairs, path, use_dictionary=False, column_encoding=coded, row_group_size=200)
    columns = PairColumns(pair_id="pair_id", id_type=pa.string(), carried=(pa.field("note", pa.string()),))
    reader = PairReader(pinned(path)[0], columns)
    units = [reader.read(pinned(path)[1], cut) for cut in unit_ranges((200, 100), 70)]
    assert pa.concat_tables(units).equals(pairs)


@pytest.mark.process
def test_delta_coded_texts_are_bounded_as_all_others(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    texts = pa.array(["x" * 4_000_000] * 70)
    pairs = pa.table({"pair_id": ["1"] * 70, "premise": texts, "hypothesis": ["w1"] * 70})
    coded = {"premise": "DELTA_BYTE_ARRAY"}
    pq.write_table(
        pairs, path, use_dictionary=False, column_encoding=coded, compression="brotli", write_statistics=False
    )
    del texts, pairs
    assert path.stat().st_size < 2000
    argv = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(path)]
    reason, megabytes = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert reason == Quarantine.LIMIT_DECODED_BYTES
    assert int(megabytes) < 2 * BOMB_MEGABYTES


@pytest.mark.computes
def test_a_json_column_is_bounded_as_all_others(tmp_path: Path) -> None:
    storage = pa.array(["[" + "1," * (MAX_DECODED_BYTES // 40) + "1]"] * 30)
    pairs = pair_table(["a"] * 30, ["b"] * 30)
    pairs = pairs.append_column("note", pa.ExtensionArray.from_storage(pa.json_(), storage))
    path = tmp_path / "a.parquet"
    pq.write_table(pairs, path, compression="zstd", write_statistics=False)
    assert reason_of_unit(path, PairColumns(carried=(pa.field("note", pa.json_()),))) == Quarantine.LIMIT_DECODED_BYTES


YEARS = [
    datetime.fromisoformat(text) if text else None
    for text in ("0001-01-01", "1754-08-30", "2026-11-29T01:02:03.000004", "9999-12-31T23:00", "")
]


def test_int96_holds_the_years_1_and_9999(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pairs = pair_table(["a"] * 5, ["b"] * 5)
    for name, kind in (("when", pa.timestamp("us")), ("list", pa.list_(pa.timestamp("us")))):
        values = [[year] for year in YEARS] if name == "list" else YEARS
        pairs = pairs.append_column(name, pa.array(values, kind))
    pq.write_table(pairs, path, use_deprecated_int96_timestamps=True, store_schema=False)
    found = read_footer(*pinned(path)).schema
    columns = PairColumns(carried=(found.field("when"), found.field("list")))
    read = read_pairs(*pinned(path), whole(path), columns)
    assert read["when"].to_pylist() == YEARS
    assert read["list"].to_pylist() == [[year] for year in YEARS]


@pytest.mark.parametrize("nest", [lambda times: times, lambda times: pa.ListArray.from_arrays([0, 1, 2, 3], times)])
def test_int96_with_digits_below_a_microsecond_is_told(tmp_path: Path, nest: Any) -> None:
    times = nest(pa.array([1_000, None, 1_001], pa.timestamp("ns")))
    path = tmp_path / "a.parquet"
    pairs = pair_table(["a"] * 3, ["b"] * 3).append_column("when", times)
    pq.write_table(pairs, path, use_deprecated_int96_timestamps=True, store_schema=False)
    columns = PairColumns(carried=(read_footer(*pinned(path)).schema.field("when"),))
    assert reason_of_unit(path, columns) == Quarantine.CARRIED_VALUE
    assert read_pairs(*pinned(path), whole(path), PairColumns()).num_rows == 3


def test_a_value_that_the_type_of_the_run_cannot_hold_is_told_without_it(tmp_path: Path) -> None:
    pairs = pair_table(["a"] * 2, ["b"] * 2).append_column("when", pa.array(YEARS[:2], pa.timestamp("us")))
    path = write_pairs(tmp_path / "a.parquet", pairs)
    columns = PairColumns(carried=(pa.field("when", pa.timestamp("ns")),))
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(*pinned(path), whole(path), columns)
    assert unreadable.value.reason == Quarantine.CARRIED_VALUE
    assert "`when` is timestamp[us] and holds a value that is no timestamp[ns]" in unreadable.value.detail


UUIDS = [UUID("e091844c-1c0c-4d58-8968-85b86fe0fd8b"), None]


@pytest.mark.parametrize(
    ("ids", "kind", "expected"),
    [
        (pa.array([value and value.bytes for value in UUIDS], pa.uuid()), pa.string(), [str(UUIDS[0]), None]),
        (pa.array(['{"n": 1}', None], pa.json_()), pa.string(), ['{"n": 1}', None]),
        (pa.array([7.0, None]), pa.string(), ["7", None]),
        (pa.array([float("nan"), 2.0**60]), pa.string(), [None, str(2**60)]),
        (pa.array([7.0, None]), pa.int64(), [7, None]),
        (pa.array([7, None], pa.decimal128(38, 0)), pa.string(), ["7", None]),
    ],
    ids=str,
)
def test_ids_are_taken_without_a_change(tmp_path: Path, ids: pa.Array, kind: pa.DataType, expected: list[Any]) -> None:
    path = write_pairs(tmp_path / "a.parquet", pair_table(["a"] * 2, ["b"] * 2).append_column("key", ids))
    read = read_pairs(*pinned(path), whole(path), PairColumns(pair_id="key", id_type=kind))
    assert read["pair_id"].to_pylist() == expected


@pytest.mark.parametrize("value", [1.5, 2.0**63, float("inf")])
def test_a_float_that_is_no_whole_number_is_no_id(tmp_path: Path, value: float) -> None:
    path = write_pairs(tmp_path / "a.parquet", pair_table(["a"], ["b"]).append_column("pair_id", pa.array([value])))
    with pytest.raises(UnreadableError) as unreadable:
        read_pairs(*pinned(path), whole(path), IDS)
    assert unreadable.value.reason == Quarantine.SCHEMA_ID
    assert "is double and holds a value that is no whole number of 64 bits, as ids are" in unreadable.value.detail
    assert "--id-column none" in unreadable.value.detail
    assert str(value) not in unreadable.value.detail


def test_a_text_may_be_carried_under_its_own_name_too(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", pair_table(["a"], ["b"]).rename_columns(["s1", "s2"]))
    columns = PairColumns("s1", "s2", carried=(pa.field("s1", pa.string()),))
    assert read_pairs(*pinned(path), whole(path), columns).to_pylist() == [
        {"premise": "a", "hypothesis": "b", "s1": "a"}
    ]


def test_a_carried_column_that_a_file_lacks_is_null(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(3))
    columns = replace(IDS, carried=(pa.field("note", pa.string()),), may_lack_carried=True)
    assert footer_error(read_footer(*pinned(path)), columns) is None
    assert read_pairs(*pinned(path), whole(path), columns)["note"].to_pylist() == [None] * 3
