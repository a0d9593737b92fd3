"""Columns of a whole job: what is published is what the input holds, as a reader that is not ours reads both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from job_runs import (
    RAY_WARNING,
    Outcome,
    labelled_rows,
    made_up_pairs,
    manifest_of,
    rejected_rows,
    run_inline,
    verify,
    write_pairs,
)
from pairs import bytes_column, planned, surveyed, wordpiece
from test_decoding import one_group

from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.reader import UnitReader
from albert_infer.prepare.tokenization import PairTokenizer

ROWS = 40
# As DuckDB writes them; each is null in every seventh row.
VALUES = {
    "pair_id": "uuid()",
    "key": "uuid()",
    "document": "'{\"a\": [1]}'::JSON",
    "keys": "[uuid(), NULL]",
    "tags": "['a', NULL, 'b' || n]",
    "about": "{'j': '[]'::JSON, 'at': TIMESTAMP '0001-01-01', 'tags': ['x']}",
    "counts": "MAP{'a' || n: n}",
    "price": "1.25::DECIMAL(9, 2)",
    "wide": "1.25::DECIMAL(38, 5)",
    "first": "TIMESTAMP '0001-01-01 00:00:00'",
    "last": "TIMESTAMP '9999-12-31 23:59:59.999999'",
    "exact": "'2026-11-29 01:02:03.123456789'::TIMESTAMP_NS",
    "day": "DATE '0001-01-01'",
    "hour": "TIME '10:11:12.123456'",
    "small": "255::UTINYINT",
    "large": "18446744073709551615::UBIGINT",
    "share": "CASE n % 2 WHEN 0 THEN 'nan'::DOUBLE ELSE n / 3 END",
    "raw": "'\\xFF\\x00'::BLOB",
    "kind": "'x'::ENUM('x', 'y')",
}


def write_with_duckdb(path: Path, version: str, seed: int) -> None:
    """Pairs with a column of every type that DuckDB has and a copy can keep, in one row group."""
    pairs = made_up_pairs(ROWS, seed=seed).select(["premise", "hypothesis"]).append_column("n", pa.array(range(ROWS)))
    columns = [f"CASE WHEN n % 7 < 6 THEN {value} END AS {name}" for name, value in VALUES.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        relation = connection.from_arrow(pairs).project(", ".join(["premise", "hypothesis", *columns]))
        connection.execute("SET TimeZone = 'UTC'")
        relation.to_table("pairs")
        connection.execute(f"COPY pairs TO '{path}' (FORMAT parquet, PARQUET_VERSION {version})")


def as_duckdb_reads(paths: list[Path], names: list[str]) -> tuple[list[Any], list[str]]:
    """The rows and types of these columns, values as texts."""
    with duckdb.connect() as connection:
        relation = connection.read_parquet([str(path) for path in paths])
        texts = relation.project(", ".join(f"{name}::VARCHAR AS {name}" for name in names))
        types = [str(kind) for kind in relation.project(", ".join(names)).types]
        return texts.fetchall(), types


def published(source: Path, checkpoint: Path, *more: object) -> Path:
    outcome = label(source, checkpoint, *more)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    verify(source.with_name("out"), source)
    return source.with_name("out")


def label(source: Path, checkpoint: Path, *more: object) -> Outcome:
    argv = ("--input", source, "--output", source.with_name("out"), "--model", checkpoint, "--unit-rows", 16)
    return run_inline(*argv, "--max-rejected-share", 1, *more)


@pytest.mark.computes
def test_every_column_of_another_writer_is_published_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name, version in (("a", "V1"), ("b", "V2")):
        write_with_duckdb(source / f"{name}.parquet", version, seed=ord(name))
    output = published(source, checkpoint, "--carry", "all")
    names = ["premise", "hypothesis", *VALUES]
    given, types = as_duckdb_reads(sorted(source.glob("*.parquet")), names)
    found, types_found = as_duckdb_reads([output / entry["path"] for entry in manifest_of(output)["files"]], names)
    # An id is published as a text.
    types[names.index("pair_id")] = "VARCHAR"
    assert found == given
    assert types_found == types


@pytest.mark.computes
def test_files_of_several_writers_widen_to_one_schema_and_what_is_rejected_can_be_read(
    checkpoint: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    first = made_up_pairs(20, seed=1).append_column("note", pa.nulls(20))
    tags = pa.ListArray.from_arrays(pa.array(range(21), pa.int32()), bytes_column([b"a", b"\xff", *[b"c"] * 18]))
    second = made_up_pairs(20, seed=2).drop_columns(["topic"])
    second = second.set_column(1, "premise", second["premise"].cast(pa.string_view()))
    second = second.append_column("note", pa.array(["x"] * 20, pa.string_view())).append_column("tags", tags)
    second = second.append_column("kind", pa.array(["k"] * 20).cast(pa.dictionary(pa.uint32(), pa.string())))
    third = made_up_pairs(20, seed=3)
    third = third.set_column(3, "topic", third["topic"].cast(pa.int64()))
    third = third.append_column("tags", pa.array([["q"]] * 20, pa.list_view(pa.large_string())))
    write_pairs(source / "a.parquet", first)
    pq.write_table(second, source / "b.parquet")
    pq.write_table(third, source / "c.parquet", version="2.6", data_page_version="2.0")
    output = published(source, checkpoint, "--carry", "all")
    rows, aside = labelled_rows(output), rejected_rows(output)
    assert (rows.num_rows, aside["rejection"].to_pylist()) == (59, ["bad_utf8"])
    assert aside.select(["tags", "note"]).to_pylist() == [{"tags": None, "note": "x"}]
    assert rows["topic"].to_pylist() == [*first["topic"].to_pylist(), *[None] * 19, *third["topic"].to_pylist()]
    assert rows["note"].to_pylist() == [None] * 20 + ["x"] * 19 + [None] * 20
    assert rows["tags"].to_pylist() == [None] * 20 + [["a"], *[["c"]] * 18] + [["q"]] * 20
    as_duckdb_reads([output / entry["path"] for entry in manifest_of(output)["rejected_files"]], ["tags", "note"])


def test_int96_of_the_years_1_and_9999_is_published_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    years = [-62_135_596_800_000_000, 253_402_300_799_999_999, None, 0] * 10
    pairs = made_up_pairs(ROWS, seed=4).append_column("when", pa.array(years, pa.timestamp("us")))
    source.mkdir()
    pq.write_table(pairs, source / "a.parquet", use_deprecated_int96_timestamps=True, store_schema=False)
    output = published(source, checkpoint, "--carry", "when")
    given, types = as_duckdb_reads([source / "a.parquet"], ["pair_id", '"when"'])
    found, types_found = as_duckdb_reads(
        [output / entry["path"] for entry in manifest_of(output)["files"]], ["pair_id", '"when"']
    )
    assert (found, types_found) == (given, types)


def test_columns_that_only_the_paths_hold_are_told(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "region=eu" / "a.parquet", made_up_pairs(16, seed=1))
    outcome = label(tmp_path / "in", checkpoint, "--carry", "all")
    assert outcome.exit_code == 0, outcome.stderr
    (warning,) = [line for line in outcome.errors if line.startswith("warning: ")]
    assert "`region`" in warning
    assert "--carry-source" in warning


def test_ids_that_cannot_be_ids_are_left_out_with_none(checkpoint: Path, tmp_path: Path) -> None:
    pairs = made_up_pairs(16, seed=1).set_column(0, "pair_id", pa.array([row / 2 for row in range(16)]))
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    refused = label(tmp_path / "in", checkpoint)
    assert refused.exit_code == 3
    assert "pair_id" not in labelled_rows(published(tmp_path / "in", checkpoint, "--id-column", "none")).column_names


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.filterwarnings(RAY_WARNING)
def test_a_worker_reads_a_huge_row_group_once_for_all_units_that_it_gets(tmp_path: Path) -> None:
    folder, pin = one_group(tmp_path, 20_000)
    tokenizer = PairTokenizer(
        wordpiece().to_str(),
        cls_token="[CLS]",  # noqa: S106  (no password)
        sep_token="[SEP]",  # noqa: S106
        max_length=16,
    )
    reader = UnitReader(folder, surveyed(tmp_path).columns, ray.put(tokenizer), RunBoard.start())
    rows = [replace(reader).prepared(unit).num_rows for unit in planned(tmp_path, unit_rows=1000).units]
    assert rows == [1000] * 20
    # The dictionary page of each column, up to 1 MB, is looked at beforehand.
    assert sum(folder.read_sizes) < 1.5 * pin.size
