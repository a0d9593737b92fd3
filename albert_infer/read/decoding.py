"""Parquet in: the rows of one unit, under our names, without ever holding more than a unit may have.

A unit that cannot be decoded is told as a `Quarantine`, never raised; trouble with the store is raised, never told.
Only the columns that were asked for are ever decoded.
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
from albert_infer.read.footers import RowRange, UnreadableError, clean, told
from albert_infer.read.int96 import READ_OPTIONS, column_that_loses_digits, int96_columns
from albert_infer.schema import PAIR_ID, PairColumns, Quarantine
from albert_infer.storage import Folder, ObjectPin

# Of each column of a row group that several units come from, 1 MiB is held at a time, however large the group.
READ_BYTES: Final = 1 << 20
# The same of all columns together, where there are many.
MAX_READ_BYTES: Final = 64 << 20


def read_pairs(folder: Folder, pin: ObjectPin, rows: RowRange, columns: PairColumns) -> pa.Table:
    """The rows of one unit, as `PairReader.read` gives them."""
    reader = PairReader(folder, columns)
    try:
        return reader.read(pin, rows)
    finally:
        reader.close()


@lru_cache(maxsize=2)
def cached_reader(folder: Folder, columns: PairColumns) -> PairReader:
    """The reader of this process for one input: its next unit is mostly one further on in the same row group.

    Two are kept, because an evaluation may compare two gold sets slice by slice.
    """
    return PairReader(folder, columns)


class PairReader:
    """Reads units of one input, in any order; fastest in that of the file.

    Units that follow each other in one row group are decoded as one stream, which stays open between them.
    """

    def __init__(self, folder: Folder, columns: PairColumns) -> None:
        self._folder = folder
        self.columns = columns
        # By the input's names, of which one may be carried that is a text, too.
        self._fields = list(zip(columns.input_names, columns.pair_fields, strict=True))
        self._stream: _Stream | None = None
        # The file whose texts do not come as dictionaries.
        self._plain_pin: ObjectPin | None = None

    def read(self, pin: ObjectPin, rows: RowRange) -> pa.Table:
        """The rows of one unit, columns as `columns.pair_fields`, in the order of the file.

        Raises UnreadableError if the pages cannot be decoded, hold another number of rows than the footer says, decode
        to more than MAX_DECODED_BYTES of text, or hold a value that the column's type in the run cannot.

        A few hundred bytes of dictionary, times thousands of rows, can stand for gigabytes. So texts are decoded as
        dictionaries, which Arrow keeps as small as they are, and become texts once their lengths are added up. Where
        Arrow cannot (delta-coded texts), or the dictionary would be that of a huge row group, a few rows are decoded at
        a time. What may expand otherwise (one page with a header that claims gigabytes, nested carried columns) kills
        its worker, and a unit that does so again and again is quarantined as poison.
        """
        try:
            pairs = self._read(pin, rows)
        except UnreadableError as error:
            if error.reason != Quarantine.BAD_PAGE or self._plain_pin == pin:
                raise
            # Not told apart by what Arrow says: a page that is damaged is so either way.
            self._plain_pin = pin
            pairs = self._read(pin, rows)
        if pairs.num_rows != rows.rows:
            found = f"{pairs.num_rows} rows where the footer says {rows.rows}"
            raise UnreadableError(Quarantine.ROW_COUNT, found)
        return pairs

    def close(self) -> None:
        """Let go of the file. Raises ObjectChangedError if it changed meanwhile."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.file.close()

    def _read(self, pin: ObjectPin, rows: RowRange) -> pa.Table:
        is_whole = False
        try:
            stream = self._stream_at(pin, rows)
            kept = [_under_our_names(batch, self._fields) for batch in within_limit(stream.take(rows), rows)]
            is_whole = stream.goes_on and self._folder.stat(pin.name) == pin
        except MemoryError:
            raise  # this machine's trouble, not the file's
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(Quarantine.BAD_PAGE, told(error)) from error
        finally:
            if not is_whole:
                self.close()
        return pa.Table.from_batches(kept, schema=pa.schema([field for _, field in self._fields]))

    def _stream_at(self, pin: ObjectPin, rows: RowRange) -> _Stream:
        """The open stream if the rows are ahead of it, else a new one, from the beginning of their row groups."""
        stream, is_plain = self._stream, self._plain_pin == pin
        if stream is None or not stream.leads_to(pin, rows, is_plain=is_plain):
            self.close()
            self._stream = stream = _opened(self._folder, pin, rows, self.columns, is_plain=is_plain)
        return stream


@dataclass
class _Stream:
    """The rows of one row group, or of several that are one unit, as they are decoded."""

    pin: ObjectPin
    file: Any
    first_group: int
    rows: int
    is_plain: bool
    batches: Iterator[pa.RecordBatch]
    # Rows of the groups before `rest`, which is decoded and not taken yet.
    begin: int = 0
    rest: pa.RecordBatch | None = None

    @property
    def goes_on(self) -> bool:
        """Whether rows are left that another unit may ask for."""
        return self.begin < self.rows

    def leads_to(self, pin: ObjectPin, rows: RowRange, *, is_plain: bool) -> bool:
        """Whether the rows are in what is still to come."""
        is_same = (self.pin, self.first_group, self.is_plain) == (pin, rows.first_group, is_plain)
        return is_same and rows.first_group == rows.last_group and self.begin <= rows.skip

    def take(self, rows: RowRange) -> Iterator[pa.RecordBatch]:
        """The unit's rows, batch by batch: never the whole of a huge row group, and nothing behind the unit."""
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
        held = sum(metadata.row_group(group).num_rows for group in groups)
        there = _types(metadata)
        names = [name for name in dict.fromkeys(columns.input_names) if name in there]
        texts = [name for name in names if is_flat_text(there[name])]
        is_part = rows.rows < held
        how: dict[str, object] = {"pre_buffer": True}
        if is_part:
            how = {
                "pre_buffer": False,
                "buffer_size": max(min(READ_BYTES, MAX_READ_BYTES // len(columns.input_names)), PEEK_BYTES),
            }
        # Plain, too, from a huge row group: a dictionary grows with each of its texts, and so does the time to look one
        # up. And JSON, which Arrow gives as no dictionary.
        if is_part or is_plain or any(isinstance(there[name], pa.JsonType) for name in names):
            at_a_time = rows_at_a_time(file, metadata, groups, texts)
        else:
            at_a_time, how = DECODE_ROWS, {**how, "read_dictionary": texts}
        parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True, **how, **READ_OPTIONS)
        batches = parquet.iter_batches(at_a_time, row_groups=groups, columns=names, use_threads=False)
        if old_times := int96_columns(metadata, names):
            exact = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True, **how)
            batches = _exact(
                batches, exact.iter_batches(at_a_time, row_groups=groups, columns=old_times, use_threads=False)
            )
    except BaseException:
        file.close()
        raise
    stream = _Stream(pin, file, rows.first_group, held, is_plain, batches)
    # Of a reader that is not closed: a process keeps one for the next unit, and there may be none.
    weakref.finalize(stream, _let_go, file)
    return stream


def _exact(batches: Iterator[pa.RecordBatch], exact: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, as long as microseconds hold all their times. Raises UnreadableError."""
    for batch, nanoseconds in zip(batches, exact, strict=True):
        if (name := column_that_loses_digits(batch, nanoseconds)) is not None:
            found = f"column `{name}` is INT96 and holds digits below a microsecond; do not carry it"
            raise UnreadableError(Quarantine.CARRIED_VALUE, clean(found))
        yield batch


def _let_go(file: Any) -> None:
    with suppress(ObjectChangedError):  # of no unit's concern any more
        file.close()


def _types(metadata: pq.FileMetaData) -> dict[str, pa.DataType]:
    """The columns and types as Parquet has them, whatever Arrow's own notes say."""
    schema = metadata.schema.to_arrow_schema()
    return dict(zip(schema.names, schema.types, strict=True))


def _under_our_names(batch: pa.RecordBatch, fields: list[tuple[str, pa.Field]]) -> pa.RecordBatch:
    """The batch with our fields, each beside the input's name. Raises UnreadableError for a value that does not fit."""
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    nothing, plain = pa.nulls(batch.num_rows), []
    for name, field in fields:
        column = found.get(name, nothing)
        try:
            plain.append((_ids if field.name == PAIR_ID else converted)(column, field.type))
        except pa.ArrowInvalid as error:
            # Not told what Arrow says, since it quotes the value.
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
    """Ids as texts or integers. Raises ArrowInvalid for a float that is not a whole number of 64 bits."""
    if isinstance(column.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], kind)
    if pa.types.is_floating(column.type):
        # pandas's hole.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column).cast(pa.int64())
    return column.cast(kind) if pa.types.is_decimal(column.type) else converted(column, kind)
