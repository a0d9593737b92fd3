"""A published run as the tables of its files: exactly those that `_SUCCESS` names, in the order of the input.

Whether the labels are those of the input is the question of `verification`, which shares no code with this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.common.printable import REASON_LETTERS, one_line
from albert_infer.errors import InputError, IntegrityError, ObjectChangedError, ObjectMissingError
from albert_infer.output import layout, manifest
from albert_infer.output.commit import SUMMARY_KEY
from albert_infer.output.manifest import PublishedFile, PublishedRun
from albert_infer.read.stored_columns import stored_columns
from albert_infer.schema import (
    HYPOTHESIS,
    LABEL_FIELDS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PREMISE,
    SOURCE_FIELDS,
    VERDICT_FIELDS,
    PairColumns,
)
from albert_infer.storage import AccessError, Folder, refused

# The tables of a run: its labels (of pairs, or of rows), its rows without a label, and the pairs of its rows.
Table = Literal["labels", "rejected", "pairs"]
VERIFY: Final = "count the run again with albert-infer verify"
# Columns of labelled rows that their rejected rows do not have.
LABELLED_ONLY: Final = frozenset(
    {PREMISE, HYPOTHESIS, NEEDS_REVIEW, N_WINDOWS, *(field.name for field in (*LABEL_FIELDS, *SOURCE_FIELDS))}
)


@dataclass(frozen=True)
class PublishedRows:
    """One table of a run: files in the order of the input. Picklable.

    With `checksums` the bytes of each file are compared with the sha256 in `_SUCCESS`.
    """

    folder: Folder
    published: PublishedRun
    files: tuple[PublishedFile, ...]
    # Columns to read, in this order; None for all.
    columns: tuple[str, ...] | None
    of: Table
    checksums: bool

    def read(self, entry: PublishedFile) -> pa.Table:
        """The rows of one file.

        Raises ObjectChangedError if another run was published meanwhile, IntegrityError for a file that is missing,
        damaged, or not the one that was published, and InputError for a column that it does not have.
        """
        where = f"read {self.folder.uri_of(entry.path)}"
        data = self._bytes(entry, where)
        try:
            parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            self._selected(parquet.schema_arrow)
            rows = parquet.read(columns=None if self.columns is None else list(self.columns))
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(where, one_line(error)[:REASON_LETTERS], VERIFY) from error
        if rows.num_rows != entry.rows:
            raise IntegrityError(where, f"{rows.num_rows:,} rows where _SUCCESS says {entry.rows:,}", VERIFY)
        # What the file says of its unit is not true of a table of several.
        metadata = {key: value for key, value in (rows.schema.metadata or {}).items() if key != SUMMARY_KEY}
        return rows.select(self.columns or rows.column_names).replace_schema_metadata(metadata or None)

    def _bytes(self, entry: PublishedFile, where: str) -> bytes:
        try:
            pin, data = self.folder.pinned_read(entry.path)
        except ObjectMissingError as error:
            if self.folder.stat(layout.SUCCESS) != self.published.pin:
                raise changed(self.folder) from error
            raise IntegrityError(where, "_SUCCESS names it, and it is missing", VERIFY) from error
        if pin.size != entry.bytes:
            raise IntegrityError(where, f"{pin.size:,} bytes where _SUCCESS says {entry.bytes:,}", VERIFY)
        if self.checksums and hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(where, "its bytes have another sha256 than _SUCCESS says", VERIFY)
        return data

    def table(self, parts: Sequence[pa.Table]) -> pa.Table:
        """The parts as one table; without any, a table with the columns of the run and no rows."""
        return pa.concat_tables(parts) if parts else self.empty()

    def empty(self) -> pa.Table:
        """A table without rows. Its columns are those of a file, where the run has one that tells."""
        labelled = self.published.manifest.files
        own = columns_of_run(self.folder, self.published)
        own = replace(own, labels=self.published.manifest.label_set) if own is not None else None
        if own is None or own.expansion is None:
            own = PairColumns(labels=self.published.manifest.label_set)
        if not labelled or self.of == "pairs":
            by_table = {"labels": own.labelled, "rejected": own.rejected, "pairs": own.pairs}
            return self._selected(by_table[self.of]).empty_table()
        like = replace(self, files=labelled, columns=None, of="labels").read(labelled[0]).schema
        labelled_only = LABELLED_ONLY | {*own.labelled.names, *own.pairs.names} - {*own.rejected.names}
        kept = [field for field in like if field.name not in labelled_only]
        return self._selected(pa.schema([*kept, *SOURCE_FIELDS, *VERDICT_FIELDS])).empty_table()

    def _selected(self, schema: pa.Schema) -> pa.Schema:
        if self.columns is None:
            return schema
        missing = [name for name in self.columns if name not in schema.names]
        if missing:
            has = ", ".join(schema.names)
            raise InputError(f"column `{missing[0]}` of {self.folder.uri}", f"the run has {has}", "name one of these")
        return pa.schema([schema.field(name) for name in self.columns])


def published_rows(
    folder: Folder, *, of: Table = "labels", columns: Sequence[str] | None, checksums: bool
) -> PublishedRows:
    """One table of what is published in the folder.

    Raises InputError where nothing is published or there is no right to read it, and for pairs of a run that did not
    publish them. Raises IntegrityError for a `_SUCCESS` that no run wrote.
    """
    asked = f"the labels in {folder.uri}"
    try:
        published = manifest.published_at(folder)
    except AccessError as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    if published is None:
        nothing = f"nothing is published there: it has no {layout.SUCCESS}"
        raise InputError(asked, nothing, "give the --output of a run that is published")
    names = None if columns is None else tuple(columns)
    files = _files(folder, published, of)
    return PublishedRows(folder, published, files, names, of, checksums=checksums)


def columns_of_run(folder: Folder, published: PublishedRun) -> PairColumns | None:
    """The columns of a published run, as its plan says; None if the plan is not there. Raises InputError."""
    name = layout.plan_name(published.plan_id)
    with refused(InputError):
        try:
            return stored_columns(folder.read(name), folder.uri_of(name))
        except ObjectMissingError:
            return None


def _files(folder: Folder, published: PublishedRun, of: Table) -> tuple[PublishedFile, ...]:
    """The files of one table. Raises InputError for pairs of a run that did not publish them."""
    if of != "pairs":
        return published.manifest.rejected_files if of == "rejected" else published.manifest.files
    asked = f"the pairs in {folder.uri}"
    run_columns = columns_of_run(folder, published)
    if run_columns is None:
        problem = f"{layout.plan_name(published.plan_id)} is missing, which says what the tables of the run are"
        raise InputError(asked, problem, "copy the whole folder of the run")
    expansion = run_columns.expansion
    if expansion is None:
        raise InputError(asked, "each row of the run is one pair", "read the labels without pairs")
    if not expansion.publishes_pairs:
        raise InputError(asked, "the run published scores and no pairs", "label with --publish both")
    return published.manifest.pair_files if expansion.publishes_scores else published.manifest.files


def changed(folder: Folder) -> ObjectChangedError:
    """What to say when another run was published while this one was read."""
    return ObjectChangedError(f"the labels in {folder.uri}", "another run was published meanwhile", "read them again")
