"""Compares the rows of published units with the rows of their input file, one by one and in order.

The input is streamed; positions come from its own footer. No message holds a text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.printable import reason_of
from albert_infer.errors import ObjectChangedError, ObjectMissingError
from albert_infer.schema import HYPOTHESIS, PREMISE, SOURCE_FILE, SOURCE_ROW
from albert_infer.storage import Folder
from albert_infer.verification import values
from albert_infer.verification.claims import BadFile, Pin, PlannedFile
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.counting import BATCH_ROWS
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.pairs import UnitPairs
from albert_infer.verification.recount import OpenUnit
from albert_infer.verification.sentences import first_other_sentences

# 1 MiB of each column of a row group is in memory at a time.
READ_BYTES: Final = 1 << 20
SameValues = Callable[[pa.Array, pa.Array], NDArray[np.bool_]]


class InputRows:
    """Reads the rows of one input file by position; sequential reads are cheap."""

    def __init__(self, parquet: pq.ParquetFile, columns: OutputColumns) -> None:
        self._parquet = parquet
        self.columns = columns
        self._names = set(parquet.schema_arrow.names)
        metadata = parquet.metadata
        self._stops = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        # The current batch, and the position of its first row.
        self._batch: pa.RecordBatch | None = None
        self._first = 0

    def rows(self, first: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows from `first` to before `stop` in batches, each with the position of its first row.

        The columns have the names of the output. Raises EOFError if the file has fewer rows, and pyarrow's errors if
        rows cannot be decoded.
        """
        while first < stop:
            batch = self._batch_with(first)
            piece = batch.slice(first - self._first, stop - first)
            by_name = dict(zip(piece.schema.names, piece.columns, strict=True))
            nulls = pa.nulls(piece.num_rows)
            arrays = [by_name.get(name, nulls) for name, _ in self.columns.taken]
            yield first, pa.RecordBatch.from_arrays(arrays, names=[name for _, name in self.columns.taken])
            first += piece.num_rows

    def _batch_with(self, row: int) -> pa.RecordBatch:
        group = bisect_right(self._stops, row)
        if group == len(self._stops):
            raise EOFError
        if self._batch is None or group != self._group or row < self._first:
            names = [name for name in dict.fromkeys(name for name, _ in self.columns.taken) if name in self._names]
            self._group, self._first = group, self._stops[group - 1] if group else 0
            # Small batches of one group, so that only pages of the unit are decoded.
            self._batches = self._parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)
            self._batch = self._next_batch()
        while row >= self._first + self._batch.num_rows:
            self._first += self._batch.num_rows
            self._batch = self._next_batch()
        return self._batch

    def _next_batch(self) -> pa.RecordBatch:
        batch = next(self._batches, None)
        if batch is None:
            raise EOFError
        return batch


@contextmanager
def input_rows(
    folder: Folder, file: PlannedFile, columns: OutputColumns, findings: list[Finding]
) -> Iterator[InputRows | None]:
    """Open the rows of a planned file; None and a finding if the file has changed or cannot be read.

    A change while the file is read is a finding too. Raises InfrastructureError.
    """
    uri = folder.uri_of(file.pin.name)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(folder.open_pinned(file.pin.object_pin))
            rows = _opened(stream, file, uri, columns, findings)
        except (ObjectMissingError, ObjectChangedError) as error:
            findings.append(changed_input(uri, file.pin, error.problem))
            rows = None
        yield rows
        try:
            stack.close()
        except ObjectChangedError as error:
            findings.append(changed_input(uri, file.pin, error.problem))


def changed_input(uri: str, pin: Pin | BadFile, actual: str) -> Finding:
    """The finding for an input file that is not the pinned one."""
    return Finding(f"input {uri}", f"the file of the plan, {pin.size} bytes, version {pin.version}", actual)


def _opened(
    stream: Any, file: PlannedFile, uri: str, columns: OutputColumns, findings: list[Finding]
) -> InputRows | None:
    try:
        parquet = pq.ParquetFile(
            stream,
            page_checksum_verification=True,
            buffer_size=READ_BYTES,
            pre_buffer=False,
            # The default, nanoseconds, cannot hold the years 1 and 9999: Arrow then returns wrong years.
            coerce_int96_timestamp_unit="us",
        )
        names = set(parquet.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:
        findings.append(Finding(f"input {uri}", "readable Parquet, because its rows are published", reason_of(error)))
        return None
    may_lack = set(columns.carried) if columns.may_lack_carried else set()
    missing = [name for name, _ in columns.taken if name not in names | may_lack]
    unlike = differences(
        f"input {uri}", [("rows", file.rows, parquet.metadata.num_rows), ("missing columns", [], missing)]
    )
    findings += unlike
    return None if missing else InputRows(parquet, columns)


class _RowCursor:
    """Reads the rows of a published file in pieces; `compared` are the columns that came from the input.

    `what` describes the rows in messages. `same` compares a column with the input's column. With `pairs`, the file has
    several pairs for each row, and only the first one is read.
    """

    def __init__(
        self,
        parquet: pq.ParquetFile | None,
        compared: list[str],
        extra: str,
        what: str,
        same: SameValues,
        pairs: UnitPairs | None = None,
    ) -> None:
        # Every file has the column `extra`; pyarrow cannot represent rows without any column.
        names = [*compared, extra]
        batches = parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False) if parquet else iter(())
        self._batches = batches if pairs is None else _first_pairs(batches, pairs)
        self._pairs = pairs
        self._rest = pa.schema([pa.field(name, pa.null()) for name in names]).empty_table()
        self.compared = compared
        self.what = what
        self.same = same
        self.taken = 0

    def row_of_file(self, row: int) -> int:
        """The row of the file that has this row, or its first pair."""
        return row if self._pairs is None else int(self._pairs.first_R[row])

    def take(self, rows: int) -> pa.Table:
        """Return the next rows; fewer at the end of the file."""
        pieces = [self._rest.slice(0, rows)]
        self._rest = self._rest.slice(rows)
        missing = rows - pieces[0].num_rows
        while missing and (batch := next(self._batches, None)):
            table = pa.Table.from_batches([batch])
            pieces.append(table.slice(0, missing))
            self._rest = table.slice(missing)
            missing -= pieces[-1].num_rows
        self.taken += rows - missing
        return pa.concat_tables([piece for piece in pieces if piece.num_rows] or pieces[:1])


def compare_unit(source: InputRows, uri: str, opened: OpenUnit) -> list[Finding]:
    """The first difference between the unit's rows and the rows of the input; empty if there is none.

    Raises InfrastructureError.
    """
    unit = opened.unit
    names = [name for _, name in source.columns.taken]
    pairs = opened.pairs if opened.pair_file is opened.part else None
    whole = [name for name in names if pairs is None or name not in source.columns.split_texts]
    extra = source.columns.added[0].name
    labelled = _RowCursor(opened.part, whole, extra, "labelled rows", values.same, pairs)
    without_texts = [name for name in names if name not in (PREMISE, HYPOTHESIS)]
    aside = _RowCursor(opened.rejected, without_texts, SOURCE_ROW, "rejected rows", values.same_or_unreadable)
    try:
        for first, batch in source.rows(unit.range.first_row, unit.range.stop):
            positions = np.arange(first, first + batch.num_rows)
            rejected = np.isin(positions, opened.rejected_rows)
            for cursor, mask in ((labelled, ~rejected), (aside, rejected)):
                begin, expected = cursor.taken, values.chosen(batch, mask)
                finding = _first_difference(expected, positions[mask], cursor, uri, unit.unit_id)
                if finding is None and cursor is labelled and pairs is not None and opened.in_order:
                    finding = _other_sentences(expected, begin, positions[mask], opened, uri, source.columns)
                if finding:
                    return [finding]
        if labelled.take(1).num_rows:
            actual = f"another one, the file's row {labelled.row_of_file(labelled.taken - 1)}"
            return [Finding(f"labelled rows of unit {unit.unit_id}", f"no row after those of {uri}", actual)]
    except EOFError:
        return [Finding(f"input {uri}", f"rows {unit.range.first_row} to {unit.range.stop - 1}", "its end before them")]
    except (ObjectMissingError, ObjectChangedError) as error:
        return [changed_input(uri, unit.pin, error.problem)]
    except MemoryError:
        raise  # a problem of this machine, not of the file
    except (pa.ArrowException, OSError) as error:
        expected = f"readable rows {unit.range.first_row} to {unit.range.stop - 1}, because they are published"
        return [Finding(f"input {uri}", expected, reason_of(error))]
    return []


def compare_pairs(opened: OpenUnit, part_path: str, columns: OutputColumns) -> list[Finding]:
    """The first difference between the rows of both tables of a unit; empty if the run publishes only one."""
    pairs = opened.pairs
    if pairs is None or opened.pair_file is None or opened.pair_file is opened.part or not opened.in_order:
        return []
    copied = [name for _, name in columns.taken] + ([SOURCE_FILE, SOURCE_ROW] if columns.with_source else [])
    files = opened.part, opened.pair_file
    row_types, pair_types = ({field.name: str(field.type) for field in file.schema_arrow} for file in files)
    types = [(f"column {name} of type", row_types[name], pair_types[name]) for name in copied]
    unlike = differences(f"the file of pairs of {part_path}", types)
    whole = [name for name in copied if name not in columns.split_texts]
    extra = columns.added_to_pairs[0].name
    cursor = _RowCursor(opened.pair_file, whole, extra, "pairs", values.same, pairs)
    first, unit_id = 0, opened.unit.unit_id
    for batch in opened.part.iter_batches(BATCH_ROWS, columns=copied, use_threads=False):
        rows = np.arange(first, first + batch.num_rows)
        finding = _first_difference(batch, rows, cursor, part_path, unit_id)
        if finding is None:
            finding = _other_sentences(batch, first, rows, opened, part_path, columns)
        if finding:
            return [*unlike, finding]
        first += batch.num_rows
    return unlike


def _first_pairs(batches: Iterator[pa.RecordBatch], pairs: UnitPairs) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in batches:
        is_first = pairs.is_first_P[first : first + batch.num_rows]
        first += batch.num_rows
        if is_first.any():
            yield batch.filter(pa.array(is_first))


def _other_sentences(
    rows: pa.RecordBatch,
    first: int,
    positions: NDArray[np.int64],
    opened: OpenUnit,
    uri: str,
    columns: OutputColumns,
) -> Finding | None:
    """The first row of the batch with other sentences than its pairs have."""
    difference = first_other_sentences(rows, first, opened.pairs, columns) if opened.pairs else None
    if difference is None:
        return None
    name, row = difference
    expected = f"the sentences of the {name} of row {positions[row]} of {uri}"
    return Finding(f"pairs of unit {opened.unit.unit_id}", expected, "others, or text outside of them")


def _first_difference(
    expected: pa.RecordBatch, positions: NDArray[np.int64], cursor: _RowCursor, uri: str, unit_id: str
) -> Finding | None:
    begin, what = cursor.taken, cursor.what
    actual = cursor.take(expected.num_rows)
    rows = actual.num_rows
    for name in cursor.compared if rows else ():
        same = cursor.same(expected[name].slice(0, rows), actual[name].combine_chunks())
        if not same.all():
            row = int(np.argmin(same))
            expected_row = f"the file's row {cursor.row_of_file(begin + row)} to be row {positions[row]} of {uri}"
            return Finding(f"{what} of unit {unit_id}", expected_row, f"another {name}")
    if rows < expected.num_rows:
        return Finding(f"{what} of unit {unit_id}", f"row {positions[rows]} of {uri}", "the end of the file")
    return None
