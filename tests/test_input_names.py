"""Which names are input: partitions as in Spark, no copies, nothing hidden; and which show that a table owns them."""

from __future__ import annotations

import pytest

from albert_infer.storage.input_names import LeftOut, is_mark, is_partition, left_out, left_out_text, table_of

INPUT = [
    "a.parquet", "a.PARQUET", "b.pq", "c.parq", "deep/er/a.parquet", "a.snappy.parquet", "tmp/a.parquet",
    # Partitions, whatever their values.
    "_day=2026-11-21/a.parquet", "region=eu/_hour=00/part-0", "name=x.old/a.parquet", "name=~/a.parquet",
    # What Hive, Trino, BigQuery, TensorFlow, Beam, Dask and pandas call their files.
    "000000_0", "20261121_101010_00042_abcde_1b2c", "x.parquet000000000000", "x.parquet-00000-of-00010", "part.0",
    "part.snappy", "df.parquet.gzip", "df.parquet.gz", "no extension", "y.bin",
    # Whoever gives a file this ending says that it is whole.
    "a.tmp.parquet", "a.bak.parquet",
]  # fmt: skip
COPIES = [
    # By people and editors.
    "a.parquet.bak", "a.parquet.BAK", "a.parquet.old", "a.parquet.orig", "a.parquet~", "a.parquet.~1~", "#a.parquet#",
    "a.parquet.swp", "~$a.parquet.x", "000000_0.bak", "000000_0~",
    # By browsers: Chrome, Firefox, Internet Explorer, Opera, Safari.
    "a.parquet.crdownload", "a.parquet.part", "a.parquet.partial", "a.parquet.opdownload",
    "a.parquet.download/a.parquet",
    # By wget, aria2, WinSCP, the AWS client, gsutil, rclone, MinIO's client, torrents.
    "a.parquet.1", "a.parquet.aria2", "a.parquet.filepart", "a.parquet.6eF7c4Bd", "a.parquet_.gstmp",
    "a.parquet.1a2b3c4d.partial", "a.parquet.part.minio", "a.parquet.!ut", "a.parquet.!qB",
    # By Hadoop, Flink, Kafka Connect, and any program that renames at the end.
    "a.parquet._COPYING_", "part-0-0._COPYING_", "part-0-0.inprogress.5f2a-11", "part-0-0.inprogress", "part-0.pending",
    "+tmp/topic/partition=0/a_tmp.parquet", "a.parquet.tmp", "a.parquet.tmp.4711", "part-0.tmp", "part-0.tmp-4711",
    "2026-11-21.tmp/a.parquet", "v1.bak/a.parquet", "a.parquet.inprogress",
]  # fmt: skip
HIDDEN = [
    "_SUCCESS", "_tmp.parquet", ".a.parquet.crc", "_temporary/0/task_1/a.parquet", ".x=1/a.parquet", "x/.a.parquet",
    "_temporary/0/_day=1/a.parquet", ".a.parquet.Xk3J2a", "._a.parquet", "__MACOSX/._a.parquet", "_metadata",
    ".spark-staging-1/_day=1/a.parquet", "_delta_log/00000000000000000010.checkpoint.parquet",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, None) for name in INPUT),
        *((name, LeftOut.COPY) for name in COPIES),
        *((name, LeftOut.HIDDEN) for name in HIDDEN),
    ],
)
def test_a_name_says_whether_an_object_is_left_out_and_why(name: str, reason: LeftOut | None) -> None:
    assert left_out(name) == reason


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("_delta_log/00000000000000000000.json", ("a Delta table", "")),
        ("in/b/_delta_log/_last_checkpoint", ("a Delta table", "in/b/")),
        (".hoodie/hoodie.properties", ("a Hudi table", "")),
        ("2026/11/21/.hoodie_partition_metadata", ("a Hudi table", "2026/11/21/")),
        ("metadata/v3.metadata.json", ("an Iceberg table", "")),
        ("t/metadata/00001-5f.gz.metadata.json", ("an Iceberg table", "t/")),
        ("t/snapshot/LATEST", ("a Paimon table", "t/")),
        ("t/_spark_metadata/9.compact", ("the output of a Spark stream", "t/")),
        ("line\nfeed/_delta_log/0.json", ("a Delta table", "line\nfeed/")),
        *(
            (name, None)
            for name in ("my_delta_log/a", "metadata/notes.json", "metadata.json", "snapshot/a", "a.hoodie/b")
        ),
    ],
)
def test_a_name_in_the_log_of_a_table_says_which_folder_is_the_table(name: str, told: tuple[str, str] | None) -> None:
    found = table_of(name)
    assert (found and (found[0].name, found[1])) == told


def test_a_folder_that_may_be_a_partition_is_known() -> None:
    assert all(map(is_partition, ("dt=2026-11-21", "_day=1", "2026", "2026-11-21", "data")))
    assert not any(map(is_partition, ("in", "=x", "labels", "v2", "")))


def test_a_mark_holds_no_row() -> None:
    marks = ("_SUCCESS", "x/_SUCCESS", "_started_42", "_committed_42", "_metadata", ".a.crc", ".DS_Store", "Thumbs.db")
    assert all(is_mark(name, 9) for name in marks)
    assert is_mark("a.csv", 0)
    assert not any(is_mark(name, 9) for name in ("a.csv", "_temporary/a.parquet", "_SUCCESS.parquet"))


def test_what_is_left_out_is_told_by_reason_with_the_first_of_each() -> None:
    ignored = {"_SUCCESS": "hidden", "b.csv": "not_parquet", "a.csv": "not_parquet", "a.parquet.bak": "copy"}
    assert left_out_text(ignored) == (
        "2 as not Parquet, first a.csv; 1 as a copy or half-written, first a.parquet.bak; 1 as hidden, first _SUCCESS"
    )
    assert left_out_text({}) == ""


def test_a_mark_is_told_as_the_first_only_where_there_is_nothing_else() -> None:
    assert left_out_text({"_SUCCESS": "hidden", "_x/a.parquet": "hidden"}) == "2 as hidden, first _x/a.parquet"
