"""The rows of a unit: what a few bytes may expand to is bounded, and counts that do not agree are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_files import claim_rows, write_dictionary_bomb
from pairs import numbered_pairs, pair_table, write_pairs
from test_reading import IDS, pinned

from albert_infer import decoding
from albert_infer.column_types import plain_type
from albert_infer.decoding import read_pairs
from albert_infer.reading import RowRange, UnreadableError, read_footer
from albert_infer.schema import PairColumns, Quarantine

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


def test_a_dictionary_bomb_is_told_before_it_expands(tmp_path: Path) -> None:
    path = write_dictionary_bomb(tmp_path / "bomb.parquet", 16_000)
    assert path.stat().st_size < 2000
    # Alone, because the peak of this process is that of all tests before.
    argv = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(path)]
    reason, megabytes = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert reason == Quarantine.LIMIT_DECODED_BYTES
    assert int(megabytes) < BOMB_MEGABYTES


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
        pa.binary(decoding.MAX_DECODED_BYTES // 16),
    ],
    ids=str,
)
def test_every_flat_column_counts_for_the_limit_and_keeps_its_type_below_it(tmp_path: Path, kind: pa.DataType) -> None:
    value = b"x" * (decoding.MAX_DECODED_BYTES // 16)
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
