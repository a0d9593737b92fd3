"""One folder of input with everything in it: good files, and every kind of bad rows and bad files beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from bad_files import LZO, NO_SUCH_CODEC, claim_codec, claim_rows, pickled_objects, write_dictionary_bomb
from job_runs import break_page, made_up_pairs, write_pairs
from pairs import bytes_column

from albert_infer.prepare.validation import MAX_TEXT_BYTES

# What the jobs are told, and row groups of as many, so that a file of more is several units.
UNIT_ROWS = 16
# No footer that claims so many is believed.
MANY_ROWS = 1 << 31
# Whole copies of a file that stands beside them, as tools leave them.
COPIES = ("extra.parquet.bak", "extra.parquet~", "extra.parquet._COPYING_", "extra.parquet.crdownload", "extra.part")


@dataclass
class Written:
    """A file of the input: how many rows a reader of its footer sees, if any does, and which are there to be read."""

    path: Path
    rows: int | None
    readable: range


def good_file(path: Path, rows: int = 5, **columns: pa.Array) -> Written:
    """Good pairs, whose columns may be other ones."""
    pairs = made_up_pairs(max(rows, 1), seed=len(path.name)).slice(0, rows)
    for name, column in columns.items():
        place = pairs.column_names.index(name) if name in pairs.column_names else None
        pairs = pairs.append_column(name, column) if place is None else pairs.set_column(place, name, column)
    # A group for the odd counts that are found again in a footer; else one for each unit.
    group_rows = rows if rows > 1000 else UNIT_ROWS
    return Written(write_pairs(path, pairs, group_rows=group_rows), rows, range(rows))


def bad_file(path: Path, *, pairs: int = 5, rows: int | None = None, **columns: pa.Array) -> Written:
    """A file of which nothing is labelled; `rows` if its footer tells of any."""
    return Written(good_file(path, pairs, **columns).path, rows, range(0))


def bytes_file(path: Path, data: bytes | Callable[[bytes], bytes]) -> Written:
    """A file of these bytes, or of what becomes of a good file's."""
    good_file(path)
    path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))
    return Written(path, None, range(0))


TEXT_ROWS: list[tuple[str, bytes | None, bytes | None]] = [
    ("good", b"w1 w2", b"w3"),
    ("null premise", None, b"w3"),
    ("null hypothesis", b"w1", None),
    ("empty", b"", b"w3"),
    ("blank", b"w1", " \u200b\u00a0\t".encode()),
    ("over the soft cap", b" ".join([b"w1"] * 300), b"w2"),
    ("over the hard cap", b"w1 " * (MAX_TEXT_BYTES // 3 + 1), b"w2"),
    ("not UTF-8", b"w1 \xff\xfe", b"w2"),
    ("control characters", "w1 \x00 w2\x1b[31m \u202e w3".encode(), b"w2"),
    ("emoji", "🙂 🙃".encode(), "日本".encode()),
]
TEXT_NAMES = [name for name, _, _ in TEXT_ROWS]


def text_file(path: Path) -> Written:
    premises, hypotheses = [row[1] for row in TEXT_ROWS], [row[2] for row in TEXT_ROWS]
    columns = {"premise": bytes_column(premises), "hypothesis": bytes_column(hypotheses)}
    return good_file(path, len(TEXT_ROWS), **columns)


def two_units(path: Path, damage: Callable[[Path], object]) -> Written:
    """A file whose second unit cannot be read."""
    written = good_file(path, UNIT_ROWS + 9)
    damage(path)
    return Written(path, written.rows, range(UNIT_ROWS))


def spoil_pages(path: Path) -> None:
    """Bytes that Snappy cannot decode, in pages without a checksum."""
    pq.write_table(pq.read_table(path), path, row_group_size=UNIT_ROWS, use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    data[end - 60 : end] = b"\xff" * 60
    path.write_bytes(data)


def input_of_everything(folder: Path, marker: Path) -> list[Written]:
    """Write a folder of good and bad files; the first is good and decides the columns."""
    texts = made_up_pairs(5, seed=0)["premise"]
    numbers = pa.array(range(5), pa.int64())
    key = {"pair_id": pa.array(["a", "b", "a", None, "a"])}
    files = [
        good_file(folder / "a-good.parquet", 20),
        text_file(folder / "texts.parquet"),
        good_file(folder / "ids.parquet", **key),
        good_file(folder / "ids-again.parquet", **key),
        good_file(folder / "id-not-utf8.parquet", pair_id=bytes_column([b"a", b"\xff", b"c", b"d", b"e"])),
        bad_file(folder / "id-float.parquet", rows=5, pair_id=pa.array([1.5, float("nan"), 2, 3, 4])),
        bad_file(folder / "id-int.parquet", rows=5, pair_id=numbers),
        bytes_file(folder / "zero.parquet", b""),
        bytes_file(folder / "html.parquet", b"<html>503 Slow Down</html>"),
        bytes_file(folder / "cut.parquet", lambda data: data[: len(data) // 2]),
        bytes_file(folder / "encrypted.parquet", lambda data: b"PARE" + data[4:-4] + b"PARE"),
        two_units(folder / "page-crc.parquet", lambda path: break_page(path, 1)),
        two_units(folder / "page-codec.parquet", spoil_pages),
        bad_file(folder / "lzo.parquet", rows=5),
        bad_file(folder / "codec-33.parquet", rows=5),
        good_file(folder / "no-rows.parquet", 0),
        bad_file(folder / "column-missing.parquet", rows=5),
        bad_file(folder / "column-case.parquet", rows=5),
        bad_file(folder / "column-twice.parquet", rows=5),
        bad_file(folder / "type-int.parquet", rows=5, premise=numbers),
        bad_file(folder / "type-list.parquet", rows=5, premise=pa.array([["w1"]] * 5)),
        bad_file(folder / "type-struct.parquet", rows=5, premise=pa.array([{"text": "w1"}] * 5)),
        bad_file(folder / "type-binary.parquet", rows=5, premise=pa.array([b"w1"] * 5)),
        good_file(folder / "kind-dictionary.parquet", premise=texts.dictionary_encode()),
        good_file(folder / "kind-large.parquet", premise=texts.cast(pa.large_string())),
        good_file(folder / "kind-view.parquet", premise=texts.cast(pa.string_view())),
        good_file(folder / "kind-null.parquet", premise=pa.nulls(5)),
        bad_file(folder / "extension.parquet", rows=5, premise=pickled_objects(marker, 5)),
        good_file(folder / "extension-unasked.parquet", objects=pickled_objects(marker, 5)),
        good_file(folder / "extra.parquet", colour=texts, shape=numbers),
        good_file(folder / "ours.parquet", label=texts, _unit=texts, _row=numbers, rejection=texts, source_file=texts),
        good_file(folder / "premise=EVIL" / "hive.parquet"),
        good_file(folder / "_day=2026-11-21" / "hive.parquet"),
        good_file(folder / "a b+c%20d é 日本 {x} $y.parquet"),
        bad_file(folder / "rows.parquet", pairs=12_345),
        Written(write_dictionary_bomb(folder / "bomb.parquet", 64), 64, range(0)),
        bad_file(folder / "one-more.parquet", pairs=UNIT_ROWS - 1, rows=UNIT_ROWS),
    ]  # fmt: skip
    claim_rows(folder / "rows.parquet", MANY_ROWS)
    claim_rows(folder / "one-more.parquet", UNIT_ROWS)
    claim_codec(folder / "lzo.parquet", "premise", LZO)
    claim_codec(folder / "codec-33.parquet", "hypothesis", NO_SUCH_CODEC)
    for name, names in {
        "column-missing": ["pair_id", "premise", "text", "topic"],
        "column-case": ["pair_id", "premise", "Hypothesis", "topic"],
        "column-twice": ["pair_id", "premise", "hypothesis", "premise"],
    }.items():
        write_pairs(folder / f"{name}.parquet", made_up_pairs(5, seed=3).rename_columns(names))
    for name in ("_tmp.parquet", ".a.parquet.crc", "_SUCCESS", "_temporary/0/x.parquet"):
        good_file(folder / name)
    for name in COPIES:
        shutil.copy(folder / "extra.parquet", folder / name)
    (folder / "notes.txt").write_text("read me")
    (folder / "table.csv").write_text("premise,hypothesis\n")
    return [*files, Written(good_file(folder / "part-without-suffix").path, 5, range(5))]
