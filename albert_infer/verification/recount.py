"""Recounts one published unit from the bytes of its files.

The files of one unit are in memory; their rows are decoded in batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.json_input import parsed_json
from albert_infer.common.printable import reason_of
from albert_infer.schema import SOURCE_ROW
from albert_infer.storage import Folder, ObjectPin
from albert_infer.verification.claims import NamedFile, PlannedUnit
from albert_infer.verification.columns import VERDICT_FIELDS, OutputColumns, unlike_columns
from albert_infer.verification.counting import Recount, count_labelled, count_pairs, count_rejected, read_pairs
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.pairs import UnitPairs
from albert_infer.verification.refolding import note_fold_faults
from albert_infer.verification.rules import RowFaults

# The key of the unit's summary in a file's footer.
UNIT_KEY: Final = b"albert_infer.unit"
# A summary takes about a kilobyte.
MAX_SUMMARY_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class UnitFiles:
    """The files of a labelled unit in the manifest."""

    labels: NamedFile
    rejected: NamedFile | None = None
    pairs: NamedFile | None = None


@dataclass(frozen=True)
class OpenUnit:
    """A unit with readable files, and the source positions of its rejected rows."""

    unit: PlannedUnit
    part: pq.ParquetFile
    rejected: pq.ParquetFile | None
    rejected_rows: NDArray[np.int64]
    # The file of pairs: `part`, or another if both tables are published. None if no pairs are published.
    pair_file: pq.ParquetFile | None = None
    pairs: UnitPairs | None = None
    # Whether the pairs are in the order of their rows.
    in_order: bool = True


@np.errstate(invalid="ignore")  # infinities and NaN in damaged files are findings, not warnings
def recount_unit(
    output: Folder,
    objects: dict[str, ObjectPin],
    unit: PlannedUnit,
    source_uri: str,
    named: UnitFiles,
    columns: OutputColumns,
) -> tuple[Recount, OpenUnit | None]:
    """Read and count the unit's files. The second result is None if a file is missing or not readable."""
    recount = Recount()

    def opened(file: NamedFile | None, names: list[str], added: Iterable[pa.Field]) -> pq.ParquetFile | None:
        return None if file is None else _opened(output, objects, file, names, added, recount)

    part = opened(named.labels, columns.labelled, columns.added)
    aside = opened(named.rejected, columns.rejected, VERDICT_FIELDS)
    pair_file = opened(named.pairs, columns.pairs, columns.added_to_pairs)
    source_rows, pairs, in_order = None, None, True
    if part and columns.labels_are_pairs:
        pair_file = part
        pairs, source_rows, in_order = read_pairs(part, named.labels, columns, recount, source_uri)
        count_pairs(pairs, columns, recount)
    elif part:
        source_rows = count_labelled(part, named.labels, columns, recount, source_uri)
        if pair_file and named.pairs:
            pairs, _, in_order = read_pairs(pair_file, named.pairs, columns, recount, source_uri)
    rejected_rows = np.empty(0, np.int64)
    if aside and named.rejected:
        rejected_rows = count_rejected(aside, named.rejected, unit, recount, source_uri)
    is_whole = (aside is None) == (named.rejected is None) and (named.pairs is None or pair_file is not None)
    if part is None or not is_whole or not recount.readable:
        return recount, None
    recount.schemas = {str(part.schema_arrow.remove_metadata()): named.labels.path}
    recount.findings += _unlike_plan(unit, recount, source_rows, rejected_rows)
    recount.findings += _unlike_summary(unit, named.labels, recount)
    if pairs and named.pairs and in_order:
        recount.findings += _unlike_pairs(part, named, pairs, columns)
    return recount, OpenUnit(unit, part, aside, rejected_rows, pair_file, pairs, in_order)


def _unlike_pairs(part: pq.ParquetFile, named: UnitFiles, pairs: UnitPairs, columns: OutputColumns) -> list[Finding]:
    """Findings unless the results of the rows are those of their pairs."""
    rows, total = len(pairs.first_R), part.metadata.num_rows
    if named.pairs and rows != total:
        return differences(named.pairs.path, [("pairs of rows", total, rows)])
    faults = RowFaults(named.labels.path)
    note_fold_faults(faults, part.read([field.name for field in columns.added]), pairs, columns)
    return list(faults.findings())


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
        "pairs": recount.pairs,
    }
    compared = [(name, value, getattr(named.summary, name)) for name, value in counted.items()]
    return differences(f"the summary of {named.path} in _SUCCESS", compared)
