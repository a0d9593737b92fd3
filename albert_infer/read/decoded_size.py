"""Limits how much of a file is decoded at a time: the number of rows, and the bytes of their texts.

A few hundred bytes of dictionary can expand to gigabytes of text. Decodes only the first row of each row group.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from albert_infer.read.footers import RowRange, UnreadableError
from albert_infer.schema import Quarantine

# Rows decoded at a time, as dictionaries: some megabytes of text.
DECODE_ROWS: Final = 16_384
# Rows decoded at a time if a text of unknown length may expand: 64 texts of 4 MB are the limit of a unit.
PLAIN_DECODE_ROWS: Final = 64
# Rows decoded at a time if all dictionaries are known. Texts of a page without a dictionary have their full length in
# the file. 256 texts of 1 MiB, the longest that are labelled, are the limit of a unit.
PEEKED_DECODE_ROWS: Final = 256
# The most bytes of a text column that are decoded at a time, if each text is as long as the longest in the dictionary.
MAX_PLAIN_BYTES: Final = 16 << 20
# 256 MiB, the memory that a read task reserves in Ray: 16 kB for each of 16,384 rows, a hundred times a normal pair.
MAX_DECODED_BYTES: Final = 256 << 20
# Enough for the first page of most columns.
PEEK_BYTES: Final = 1 << 14


def rows_at_a_time(file: Any, metadata: pq.FileMetaData, groups: list[int], texts: list[str]) -> int:
    """The number of rows that may be decoded as plain texts at a time: few if a dictionary has a long text."""
    peeking = {"pre_buffer": False, "buffer_size": PEEK_BYTES, "arrow_extensions_enabled": False}
    parquet = pq.ParquetFile(file, metadata=metadata, read_dictionary=texts, **peeking)
    longest, at_a_time = 1, PEEKED_DECODE_ROWS
    for group, name in product(groups, texts):
        try:
            # The first row comes with the whole dictionary.
            first = next(parquet.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
        except (pa.ArrowException, OSError):
            at_a_time = PLAIN_DECODE_ROWS  # no dictionary, or a bad page: decoding then raises the error
            continue
        if first is not None and pa.types.is_dictionary(first.column(0).type):
            lengths = pc.binary_length(_without_view(first.column(0).dictionary))
            longest = max(longest, pc.max(lengths).as_py() or 0)
    return min(max(MAX_PLAIN_BYTES // longest, 1), at_a_time)


def is_flat_text(kind: Any) -> bool:
    """Whether the values are texts or bytes, and not nested."""
    return _is_flat_bytes(kind) or isinstance(kind, pa.JsonType)


def _is_flat_bytes(kind: Any) -> bool:
    types = pa.types
    checks = (types.is_string, types.is_large_string, types.is_string_view)
    return any(check(kind) for check in (*checks, types.is_binary, types.is_large_binary, types.is_binary_view))


def within_limit(batches: Iterator[pa.RecordBatch], rows: RowRange) -> Iterator[pa.RecordBatch]:
    """The batches of a unit. Raises UnreadableError once they decode to more than MAX_DECODED_BYTES of text."""
    decoded_bytes = 0
    for batch in batches:
        decoded_bytes += sum(_decoded_bytes(column) for column in batch.columns)
        if decoded_bytes > MAX_DECODED_BYTES:
            size = f"its {rows.rows} rows hold more than {MAX_DECODED_BYTES} bytes of text"
            raise UnreadableError(Quarantine.LIMIT_DECODED_BYTES, f"{size}; lower --unit-rows if they are meant")
        yield batch


def _decoded_bytes(column: pa.Array) -> int:
    """The bytes of all values of the column, without a dictionary."""
    column = column.storage if isinstance(column.type, pa.JsonType) else column
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        return int(len(column) * kind.byte_width)
    if pa.types.is_dictionary(kind) and _is_flat_bytes(kind.value_type):
        lengths = pc.binary_length(_without_view(column.dictionary))
        return pc.sum(lengths.take(column.indices)).as_py() or 0
    if _is_flat_bytes(kind):
        return pc.sum(pc.binary_length(_without_view(column))).as_py() or 0
    return 0


def _without_view(column: pa.Array) -> pa.Array:
    is_view = pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type)
    return column.cast(pa.large_binary()) if is_view else column
