"""A published run as the tables of its files: exactly those that `_SUCCESS` names, in the order of the input.

Whether the labels are those of the input is the question of `verification`, which shares no code with this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.common.printable import REASON_LETTERS, one_line
from albert_infer.errors import InputError, IntegrityError, ObjectChangedError, ObjectMissingError
from albert_infer.output import layout, manifest
from albert_infer.output.commit import SUMMARY_KEY
from albert_infer.output.manifest import PublishedFile, PublishedRun
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
from albert_infer.storage import AccessError, Folder

VERIFY: Final = "count the run again with albert-infer verify"
# Columns of labelled rows that their rejected rows do not have.
LABELLED_ONLY: Final = frozenset(
    {PREMISE, HYPOTHESIS, NEEDS_REVIEW, N_WINDOWS, *(field.name for field in (*LABEL_FIELDS, *SOURCE_FIELDS))}
)


@dataclass(frozen=True)
class PublishedRows:
    """The labelled rows of a run, or its rejected ones: files in the order of the input. Picklable.

    With `checksums` the bytes of each file are compared with the sha256 in `_SUCCESS`.
    """

    folder: Folder
    published: PublishedRun
    files: tuple[PublishedFile, ...]
    # Columns to read, in this order; None for all.
    columns: tuple[str, ...] | None
    rejected: bool
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
        labelled, columns = self.published.manifest.files, PairColumns()
        if not labelled:
            return self._selected(columns.rejected if self.rejected else columns.labelled).empty_table()
        like = replace(self, files=labelled, columns=None, rejected=False).read(labelled[0]).schema
        kept = [field for field in like if field.name not in LABELLED_ONLY]
        return self._selected(pa.schema([*kept, *SOURCE_FIELDS, *VERDICT_FIELDS])).empty_table()

    def _selected(self, schema: pa.Schema) -> pa.Schema:
        if self.columns is None:
            return schema
        missing = [name for name in self.columns if name not in schema.names]
        if missing:
            has = ", ".join(schema.names)
            raise InputError(f"column `{missing[0]}` of {self.folder.uri}", f"the run has {has}", "name one of these")
        return pa.schema([schema.field(name) for name in self.columns])


def published_rows(folder: Folder, *, rejected: bool, columns: Sequence[str] | None, checksums: bool) -> PublishedRows:
    """What is published in the folder: its labelled rows, or its rejected ones.

    Raises InputError where nothing is published or there is no right to read it, and IntegrityError for a `_SUCCESS`
    that no run wrote.
    """
    asked = f"the labels in {folder.uri}"
    try:
        published = manifest.published_at(folder)
    except AccessError as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    if published is None:
        nothing = f"nothing is published there: it has no {layout.SUCCESS}"
        raise InputError(asked, nothing, "give the --output of a run that is published")
    files = published.manifest.rejected_files if rejected else published.manifest.files
    names = None if columns is None else tuple(columns)
    return PublishedRows(folder, published, files, names, rejected=rejected, checksums=checksums)


def changed(folder: Folder) -> ObjectChangedError:
    """What to say when another run was published while this one was read."""
    return ObjectChangedError(f"the labels in {folder.uri}", "another run was published meanwhile", "read them again")
