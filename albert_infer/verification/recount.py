"""Recounts one published unit from the bytes of its files.

The files of one unit are in memory; their rows are decoded in batches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.json_input import parsed_json
from albert_infer.common.printable import reason_of
from albert_infer.schema import (
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    REJECTION,
    SOURCE_ROW,
    TRUNCATED,
    NliLabel,
    Rejection,
)
from albert_infer.storage import Folder, ObjectPin
from albert_infer.verification.claims import NamedFile, PlannedUnit
from albert_infer.verification.columns import VERDICT_FIELDS, OutputColumns, unlike_columns
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.rules import (
    RowFaults,
    integers,
    note_disorder,
    note_label_faults,
    note_rejection_faults,
    note_review_faults,
    note_source_faults,
    note_token_faults,
    note_window_faults,
)

# Rows decoded at a time.
BATCH_ROWS: Final = 4096
# The key of the unit's summary in a file's footer.
UNIT_KEY: Final = b"albert_infer.unit"
# A summary takes about a kilobyte.
MAX_SUMMARY_BYTES: Final = 1 << 16


@dataclass
class Recount:
    """The counts of the files of units, and their faults."""

    labelled: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    truncated: int = 0
    needs_review: int = 0
    windowed: int = 0
    bytes: int = 0
    # Each schema of the files of labels, with one file that has it.
    schemas: dict[str, str] = field(default_factory=dict)
    # Rows that were compared with the input.
    compared: int = 0
    # Whether the rows of every file could be decoded to the end.
    readable: bool = True
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Recount) -> None:
        """Add the counts and findings of another unit."""
        self.labelled += other.labelled
        self.rejected += other.rejected
        self.labels += other.labels
        self.tokens += other.tokens
        self.truncated += other.truncated
        self.needs_review += other.needs_review
        self.windowed += other.windowed
        self.bytes += other.bytes
        self.schemas = {**other.schemas, **self.schemas}
        self.compared += other.compared
        self.findings += other.findings


@dataclass(frozen=True)
class OpenUnit:
    """A unit with readable files, and the source positions of its rejected rows."""

    unit: PlannedUnit
    part: pq.ParquetFile
    rejected: pq.ParquetFile | None
    rejected_rows: NDArray[np.int64]


def recount_unit(
    output: Folder,
    objects: dict[str, ObjectPin],
    unit: PlannedUnit,
    source_uri: str,
    named: tuple[NamedFile, NamedFile | None],
    columns: OutputColumns,
) -> tuple[Recount, OpenUnit | None]:
    """Read and count the unit's files; `named` are the file of labels and the file of rejected rows, if any.

    The second result is None if a file is missing or not readable.
    """
    recount = Recount()
    part = _opened(output, objects, named[0], columns.labelled, columns.added, recount)
    aside = _opened(output, objects, named[1], columns.rejected, VERDICT_FIELDS, recount) if named[1] else None
    source_rows = _count_labelled(part, named[0], columns, recount, source_uri) if part else None
    rejected_rows = np.empty(0, np.int64)
    if aside and named[1]:
        rejected_rows = _count_rejected(aside, named[1], unit, recount, source_uri)
    if part is None or (aside is None) != (named[1] is None) or not recount.readable:
        return recount, None
    recount.schemas = {str(part.schema_arrow.remove_metadata()): named[0].path}
    recount.findings += _unlike_plan(unit, recount, source_rows, rejected_rows)
    recount.findings += _unlike_summary(unit, named[0], recount)
    return recount, OpenUnit(unit, part, aside, rejected_rows)


def _unlike_plan(
    unit: PlannedUnit, recount: Recount, source_rows: NDArray[np.int64] | None, rejected_rows: NDArray[np.int64]
) -> list[Finding]:
    """A finding unless the files have each row of the unit once; without `source_rows` only the count is checked."""
    where, rejected = f"unit {unit.unit_id}", recount.rejected.total()
    if recount.labelled + rejected != unit.range.rows:
        return [Finding(where, f"its {unit.range.rows} rows", f"{recount.labelled} labelled and {rejected} rejected")]
    if source_rows is not None:
        together = np.sort(np.concatenate([source_rows, rejected_rows]))
        if not np.array_equal(together, np.arange(unit.range.first_row, unit.range.stop)):
            rows = f"each {SOURCE_ROW} from {unit.range.first_row} to {unit.range.stop - 1} once, labelled or rejected"
            return [Finding(where, rows, "others, or some of them twice")]
    return []


def _opened(
    output: Folder,
    objects: dict[str, ObjectPin],
    named: NamedFile,
    names: list[str],
    added: Iterable[pa.Field],
    recount: Recount,
) -> pq.ParquetFile | None:
    """Open a file of the manifest; None and findings if the file is not readable or has other columns."""
    if named.path not in objects:
        recount.findings.append(Finding(named.path, f"the file that _SUCCESS names, of {named.bytes} bytes", "nothing"))
        return None
    data = output.read(named.path)
    recount.bytes += len(data)
    digest = hashlib.sha256(data).hexdigest()
    recount.findings += differences(named.path, [("bytes", named.bytes, len(data)), ("sha256", named.sha256, digest)])
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        schema = parquet.schema_arrow
        footer = parsed_json((schema.metadata or {}).get(UNIT_KEY, b"{}"), max_bytes=MAX_SUMMARY_BYTES)
        unit_id = footer.get("unit_id", "none")
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        recount.findings.append(Finding(named.path, "readable Parquet of albert-infer", reason_of(error)))
        return None
    recount.findings += differences(named.path, [("a footer of unit", named.unit_id, unit_id)])
    wrong = unlike_columns(schema, names, added)
    recount.findings += differences(named.path, wrong)
    return None if wrong else parquet


def _batches(parquet: pq.ParquetFile, named: NamedFile, recount: Recount) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield every batch with the number of its first row; a finding if the number of rows differs from the manifest."""
    first = 0
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
            yield first, batch
            first += batch.num_rows
    except MemoryError:
        raise  # a problem of this machine, not of the file
    except (pa.ArrowException, OSError) as error:
        recount.readable = False
        recount.findings.append(Finding(named.path, f"readable rows from {first} on", reason_of(error)))
    recount.findings += differences(named.path, [("rows", named.rows, first)])


def _count_labelled(
    parquet: pq.ParquetFile, named: NamedFile, columns: OutputColumns, recount: Recount, source_uri: str
) -> NDArray[np.int64] | None:
    """Count a file of labels; return the source positions of its rows, or None if the file lacks them."""
    faults = RowFaults(named.path)
    pieces = [np.empty(0, np.int64)]
    for first, batch in _batches(parquet, named, recount):
        recount.labelled += batch.num_rows
        recount.labels.update(_counts(batch[LABEL], NliLabel))
        recount.tokens += pc.sum(batch[N_TOKENS]).as_py() or 0
        recount.truncated += pc.sum(batch[TRUNCATED]).as_py() or 0
        note_label_faults(faults, first, batch, columns.added)
        if columns.review_below is not None:
            recount.needs_review += pc.sum(batch[NEEDS_REVIEW]).as_py() or 0
            note_review_faults(faults, first, batch, columns.review_below)
        if columns.with_windows:
            recount.windowed += pc.sum(pc.greater(batch[N_WINDOWS], 1)).as_py() or 0
            note_window_faults(faults, first, batch, columns.max_tokens)
        else:
            note_token_faults(faults, first, batch, columns.max_tokens)
        if columns.with_source:
            pieces.append(integers(batch[SOURCE_ROW]))
            note_source_faults(faults, first, batch, source_uri)
    source_rows = np.concatenate(pieces)
    if columns.with_source:
        note_disorder(faults, source_rows)
    recount.findings += faults.findings()
    return source_rows if columns.with_source else None


def _count_rejected(
    parquet: pq.ParquetFile, named: NamedFile, unit: PlannedUnit, recount: Recount, source_uri: str
) -> NDArray[np.int64]:
    """Count a file of rejected rows; return their source positions."""
    faults = RowFaults(named.path)
    pieces = [np.empty(0, np.int64)]
    for first, batch in _batches(parquet, named, recount):
        recount.rejected.update(_counts(batch[REJECTION], Rejection))
        note_rejection_faults(faults, first, batch)
        note_source_faults(faults, first, batch, source_uri)
        pieces.append(integers(batch[SOURCE_ROW]))
    source_rows = np.concatenate(pieces)
    inside = (source_rows >= unit.range.first_row) & (source_rows < unit.range.stop)
    faults.note(f"{SOURCE_ROW} from {unit.range.first_row} to {unit.range.stop - 1}", ~inside, 0)
    note_disorder(faults, source_rows)
    recount.findings += faults.findings()
    return source_rows


def _unlike_summary(unit: PlannedUnit, named: NamedFile, recount: Recount) -> list[Finding]:
    """A finding for each count of the unit's summary in the manifest that differs from the recount."""
    if named.summary is None:
        return []
    counted = {
        "unit_id": unit.unit_id,
        "rows_in": unit.range.rows,
        "labelled": recount.labelled,
        "rejected": dict(recount.rejected),
        "labels": dict(recount.labels),
        "tokens": recount.tokens,
        "truncated": recount.truncated,
        "needs_review": recount.needs_review,
        "windowed": recount.windowed,
    }
    compared = [(name, value, getattr(named.summary, name)) for name, value in counted.items()]
    return differences(f"the summary of {named.path} in _SUCCESS", compared)


def _counts(column: pa.Array, known: type[StrEnum]) -> Counter[str]:
    """Rows by value. Values outside the closed list count as "other", because they may be a text of a pair."""
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(column).to_pylist():
        counts[entry["values"] if entry["values"] in set(known) else "other"] += entry["counts"]
    return counts
