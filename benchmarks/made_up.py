"""A folder of Parquet files that exist only as footers: what planning reads of a night too large to be stored here.

Every file has the same few bytes, and they are real Parquet: the job's own code reads its columns and rows from them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.schema import HYPOTHESIS, PAIR_ID, PREMISE
from albert_infer.storage import Folder, InputObjects, ObjectPin

URI: Final = "s3://made-up/pairs"


@dataclass(frozen=True)
class MadeUpFolder:
    """What planning needs of a `storage.Folder`: names and pinned reads. Every object holds `parquet`."""

    parquet: bytes
    uri: str = URI

    def uri_of(self, name: str) -> str:
        """As on S3."""
        return f"{self.uri}/{name}"

    def open_pinned(self, pin: ObjectPin) -> io.BytesIO:
        """The same file for every pin."""
        return io.BytesIO(self.parquet)


def input_of(files: int, rows_per_file: int) -> InputObjects:
    """`files` made-up files of `rows_per_file` rows each, named and pinned as S3 would list them."""
    parquet = _parquet(rows_per_file)
    folder = MadeUpFolder(parquet)
    pins = tuple(
        ObjectPin(f"dt=2026-11-21/part-{number:06d}.parquet", len(parquet), f"{number:032x}") for number in range(files)
    )
    # Planning asks nothing else of a folder.
    return InputObjects(folder.uri, cast("Folder", folder), pins)


def _parquet(rows: int) -> bytes:
    sink = io.BytesIO()
    texts = pa.repeat("text", rows)
    pq.write_table(pa.table({PAIR_ID: pa.repeat(0, rows), PREMISE: texts, HYPOTHESIS: texts}), sink)
    return sink.getvalue()
