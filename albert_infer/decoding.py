"""Parquet in: the rows of one unit, under our names, without ever holding more than a unit may have.

A unit that cannot be decoded is told as a `Quarantine`, never raised; trouble with the store is raised, never told.
Only the columns that were asked for are ever decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from albert_infer.reading import RowRange, UnreadableError, told
from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import Folder, ObjectPin

# Rows decoded at a time: some megabytes of text.
DECODE_ROWS: Final = 16_384
# 256 MiB, what a read task asks Ray for; 16 kB of text for each of 16,384 rows, a hundred times what a pair has.
MAX_DECODED_BYTES: Final = 256 << 20


def read_pairs(folder: Folder, pin: ObjectPin, rows: RowRange, columns: PairColumns) -> pa.Table:
    """The rows of one unit, columns as `columns.pair_fields`, in the order of the file.

    Raises UnreadableError if the pages cannot be decoded, hold another number of rows than the footer says, or decode
    to more than MAX_DECODED_BYTES of text.

    A few hundred bytes of dictionary, times thousands of rows, can stand for gigabytes. So texts are decoded as
    dictionaries, which Arrow keeps as small as they are, and become texts once their lengths are added up. What may
    expand otherwise (delta-coded strings, one page with a header that claims gigabytes, nested carried columns) kills
    its worker, and a unit that does so again and again is quarantined as poison.
    """
    groups = list(range(rows.first_group, rows.last_group + 1))
    with folder.open_pinned(pin) as file:
        try:
            parquet = pq.ParquetFile(
                file, page_checksum_verification=True, pre_buffer=True, read_dictionary=_text_names(columns)
            )
            kept = list(_rows_of(parquet, groups, rows, columns))
        except MemoryError:
            raise  # this machine's trouble, not the file's
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(Quarantine.BAD_PAGE, told(error)) from error
    pairs = pa.Table.from_batches(kept, schema=pa.schema(columns.pair_fields))
    if pairs.num_rows != rows.rows:
        found = f"{pairs.num_rows} rows where the footer says {rows.rows}"
        raise UnreadableError(Quarantine.ROW_COUNT, found)
    return pairs


def _text_names(columns: PairColumns) -> list[str]:
    """The input columns to decode as dictionaries; a carried dictionary comes as one anyway."""
    fields = zip(columns.input_names, columns.pair_fields, strict=True)
    return [name for name, field in fields if _is_flat_bytes(field.type)]


def _is_flat_bytes(kind: Any) -> bool:
    types = pa.types
    checks = (types.is_string, types.is_large_string, types.is_string_view)
    return any(check(kind) for check in (*checks, types.is_binary, types.is_large_binary, types.is_binary_view))


def _rows_of(
    parquet: pq.ParquetFile, groups: list[int], rows: RowRange, columns: PairColumns
) -> Iterator[pa.RecordBatch]:
    """Decode batch by batch: a huge row group is never in memory as a whole, and not decoded beyond the range."""
    begin = decoded_bytes = 0
    batches = parquet.iter_batches(DECODE_ROWS, row_groups=groups, columns=columns.input_names, use_threads=False)
    for batch in batches:
        first, last = max(rows.skip - begin, 0), rows.skip + rows.rows - begin
        begin += batch.num_rows
        if first < batch.num_rows:
            kept = batch.select(columns.input_names).slice(first, last - first)
            decoded_bytes += sum(_decoded_bytes(column) for column in kept.columns)
            if decoded_bytes > MAX_DECODED_BYTES:
                found = f"its {rows.rows} rows hold more than {MAX_DECODED_BYTES} bytes of text"
                raise UnreadableError(Quarantine.LIMIT_DECODED_BYTES, f"{found}; lower --unit-rows if they are meant")
            yield _under_our_names(kept, columns)
        if begin >= rows.skip + rows.rows:
            break


def _decoded_bytes(column: pa.Array) -> int:
    """The bytes that the column's values take one by one."""
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        return int(len(column) * kind.byte_width)
    if pa.types.is_dictionary(kind) and _is_flat_bytes(kind.value_type):
        return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    return 0


def _under_our_names(batch: pa.RecordBatch, columns: PairColumns) -> pa.RecordBatch:
    fields = columns.pair_fields
    plain = [_cast(column, field.type) for column, field in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(plain, schema=pa.schema(fields))


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    return column if column.type.equals(kind) else column.cast(kind)
