"""Decodes the rows of a unit from Parquet, with the package's column names, and within a unit's memory limit.

A unit that cannot be decoded raises UnreadableError with a `Quarantine`. Errors of the store are raised as they are.
Decodes no column that the run does not need.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from albert_infer.common.column_values import converted
from albert_infer.errors import ObjectChangedError
from albert_infer.read.decoded_size import DECODE_ROWS, PEEK_BYTES, is_flat_text, rows_at_a_time, within_limit
from albert_infer.read.footers import RowRange, UnreadableError, clean, redacted
from albert_infer.read.int96 import READ_OPTIONS, column_that_loses_digits, int96_columns
from albert_infer.schema import PAIR_ID, PairColumns, Quarantine
from albert_infer.storage import Folder, ObjectPin

# The read buffer of a column, for a row group that has several units. Memory does not grow with the row group.
READ_BYTES: Final = 1 << 20
# The read buffers of all columns together.
MAX_READ_BYTES: Final = 64 << 20


def read_pairs(folder: Folder, pin: ObjectPin, rows: RowRange, columns: PairColumns) -> pa.Table:
    """The rows of one unit, from `PairReader.read`."""
    reader = PairReader(folder, columns)
    try:
        return reader.read(pin, rows)
    finally:
        reader.close()


@lru_cache(maxsize=2)
def cached_reader(folder: Folder, columns: PairColumns) -> PairReader:
    """The reader of this process for one input. The next unit is mostly the next one in the same row group.

    Caches two readers, because an evaluation may read two gold sets in turn.
    """
    return PairReader(folder, columns)


class PairReader:
    """Reads units of one input, in any order. The order of the file is fastest.

    Consecutive units of a row group are decoded as one stream, which stays open between them.
    """

    def __init__(self, folder: Folder, columns: PairColumns) -> None:
        self._folder = folder
        self.columns = columns
        # The names in the input, with the fields of the result. A text column that is carried, too, occurs twice.
        self._fields = list(zip(columns.input_names, columns.pair_fields, strict=True))
        self._stream: _Stream | None = None
        # The file whose texts cannot be decoded as dictionaries.
        self._plain_pin: ObjectPin | None = None

    def read(self, pin: ObjectPin, rows: RowRange) -> pa.Table:
        """The rows of one unit, in the order of the file. The columns are `columns.pair_fields`.

        Raises UnreadableError if pages cannot be decoded, if the number of rows differs from the footer, if the texts
        have more than MAX_DECODED_BYTES, or if a value does not fit the column's type in the run.

        A few hundred bytes of dictionary can expand to gigabytes over thousands of rows. So texts are decoded as
        dictionaries, which stay small, and are converted to texts after their lengths are summed. If Arrow cannot do
        this (delta-coded texts), or the dictionary is that of a huge row group, only a few rows are decoded at a time.
        Other data that expands (a page header that claims gigabytes, nested carried columns) may kill the worker. A
        unit that kills several workers is quarantined as poison.
        """
        try:
            pairs = self._read(pin, rows)
        except UnreadableError as error:
            if error.reason != Quarantine.BAD_PAGE or self._plain_pin == pin:
                raise
            # Tries again without dictionaries, for any error of Arrow: a damaged page fails again.
            self._plain_pin = pin
            pairs = self._read(pin, rows)
        if pairs.num_rows != rows.rows:
            detail = f"{pairs.num_rows} rows where the footer says {rows.rows}"
            raise UnreadableError(Quarantine.ROW_COUNT, detail)
        return pairs

    def close(self) -> None:
        """Close the file. Raises ObjectChangedError if the object changed while it was open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.file.close()

    def _read(self, pin: ObjectPin, rows: RowRange) -> pa.Table:
        stays_open = False
        try:
            stream = self._stream_at(pin, rows)
            batches = [_with_run_fields(batch, self._fields) for batch in within_limit(stream.take(rows), rows)]
            stays_open = stream.has_rows_left and self._folder.stat(pin.name) == pin
        except MemoryError:
            raise  # a problem of this machine, not of the file
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(Quarantine.BAD_PAGE, redacted(error)) from error
        finally:
            if not stays_open:
                self.close()
        return pa.Table.from_batches(batches, schema=pa.schema([field for _, field in self._fields]))

    def _stream_at(self, pin: ObjectPin, rows: RowRange) -> _Stream:
        """The open stream if these rows come later in it, else a new stream from the start of their row groups."""
        stream, is_plain = self._stream, self._plain_pin == pin
        if stream is None or not stream.reaches(pin, rows, is_plain=is_plain):
            self.close()
            self._stream = stream = _opened(self._folder, pin, rows, self.columns, is_plain=is_plain)
        return stream


@dataclass
class _Stream:
    """The decoded rows of one row group, or of several row groups that are one unit."""

    pin: ObjectPin
    file: Any
    first_group: int
    rows: int
    is_plain: bool
    batches: Iterator[pa.RecordBatch]
    # The number of rows that are taken already.
    begin: int = 0
    # Rows that are decoded, but not taken yet.
    rest: pa.RecordBatch | None = None

    @property
    def has_rows_left(self) -> bool:
        """Whether there are rows for another unit."""
        return self.begin < self.rows

    def reaches(self, pin: ObjectPin, rows: RowRange, *, is_plain: bool) -> bool:
        """Whether the rows come later in this stream."""
        is_same = (self.pin, self.first_group, self.is_plain) == (pin, rows.first_group, is_plain)
        return is_same and rows.first_group == rows.last_group and self.begin <= rows.skip

    def take(self, rows: RowRange) -> Iterator[pa.RecordBatch]:
        """Yield the unit's rows in batches. Decodes no more than needed, even in a huge row group."""
        stop = rows.skip + rows.rows
        while self.begin < stop:
            batch = self.rest if self.rest is not None else next(self.batches, None)
            self.rest = None
            if batch is None:
                return
            first, last = max(rows.skip - self.begin, 0), min(stop - self.begin, batch.num_rows)
            if last < batch.num_rows:
                self.rest = batch.slice(last)
            self.begin += last
            if first < last:
                yield batch.slice(first, last - first)


def _opened(folder: Folder, pin: ObjectPin, rows: RowRange, columns: PairColumns, *, is_plain: bool) -> _Stream:
    groups = list(range(rows.first_group, rows.last_group + 1))
    file = folder.open_pinned(pin)
    try:
        metadata = pq.read_metadata(file)
        group_rows = sum(metadata.row_group(group).num_rows for group in groups)
        types = _types(metadata)
        names = [name for name in dict.fromkeys(columns.input_names) if name in types]
        texts = [name for name in names if is_flat_text(types[name])]
        is_part = rows.rows < group_rows
        options: dict[str, object] = {"pre_buffer": True}
        if is_part:
            options = {
                "pre_buffer": False,
                "buffer_size": max(min(READ_BYTES, MAX_READ_BYTES // len(columns.input_names)), PEEK_BYTES),
            }
        # A huge row group is decoded without dictionaries, because its dictionary grows with each text, and lookups get
        # slower. So is JSON, which Arrow cannot decode as a dictionary.
        if is_part or is_plain or any(isinstance(types[name], pa.JsonType) for name in names):
            at_a_time = rows_at_a_time(file, metadata, groups, texts)
        else:
            at_a_time, options = DECODE_ROWS, {**options, "read_dictionary": texts}
        parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True, **options, **READ_OPTIONS)
        batches = parquet.iter_batches(at_a_time, row_groups=groups, columns=names, use_threads=False)
        if old_times := int96_columns(metadata, names):
            exact = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True, **options)
            batches = _exact(
                batches, exact.iter_batches(at_a_time, row_groups=groups, columns=old_times, use_threads=False)
            )
    except BaseException:
        file.close()
        raise
    stream = _Stream(pin, file, rows.first_group, group_rows, is_plain, batches)
    # Closes the file of a reader that is never closed: a process caches its reader for a next unit.
    weakref.finalize(stream, _close, file)
    return stream


def _exact(batches: Iterator[pa.RecordBatch], exact: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches. Raises UnreadableError for a time that has digits below a microsecond."""
    for batch, nanoseconds in zip(batches, exact, strict=True):
        if (name := column_that_loses_digits(batch, nanoseconds)) is not None:
            detail = f"column `{name}` is INT96 and holds digits below a microsecond; do not carry it"
            raise UnreadableError(Quarantine.CARRIED_VALUE, clean(detail))
        yield batch


def _close(file: Any) -> None:
    with suppress(ObjectChangedError):  # no unit needs this object any more
        file.close()


def _types(metadata: pq.FileMetaData) -> dict[str, pa.DataType]:
    """The types of the columns in Parquet's schema, without the Arrow schema that a writer may store."""
    schema = metadata.schema.to_arrow_schema()
    return dict(zip(schema.names, schema.types, strict=True))


def _with_run_fields(batch: pa.RecordBatch, fields: list[tuple[str, pa.Field]]) -> pa.RecordBatch:
    """The batch with the fields of the run. `fields` are pairs of an input name and a field.

    Raises UnreadableError for a value that does not fit the type of its field.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    nulls, plain = pa.nulls(batch.num_rows), []
    for name, field in fields:
        column = columns.get(name, nulls)
        try:
            plain.append((_ids if field.name == PAIR_ID else converted)(column, field.type))
        except pa.ArrowInvalid as error:
            # Without Arrow's own message, which quotes the value.
            is_id = field.name == PAIR_ID
            wanted = f"{field.type}, its type in the run"
            if is_id and pa.types.is_floating(column.type):
                wanted = "whole number of 64 bits, as ids are"
            what = f"column `{name}` is {column.type} and holds a value that is no {wanted}"
            remedy = "--id-column none labels without ids" if is_id else "do not carry it, or mend the file"
            reason = Quarantine.SCHEMA_ID if is_id else Quarantine.CARRIED_VALUE
            raise UnreadableError(reason, clean(f"{what}; {remedy}")) from error
    return pa.RecordBatch.from_arrays(plain, schema=pa.schema([field for _, field in fields]))


def _ids(column: pa.Array, kind: Any) -> pa.Array:
    """The ids as texts or integers. Raises ArrowInvalid for a float that is not a whole number of 64 bits."""
    if isinstance(column.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], kind)
    if pa.types.is_floating(column.type):
        # pandas writes a missing integer as NaN.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column).cast(pa.int64())
    return column.cast(kind) if pa.types.is_decimal(column.type) else converted(column, kind)
