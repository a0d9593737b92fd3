"""Counts the rows of published files, and checks every row by the rules, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.printable import reason_of
from albert_infer.schema import (
    BEST,
    LABEL,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    REJECTION,
    SOURCE_ROW,
    TRUNCATED,
    Rejection,
)
from albert_infer.verification.claims import NamedFile, PlannedUnit
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.pairs import PairReader, UnitPairs, note_order_faults, note_text_faults, sums
from albert_infer.verification.refolding import note_pair_score_faults
from albert_infer.verification.rules import (
    RowFaults,
    integers,
    note_disorder,
    note_label_faults,
    note_nulls,
    note_rejection_faults,
    note_review_faults,
    note_source_faults,
    note_token_faults,
    note_window_faults,
)
from albert_infer.verification.scores import note_score_table_faults

# Rows decoded at a time.
BATCH_ROWS: Final = 4096


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
    # Pairs of labelled rows; 0 if each row is one pair.
    pairs: int = 0
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
        self.pairs += other.pairs
        self.bytes += other.bytes
        self.schemas = {**other.schemas, **self.schemas}
        self.compared += other.compared
        self.findings += other.findings


def count_labelled(
    parquet: pq.ParquetFile, named: NamedFile, columns: OutputColumns, recount: Recount, source_uri: str
) -> NDArray[np.int64] | None:
    """Count a file with one row a text; return the source positions of its rows, or None if the file lacks them."""
    faults = RowFaults(named.path)
    pieces = [np.empty(0, np.int64)]
    for first, batch in _batches(parquet, named, recount):
        recount.labelled += batch.num_rows
        recount.tokens += pc.sum(batch[N_TOKENS]).as_py() or 0
        recount.truncated += pc.sum(batch[TRUNCATED]).as_py() or 0
        note_nulls(faults, first, batch, columns.added)
        if columns.review_below is not None:
            recount.needs_review += pc.sum(batch[NEEDS_REVIEW]).as_py() or 0
        if columns.expansion is None:
            recount.labels.update(_counts(batch[LABEL], columns.labels))
            recount.windowed += _windowed(batch, columns)
            _note_pair_faults(faults, first, batch, columns)
        else:
            ranks, chooses = columns.expansion.ranks, columns.expansion.chooses
            if ranks or chooses:
                known = columns.ids_of_set if ranks else columns.labels
                recount.labels.update(_counts(batch[BEST if ranks else LABEL], known))
            recount.pairs += pc.sum(batch[N_PAIRS]).as_py() or 0
            recount.windowed += _windowed(batch, columns)
            note_score_table_faults(faults, first, batch, columns)
        if columns.with_source:
            pieces.append(integers(batch[SOURCE_ROW]))
            note_source_faults(faults, first, batch, source_uri)
    source_rows = np.concatenate(pieces)
    if columns.with_source:
        note_disorder(faults, source_rows)
    recount.findings += faults.findings()
    return source_rows if columns.with_source else None


def read_pairs(
    parquet: pq.ParquetFile, named: NamedFile, columns: OutputColumns, recount: Recount, source_uri: str
) -> tuple[UnitPairs, NDArray[np.int64] | None, bool]:
    """Read a file of pairs, and check its pairs: the pairs, the source positions of their rows if the file has them.

    The third result is whether the pairs are in the order of their rows; if not, a finding says so.
    """
    faults = RowFaults(named.path)
    reader = PairReader(columns, faults)
    pieces = [np.empty(0, np.int64)]
    for first, batch in _batches(parquet, named, recount):
        note_nulls(faults, first, batch, columns.added_to_pairs)
        _note_pair_faults(faults, first, batch, columns)
        if columns.with_source:
            pieces.append(integers(batch[SOURCE_ROW]))
            note_source_faults(faults, first, batch, source_uri)
        reader.add(first, batch)
    pairs = reader.pairs()
    source_rows = np.concatenate(pieces)[pairs.first_R] if columns.with_source else None
    if source_rows is not None:
        # Of pairs, so that the finding has the row of the file.
        is_low = np.zeros(pairs.total, np.bool_)
        is_low[pairs.first_R] = np.diff(source_rows, prepend=-1) <= 0
        faults.note(f"{SOURCE_ROW} above that of the row before", is_low, 0)
    in_order = note_order_faults(faults, pairs, columns)
    if in_order:
        note_text_faults(faults, pairs, columns)
        note_pair_score_faults(faults, pairs, columns)
    recount.findings += faults.findings()
    return pairs, source_rows, in_order


def count_pairs(pairs: UnitPairs, columns: OutputColumns, recount: Recount) -> None:
    """Count the rows and the pairs of a unit whose pairs alone are published."""
    first = pairs.first_R
    recount.labelled += len(first)
    recount.pairs += pairs.total
    for index, label in enumerate(("other", *columns.labels), -1):
        recount.labels[label] += int((pairs.label_P == index).sum())
    recount.labels = +recount.labels  # without the labels that no pair has
    recount.tokens += int(pairs.tokens_P.sum())
    recount.truncated += int((sums(pairs.truncated_P, first) > 0).sum())
    if columns.with_windows:
        recount.windowed += int((sums(pairs.windows_P, first) > pairs.count_R).sum())
    if columns.review_below is not None:
        recount.needs_review += int((pairs.probability_PL.max(axis=1) < np.float32(columns.review_below)).sum())


def count_rejected(
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


def _note_pair_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, columns: OutputColumns) -> None:
    """Note the pairs whose label, review, tokens or windows break a rule."""
    note_label_faults(faults, first, batch, columns)
    if columns.review_below is not None:
        note_review_faults(faults, first, batch, columns.review_below, columns.probabilities)
    if columns.with_windows:
        note_window_faults(faults, first, batch, columns.max_tokens)
    else:
        note_token_faults(faults, first, batch, columns.max_tokens)


def _windowed(batch: pa.RecordBatch, columns: OutputColumns) -> int:
    """The rows with a pair in more than one window."""
    if not columns.with_windows:
        return 0
    pairs = batch[N_PAIRS] if columns.expansion is not None else 1
    return int(pc.sum(pc.greater(batch[N_WINDOWS], pairs)).as_py() or 0)


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


def _counts(column: pa.Array, known: Iterable[str]) -> Counter[str]:
    """Rows by value. Values outside the closed list count as "other", because they may be a text of a pair."""
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(column).to_pylist():
        counts[entry["values"] if entry["values"] in set(known) else "other"] += entry["counts"]
    return counts
