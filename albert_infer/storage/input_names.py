"""Decides by names which objects of a folder are input, and which names belong to the log of a table format.

No object is opened here. `docs/reference/inputs.md` has the rules for users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LeftOut(StrEnum):
    """Why an object is not input. The list is closed: readers may switch on the values."""

    NOT_PARQUET = "not_parquet"
    # A copy of another file, or a file that is still being written.
    COPY = "copy"
    HIDDEN = "hidden"


WORDS: Final = {
    LeftOut.NOT_PARQUET: "not Parquet",
    LeftOut.COPY: "a copy or half-written",
    LeftOut.HIDDEN: "hidden",
}
PARQUET_NAMES: Final = (".parquet", ".pq", ".parq")
# `df.to_parquet("df.parquet.gzip")` writes a Parquet file. A file compressed as a whole has other first bytes.
CODECS: Final = "gz|gzip|snappy|zst|zstd|lz4|lzo|br|brotli|bz2|zlib|none|uncompressed"
# Tools that copy, download or rename files add text after `.parquet`: `a.parquet.1`, `a.parquet.6eF7c4Bd`.
_AFTER_PARQUET: Final = re.compile(rf"\.(?:parquet|pq|parq)\.(?!(?:{CODECS})$)[^/]*$", re.IGNORECASE)
# The endings of editors and people; any tool; browsers; download tools; Hadoop; Flink and others, in this order.
_COPY: Final = re.compile(
    r"(?:~|\.bak|\.backup|\.old|\.orig|\.save|\.sw[opx]"
    r"|\.(?:tmp|temp)(?:[._-][\w-]+)?|_\.gstmp|\.gstmp"
    r"|\.crdownload|\.opdownload|\.download|\.part|\.partial"
    r"|\.filepart|\.aria2|\.part\.minio|\.!ut|\.!qb|\.incomplete|\.uploading"
    r"|\._copying_|\.copying"
    r"|\.(?:inprogress|in-progress|pending)(?:[._-][\w-]+)?)$",
    re.IGNORECASE,
)
# Files without rows that Spark, Databricks, Hadoop, Parquet's writers and desktops put next to data.
_MARK: Final = re.compile(
    r"(?:^|/)(?:_SUCCESS|_(?:started|committed)_[^/]*|_(?:common_)?metadata|[^/]*\.crc|\.DS_Store|Thumbs\.db|desktop\.ini)$"
)


@dataclass(frozen=True)
class TableFormat:
    """A table format; its log lists the files of a folder that hold the rows of the table."""

    name: str
    # The folder of the log below the table, and the pattern of names in it.
    log: str
    mark: re.Pattern[str]
    # The Spark reader of the current rows.
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
    """The reason why an object with this name is never input; None if the name or the first bytes decide.

    `name` is relative to the input's folder. As in Spark, a segment that begins with `_` is hidden unless it is a
    partition: `_day=2026-11-21`.
    """
    *folders, last = name.split("/")
    if any(_is_hidden(segment) for segment in (*folders, last)):
        return LeftOut.HIDDEN
    # The value of a partition is data, so it is not checked.
    if any(_is_copy(folder) for folder in folders if "=" not in folder):
        return LeftOut.COPY
    is_copy = _is_copy(last) or (_AFTER_PARQUET.search(last) is not None)
    return LeftOut.COPY if is_copy and not is_named_parquet(last) else None


def is_named_parquet(name: str) -> bool:
    """Whether the name has an ending of Parquet: then the object is input, valid or bad."""
    return name.lower().endswith(PARQUET_NAMES)


def may_be_parquet(name: str) -> bool:
    """Whether an object with this name may be Parquet, if its bytes cannot be read; not for `note.txt`."""
    last = name.rpartition("/")[2]
    return re.search(rf"^[^.]*$|\.(?:{CODECS})$|parquet|\.(?:pq|parq)\b", last, re.IGNORECASE) is not None


def is_mark(name: str, size: int) -> bool:
    """Whether the object cannot hold rows; a night with only such objects is empty."""
    return size == 0 or _is_marks_name(name)


def table_of(name: str) -> tuple[TableFormat, str] | None:
    """The table format to whose log the object belongs, and the table's folder ("" or ending in a slash); else None."""
    for table_format in TABLE_FORMATS:
        match = table_format.mark.match(name)
        if match:
            return table_format, f"{match['table']}/" if match["table"] else ""
    return None


def is_partition(segment: str) -> bool:
    """Whether the folder may be part of a table: `dt=2026-11-21`, `2026-11-21`, `21`, or Iceberg's `data`."""
    return segment == "data" or re.fullmatch(r"[^=]+=.*|[\d-]+", segment) is not None


def left_out_text(ignored: Mapping[str, str]) -> str:
    """Describe the ignored objects: their number for each reason, with the first name (marks only if all are marks)."""
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
    """Whether the segment has the ending of a copy, or a name of Kafka Connect, Office or Emacs."""
    return _COPY.search(segment) is not None or re.fullmatch(r"\+tmp|~\$.*|#.*#", segment) is not None
