"""Labelled pairs to finished Parquet objects: one unit, one commit.

A unit is committed by one conditional PUT of bytes that are complete in memory; the object says of itself what it
holds, so that the seal and the report count what was written. Knows nothing of plans, devices or Ray.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from albert_infer.common import failpoints
from albert_infer.common.column_types import optional
from albert_infer.errors import InfrastructureError, IntegrityError, ObjectMissingError
from albert_infer.output.layout import quarantine_name, staged_name, staged_rejected_name
from albert_infer.read.class_names import with_class_names
from albert_infer.schema import (
    DETAIL,
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIR_ID,
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

# Where a unit's object says what it holds: the key of the Parquet footer's metadata.
SUMMARY_KEY: Final = b"albert_infer.unit"
# An object is deleted between a put and the look at it only by a driver that has just published the unit.
MAX_PUTS: Final = 5


@dataclass(frozen=True)
class UnitSummary:
    """What the objects of one unit hold; written into their footers."""

    unit_id: str
    rows_in: int
    labelled: int
    rejected: dict[str, int]
    labels: dict[str, int]
    tokens: int
    truncated: int
    # Of the labelled rows; with defaults, because units of earlier versions do not tell.
    null_ids: int = 0
    duplicate_ids: int = 0
    # Rows that need review, and in more than one window; 0 in a run that does not ask for them, too.
    needs_review: int = 0
    windowed: int = 0

    @property
    def rejected_rows(self) -> int:
        """Rows without a label, whatever the reason."""
        return sum(self.rejected.values())

    def tells_of_the_same_rows(self, other: UnitSummary | None) -> bool:
        """Whether both are of one unit and split it alike; labels may differ between devices."""
        ours = (self.unit_id, self.rows_in, self.rejected)
        return other is not None and ours == (other.unit_id, other.rows_in, other.rejected)


_SUMMARY: Final = TypeAdapter(UnitSummary)


@dataclass(frozen=True)
class Source:
    """Where a unit's rows came from."""

    uri: str
    first_row: int
    rows: int


def commit_unit(
    folder: Folder, unit_id: str, source: Source, rows: pa.Table, columns: PairColumns
) -> UnitSummary | None:
    """Make the unit durable, once: rejected rows first, the part last; or its quarantine, which has no summary.

    `rows` is all of the unit, in order, as `Classifier.classified` leaves it. If the unit was committed before, by
    whoever, what stands is kept and compared. Raises IntegrityError if `rows` is not the whole unit, or if what
    stands is another one.
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
        # A value that no reader can read is null there, also above a required field.
        fields = [field.with_type(optional(field.type)) for field in columns.rejected]
        rejected = conformed(rows.filter(bad), with_class_names(pa.schema(fields), columns.classes))
        _put(folder, staged_rejected_name(unit_id), rejected, summary)
        failpoints.reach("rejected_put", unit_id)
    labelled = conformed(rows.filter(pc.invert(bad)), with_class_names(columns.labelled, columns.classes))
    failpoints.reach("part_ready", unit_id)
    _put(folder, staged_name(unit_id), labelled, summary)
    failpoints.reach("part_put", unit_id)
    return summary


def commit_quarantine(folder: Folder, unit_id: str, source: Source, reason: str, detail: str | None) -> None:
    """Make durable why the unit could not be read or labelled, unless that is told already, by whoever."""
    told = {"unit_id": unit_id, "reason": reason, "detail": detail, **asdict(source)}
    folder.put_if_absent(quarantine_name(unit_id), json.dumps(told, sort_keys=True).encode())
    failpoints.reach("quarantine_put", unit_id)


def summarise(unit_id: str, rows: pa.Table, columns: PairColumns) -> UnitSummary:
    """Count a whole unit's rows.

    Ids are counted, not judged: a labelled row without one, or with one that an earlier labelled row of the unit has,
    is as good as any, for file and row are its key. So the same id in two units is not noticed, and both are labelled.
    """
    good = rows[REJECTION].is_null()
    ids = rows[PAIR_ID].filter(good) if PAIR_ID in rows.column_names else pa.chunked_array([], pa.string())
    labels = Counter(rows[LABEL].filter(good).to_pylist())
    rejected = Counter(rows[REJECTION].drop_null().to_pylist())
    return UnitSummary(
        unit_id=unit_id,
        rows_in=rows.num_rows,
        labelled=labels.total(),
        rejected=dict(sorted(rejected.items())),
        labels=dict(sorted(labels.items())),
        tokens=pc.sum(rows[N_TOKENS].filter(good)).as_py() or 0,
        truncated=pc.sum(rows[TRUNCATED].filter(good)).as_py() or 0,
        null_ids=ids.null_count,
        duplicate_ids=len(ids) - ids.null_count - pc.count_distinct(ids).as_py(),
        needs_review=(pc.sum(rows[NEEDS_REVIEW]).as_py() or 0) if columns.review_below is not None else 0,
        windowed=pc.sum(pc.greater(rows[N_WINDOWS].filter(good), 1)).as_py() or 0 if columns.with_windows else 0,
    )


def read_summary(parquet: bytes) -> UnitSummary | None:
    """What an object of ours says it holds; None if it is not one of ours or not readable."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(parquet)).metadata or {}
        return _SUMMARY.validate_json(metadata[SUMMARY_KEY], strict=True)
    except (pa.ArrowException, OSError, KeyError, ValidationError):
        return None


def rows_held(parquet: bytes) -> int:
    """The rows that are in an object of ours, whatever it says."""
    return int(pq.read_metadata(pa.BufferReader(parquet)).num_rows)


def to_parquet(table: pa.Table, summary: UnitSummary) -> bytes:
    """The finished bytes of an object, page checksums included."""
    metadata = {**(table.schema.metadata or {}), SUMMARY_KEY: json.dumps(asdict(summary), sort_keys=True).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def _put(folder: Folder, name: str, table: pa.Table, summary: UnitSummary) -> None:
    data = to_parquet(table, summary)
    for _ in range(MAX_PUTS):
        if folder.put_if_absent(name, data):
            return
        try:
            standing = folder.read(name)
        except ObjectMissingError:
            continue  # deleted since, by a driver that has published the unit
        # An earlier attempt of ours, or another driver's: the same rows of the same unit. Not compared byte by byte,
        # because probabilities may differ in their last bits between devices.
        if summary.tells_of_the_same_rows(read_summary(standing)):
            return
        remedy = "look at what wrote it; move it away to label the unit again"
        raise IntegrityError(f"commit {folder.uri_of(name)}", "an object that is not this unit stands there", remedy)
    found = f"it was created and deleted {MAX_PUTS} times meanwhile"
    raise InfrastructureError(f"commit {folder.uri_of(name)}", found, "look at who else writes here")


def _refuse_broken_unit(unit_id: str, source: Source, rows: pa.Table) -> None:
    """One Ray block is one unit, whole and in order: checked here, where it counts, and trusted nowhere."""
    positions = rows[ROW].to_numpy()
    whole = len(positions) == source.rows and bool(np.array_equal(positions, np.arange(source.rows)))
    if not whole or pc.count_distinct(rows[UNIT]).as_py() != 1 or rows[UNIT][0].as_py() != unit_id:
        found = f"{len(positions)} rows, of {pc.count_distinct(rows[UNIT]).as_py()} units, or out of order"
        raise IntegrityError(f"unit {unit_id} of {source.rows} rows", found, "report this: the pipeline broke a unit")
