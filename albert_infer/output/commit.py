"""Writes labelled pairs as Parquet objects, one commit for each unit.

One conditional PUT commits a unit; its bytes are complete in memory. Each object has its counts in the Parquet footer,
so that the seal and the report count the written rows. This module knows nothing about plans, devices or Ray.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from albert_infer.common import failpoints
from albert_infer.common.column_types import optional
from albert_infer.errors import InfrastructureError, IntegrityError, ObjectMissingError
from albert_infer.output.layout import quarantine_name, staged_name, staged_pairs_name, staged_rejected_name
from albert_infer.output.pairs import pair_tables
from albert_infer.read.class_names import ClassNames, with_class_names
from albert_infer.schema import (
    BEST,
    DETAIL,
    LABEL,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIR_ID,
    PAIRS,
    REJECTION,
    ROW,
    SOURCE_FILE,
    SOURCE_ROW,
    TRUNCATED,
    UNIT,
    UNIT_QUARANTINE,
    PairColumns,
    conformed,
)
from albert_infer.storage import Folder

# The key of the unit's summary in the metadata of the Parquet footer.
SUMMARY_KEY: Final = b"albert_infer.unit"
# The columns that a summary counts, without the texts.
_COUNTED: Final = frozenset({PAIR_ID, LABEL, BEST, N_TOKENS, TRUNCATED, NEEDS_REVIEW, N_WINDOWS, N_PAIRS, PAIRS})
# Only a driver that has just published the unit deletes an object between the put and the read.
MAX_PUTS: Final = 5


@dataclass(frozen=True)
class UnitSummary:
    """The counts of one unit's objects; written into their footers."""

    unit_id: str
    rows_in: int
    labelled: int
    rejected: dict[str, int]
    labels: dict[str, int]
    tokens: int
    truncated: int
    # Counts of labelled rows. Units of earlier versions lack them, so they have defaults.
    null_ids: int = 0
    duplicate_ids: int = 0
    # Rows that need review, and rows in more than one window; 0 if the run does not compute them.
    needs_review: int = 0
    windowed: int = 0
    # Pairs of labelled rows; 0 if each row is one pair.
    pairs: int = 0

    @property
    def rejected_rows(self) -> int:
        """Rows without a label, for any reason."""
        return sum(self.rejected.values())

    def describes_same_rows(self, other: UnitSummary | None) -> bool:
        """Whether both have the same unit and the same rejections; labels may differ between devices."""
        rows = (self.unit_id, self.rows_in, self.rejected)
        return other is not None and rows == (other.unit_id, other.rows_in, other.rejected)


_SUMMARY: Final = TypeAdapter(UnitSummary)


@dataclass(frozen=True)
class Source:
    """The origin of a unit's rows: file, first row, number of rows."""

    uri: str
    first_row: int
    rows: int


def commit_unit(
    folder: Folder, unit_id: str, source: Source, rows: pa.Table, columns: PairColumns
) -> UnitSummary | None:
    """Write the unit's objects once: rejected rows first, labels last. A quarantined unit has one object, no summary.

    `rows` is the whole unit in order, as `Classifier.classified` returns it. If any driver has committed the unit
    before, the existing objects stay and are compared. Raises IntegrityError if `rows` is not the whole unit, or if an
    existing object is of another unit.
    """
    reason = rows[UNIT_QUARANTINE][0].as_py() if rows.num_rows else None
    if reason is not None:
        commit_quarantine(folder, unit_id, source, reason, rows[DETAIL][0].as_py())
        return None
    _refuse_broken_unit(unit_id, source, rows)
    summary = summarise(unit_id, rows, columns)
    source_row = pc.add(rows[ROW], source.first_row)
    rows = rows.append_column(SOURCE_FILE, pa.array([source.uri] * len(rows), pa.string()))
    rows = rows.append_column(SOURCE_ROW, source_row)
    bad = rows[REJECTION].is_valid()
    if summary.rejected:
        # An unreadable value becomes null in this file, so required fields become optional.
        fields = [field.with_type(optional(field.type)) for field in columns.rejected]
        rejected = conformed(rows.filter(bad), pa.schema(fields))
        _put(folder, staged_rejected_name(unit_id), to_parquet([rejected], summary, columns.classes), summary)
        failpoints.reach("rejected_put", unit_id)
    good = rows.filter(pc.invert(bad))
    if columns.expansion is not None and columns.expansion.publish == "both":
        _put(folder, staged_pairs_name(unit_id), _pairs(good, columns, summary), summary)
        failpoints.reach("pairs_put", unit_id)
    if _has_rows(columns):
        labelled = to_parquet([conformed(good, columns.labelled)], summary, columns.classes)
    else:
        labelled = _pairs(good, columns, summary)
    failpoints.reach("part_ready", unit_id)
    _put(folder, staged_name(unit_id), labelled, summary)
    failpoints.reach("part_put", unit_id)
    return summary


def commit_quarantine(folder: Folder, unit_id: str, source: Source, reason: str, detail: str | None) -> None:
    """Write why the unit could not be read or labelled, unless any driver has done so before."""
    quarantine = {"unit_id": unit_id, "reason": reason, "detail": detail, **asdict(source)}
    folder.put_if_absent(quarantine_name(unit_id), json.dumps(quarantine, sort_keys=True).encode())
    failpoints.reach("quarantine_put", unit_id)


def summarise(unit_id: str, rows: pa.Table, columns: PairColumns) -> UnitSummary:
    """Count a whole unit's rows.

    Missing and duplicate ids are counted, not rejected: file and row are the key of a row. An id that is duplicated in
    another unit is not counted.
    """
    counted = [name for name in rows.column_names if name in _COUNTED]
    good = rows.select(counted).filter(rows[REJECTION].is_null())
    ids = good[PAIR_ID] if PAIR_ID in counted else pa.chunked_array([], pa.string())
    rejected = Counter(rows[REJECTION].drop_null().to_pylist())
    return UnitSummary(
        unit_id=unit_id,
        rows_in=rows.num_rows,
        labelled=good.num_rows,
        rejected=dict(sorted(rejected.items())),
        labels=_label_counts(good, columns),
        tokens=pc.sum(good[N_TOKENS]).as_py() or 0,
        truncated=pc.sum(good[TRUNCATED]).as_py() or 0,
        null_ids=ids.null_count,
        duplicate_ids=len(ids) - ids.null_count - pc.count_distinct(ids).as_py(),
        needs_review=_to_review(good, columns) if columns.review_below is not None else 0,
        windowed=_windowed(good, columns) if columns.with_windows else 0,
        pairs=pc.sum(good[N_PAIRS]).as_py() or 0 if columns.expansion is not None else 0,
    )


def _to_review(good: pa.Table, columns: PairColumns) -> int:
    """Rows that need review, or pairs if only pairs are published."""
    marks = good[NEEDS_REVIEW] if _has_rows(columns) else _pairs_column(good, NEEDS_REVIEW)
    return pc.sum(marks).as_py() or 0


def _has_rows(columns: PairColumns) -> bool:
    """Whether a file of labels has one row for each labelled row; else it has their pairs."""
    return columns.expansion is None or columns.expansion.publishes_scores


def _pairs_column(good: pa.Table, name: str) -> pa.ChunkedArray:
    """One column of the pairs of all rows."""
    return pc.struct_field(pc.list_flatten(good[PAIRS]), name)


def _windowed(good: pa.Table, columns: PairColumns) -> int:
    """Rows with a pair in more than one window: the windows of a row are those of all its pairs."""
    pairs = 1 if columns.expansion is None else good[N_PAIRS]
    return pc.sum(pc.greater(good[N_WINDOWS], pairs)).as_py() or 0


def _label_counts(good: pa.Table, columns: PairColumns) -> dict[str, int]:
    """Rows by label, or by their best hypothesis; pairs by label if only pairs are published."""
    if not _has_rows(columns):
        labels = _pairs_column(good, LABEL)
    elif columns.expansion is None or columns.expansion.fold.chooses_pair:
        labels = good[LABEL]
    elif columns.expansion.fold.ranks_hypotheses:
        labels = good[BEST]
    else:
        labels = pa.chunked_array([], pa.string())
    return dict(sorted(Counter(labels.to_pylist()).items()))


def read_summary(parquet: bytes) -> UnitSummary | None:
    """Read the summary from an object's footer; None if the object has no summary or is not readable."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(parquet)).metadata or {}
        return _SUMMARY.validate_json(metadata[SUMMARY_KEY], strict=True)
    except (pa.ArrowException, OSError, KeyError, ValidationError):
        return None


def row_count(parquet: bytes) -> int:
    """The number of rows by the Parquet footer, not by the summary."""
    return int(pq.read_metadata(pa.BufferReader(parquet)).num_rows)


def to_parquet(
    tables: Iterable[pa.Table], summary: UnitSummary, classes: Iterable[tuple[str, ClassNames]] = ()
) -> bytes:
    """Encode the object's bytes, with page checksums. There is at least one table; each becomes row groups."""
    tables = iter(tables)
    first = next(tables)
    schema = with_class_names(first.schema, classes)
    counts = {name: count for name, count in asdict(summary).items() if name != "pairs" or count}
    schema = schema.with_metadata({**(schema.metadata or {}), SUMMARY_KEY: json.dumps(counts, sort_keys=True).encode()})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in chain([first], tables):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
    return bytes(sink.getvalue())


def _pairs(good: pa.Table, columns: PairColumns, summary: UnitSummary) -> bytes:
    return to_parquet(pair_tables(good, columns), summary, columns.classes)


def _put(folder: Folder, name: str, data: bytes, summary: UnitSummary) -> None:
    for _ in range(MAX_PUTS):
        if folder.put_if_absent(name, data):
            return
        try:
            existing = folder.read(name)
        except ObjectMissingError:
            continue  # deleted since, by a driver that has published the unit
        # Written by an earlier attempt or another driver. Bytes may differ: devices differ in the last bits of
        # probabilities.
        if summary.describes_same_rows(read_summary(existing)):
            return
        remedy = "look at what wrote it; move it away to label the unit again"
        raise IntegrityError(f"commit {folder.uri_of(name)}", "another object has the name of this unit", remedy)
    problem = f"another program created and deleted it {MAX_PUTS} times meanwhile"
    raise InfrastructureError(f"commit {folder.uri_of(name)}", problem, "look at who else writes here")


def _refuse_broken_unit(unit_id: str, source: Source, rows: pa.Table) -> None:
    """Raises IntegrityError unless the block is exactly one unit, whole and in order."""
    positions = rows[ROW].to_numpy()
    whole = len(positions) == source.rows and bool(np.array_equal(positions, np.arange(source.rows)))
    if not whole or pc.count_distinct(rows[UNIT]).as_py() != 1 or rows[UNIT][0].as_py() != unit_id:
        problem = f"{len(positions)} rows, of {pc.count_distinct(rows[UNIT]).as_py()} units, or out of order"
        raise IntegrityError(f"unit {unit_id} of {source.rows} rows", problem, "report this: the pipeline broke a unit")
