"""Parquet files that are damaged, lie, or mean harm: made from good ones by changing what a writer would not write."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Parquet's own numbers.
LZO = 3
NO_SUCH_CODEC = 33


def claim_rows(path: Path, claimed: int) -> Path:
    """Make the footer tell of so many rows, everywhere; the pages stay as they are. One row group, an odd count."""
    rows = pq.read_metadata(path).num_rows
    # An i64 field whose number is one more than that of the field before it: file, row group and column chunk.
    return _patch_footer(path, b"\x16" + _varint(rows), b"\x16" + _varint(claimed))


def claim_codec(path: Path, column: str, codec: int) -> Path:
    """Make the footer tell of another codec for a column that is written with Snappy."""
    # The path of the column, a list of one string, and the codec that follows it, an i32.
    before = b"\x19\x18" + bytes([len(column)]) + column.encode() + b"\x15"
    return _patch_footer(path, before + _varint(1), before + _varint(codec))


def write_dictionary_bomb(path: Path, rows: int, text_bytes: int = 20_000_000) -> Path:
    """Some hundred bytes that stand for `rows` premises of `text_bytes` each."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * text_bytes]))
    pairs = pa.table({"pair_id": ["1"] * rows, "premise": texts, "hypothesis": ["w1"] * rows})
    whole = {"dictionary_pagesize_limit": 1 << 30, "data_page_size": 1 << 30, "row_group_size": rows}
    pq.write_table(pairs, path, compression="brotli", write_statistics=False, store_schema=False, **whole)
    return path


class _MakesMarker:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (str(self._marker), 0o777, True)


def pickled_objects(marker: Path, rows: int) -> pa.ExtensionArray:
    """Ray's column of Python objects; whoever looks at a value makes the folder `marker`."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    payload = pa.array([pickle.dumps(_MakesMarker(marker))] * rows, pa.large_binary())
    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), payload)


def _varint(number: int) -> bytes:
    """Thrift's compact form of a signed integer that is not negative."""
    number <<= 1
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _patch_footer(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = data[begin:-8]
    assert old in footer
    footer = footer.replace(old, new)
    path.write_bytes(data[:begin] + footer + len(footer).to_bytes(4, "little") + data[-4:])
    return path
