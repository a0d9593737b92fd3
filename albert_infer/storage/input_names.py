"""Which objects of a folder are input, as far as their names tell, and which names show that a table format owns them.

Names only: nothing is opened here. `docs/reference/inputs.md` says the same for users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LeftOut(StrEnum):
    """Why an object is not input. Closed: readers may switch on it."""

    NOT_PARQUET = "not_parquet"
    # Of a file that stands beside it, or of one that is still being written.
    COPY = "copy"
    HIDDEN = "hidden"


WORDS: Final = {
    LeftOut.NOT_PARQUET: "not Parquet",
    LeftOut.COPY: "a copy or half-written",
    LeftOut.HIDDEN: "hidden",
}
PARQUET_NAMES: Final = (".parquet", ".pq", ".parq")
# `df.to_parquet("df.parquet.gzip")` names a Parquet file; one that was compressed as a whole begins otherwise.
CODECS: Final = "gz|gzip|snappy|zst|zstd|lz4|lzo|br|brotli|bz2|zlib|none|uncompressed"
# What goes on after `.parquet.` is the work of a tool that copies, downloads or renames: `a.parquet.1`,
# `a.parquet.6eF7c4Bd`. It is in no other file's name.
_AFTER_PARQUET: Final = re.compile(rf"\.(?:parquet|pq|parq)\.(?!(?:{CODECS})$)[^/]*$", re.IGNORECASE)
# By whom, in order: editors and people; anybody; browsers; download tools; Hadoop; Flink and others.
_COPY: Final = re.compile(
    r"(?:~|\.bak|\.backup|\.old|\.orig|\.save|\.sw[opx]"
    r"|\.(?:tmp|temp)(?:[._-][\w-]+)?|_\.gstmp|\.gstmp"
    r"|\.crdownload|\.opdownload|\.download|\.part|\.partial"
    r"|\.filepart|\.aria2|\.part\.minio|\.!ut|\.!qb|\.incomplete|\.uploading"
    r"|\._copying_|\.copying"
    r"|\.(?:inprogress|in-progress|pending)(?:[._-][\w-]+)?)$",
    re.IGNORECASE,
)
# What is put beside data and holds no row; by Spark, Databricks, Hadoop, Parquet's writers, and desktops.
_MARK: Final = re.compile(
    r"(?:^|/)(?:_SUCCESS|_(?:started|committed)_[^/]*|_(?:common_)?metadata|[^/]*\.crc|\.DS_Store|Thumbs\.db|desktop\.ini)$"
)


@dataclass(frozen=True)
class TableFormat:
    """A format whose log says which files of a folder hold the rows of a table."""

    name: str
    # Where the log lies below the table, and what a name in it looks like.
    log: str
    mark: re.Pattern[str]
    # How Spark reads the rows that are there now.
    reader: str


def _format(name: str, log: str, reader: str, mark: str = "") -> TableFormat:
    return TableFormat(name, log, re.compile(rf"(?s:(?P<table>.*)/)?{mark or re.escape(log)}"), reader)


TABLE_FORMATS: Final = (
    _format("a Delta table", "_delta_log/", 'format("delta").load'),
    _format("a Hudi table", ".hoodie/", 'format("hudi").load', r"\.hoodie(?:/|_partition_metadata$)"),
    _format("an Iceberg table", "metadata/", 'format("iceberg").load', r"metadata/[^/]*\.metadata\.json(?:\.gz)?$"),
    _format("a Paimon table", "snapshot/", 'format("paimon").load', r"snapshot/(?:LATEST|EARLIEST|snapshot-\d+)$"),
    _format("the output of a Spark stream", "_spark_metadata/", "parquet"),
)


def left_out(name: str) -> LeftOut | None:
    """Why the object is not input whatever it holds; None if its name, or its first bytes, say that it is.

    `name` is below the input's folder. As in Spark a segment that begins with `_` is hidden, unless it is a partition:
    `_day=2026-11-21`.
    """
    *folders, last = name.split("/")
    if any(_is_hidden(segment) for segment in (*folders, last)):
        return LeftOut.HIDDEN
    # The value of a partition is data.
    if any(_is_copy(folder) for folder in folders if "=" not in folder):
        return LeftOut.COPY
    is_copy = _is_copy(last) or (_AFTER_PARQUET.search(last) is not None)
    return LeftOut.COPY if is_copy and not is_named_parquet(last) else None


def is_named_parquet(name: str) -> bool:
    """Whether the name says Parquet: then the object is input, or bad input, whatever its bytes are."""
    return name.lower().endswith(PARQUET_NAMES)


def may_be_parquet(name: str) -> bool:
    """Whether the name leaves it open that the object is Parquet, for one whose bytes cannot be seen.

    An ending that nobody gives to Parquet files closes it: `note.txt`.
    """
    last = name.rpartition("/")[2]
    return re.search(rf"^[^.]*$|\.(?:{CODECS})$|parquet|\.(?:pq|parq)\b", last, re.IGNORECASE) is not None


def is_mark(name: str, size: int) -> bool:
    """Whether the object can hold no row: a night that has no others is empty."""
    return size == 0 or _is_marks_name(name)


def table_of(name: str) -> tuple[TableFormat, str] | None:
    """The format whose log the object belongs to, and the table's folder (ends in a slash, or nothing); else None."""
    for table_format in TABLE_FORMATS:
        found = table_format.mark.match(name)
        if found:
            return table_format, f"{found['table']}/" if found["table"] else ""
    return None


def is_partition(segment: str) -> bool:
    """Whether such a folder may lie inside of a table: `dt=2026-11-21`, `2026-11-21`, `21`, or Iceberg's `data`."""
    return segment == "data" or re.fullmatch(r"[^=]+=.*|[\d-]+", segment) is not None


def left_out_text(ignored: Mapping[str, str]) -> str:
    """How many objects were left out, by reason, with the first name of each that is no mark, if there is one."""
    by_reason = {reason: [name for name, rule in ignored.items() if rule == reason] for reason in LeftOut}
    first = {
        rule: min(names, key=lambda name: (_is_marks_name(name), name)) for rule, names in by_reason.items() if names
    }
    return "; ".join(f"{len(by_reason[rule]):,} as {WORDS[rule]}, first {name}" for rule, name in first.items())


def _is_marks_name(name: str) -> bool:
    return _MARK.search(name) is not None


def _is_hidden(segment: str) -> bool:
    return segment.startswith(".") or (segment.startswith("_") and "=" not in segment)


def _is_copy(segment: str) -> bool:
    """Whether the ending is that of a copy, or the whole name: Kafka Connect's folder, Office's, Emacs's files."""
    return _COPY.search(segment) is not None or re.fullmatch(r"\+tmp|~\$.*|#.*#", segment) is not None
