"""A pin of an object that a test has just put, and a Parquet file of three row groups to put."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer import storage


def pinned(folder: storage.Folder, name: str) -> storage.ObjectPin:
    pin = folder.stat(name)
    assert pin is not None
    return pin


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"number": range(3000)}), sink, row_group_size=1000)
    return sink.getvalue()
