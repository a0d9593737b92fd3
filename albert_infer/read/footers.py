"""Parquet in: what a file's footer says. `fitness` judges by it, and `decoding` decodes rows.

A file that cannot be read is told as a `Quarantine`, never raised; trouble with the store is raised, never told.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.common.json_input import parsed_json
from albert_infer.read.int96 import READ_OPTIONS
from albert_infer.schema import Quarantine
from albert_infer.storage import ArchivedError, Folder, ObjectPin

MAGIC: Final = b"PAR1"
ENCRYPTED_MAGIC: Final = b"PARE"
# A thousand million rows are a year of labelling on one GPU; a footer that claims more is damaged, or means harm: its
# units alone would fill the driver's memory.
MAX_FILE_ROWS: Final = 1 << 30
# What a file notes of its own geometries is a few kilobytes.
MAX_NOTE_BYTES: Final = 1 << 22
# Names of columns in a message.
MAX_NAMES: Final = 20
# What Arrow says of a file that Polars wrote with an Int128, and it does not say of which column.
WIDE_INTEGERS: Final = "more than 64 bits"
WIDE_REMEDY: Final = "cast the columns of Int128 in the file, to Int64 or a text"
# What a bad footer makes Arrow raise, and the extension types that it calls on the way.
FOOTER_ERRORS: Final = (pa.ArrowException, OSError, ValueError, TypeError, LookupError)


class UnreadableError(Exception):
    """A file or unit is to be quarantined; caught where its rows are accounted for, never seen by a user."""

    def __init__(self, reason: Quarantine, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself: its columns, the rows of each row group, and columns of two kinds.

    `undecodable` ones have an unknown codec. Of `unwritable` ones Arrow keeps the bytes and not the type, which is
    named: a copy would be another column to other readers.
    """

    schema: pa.Schema
    row_groups: tuple[int, ...]
    undecodable: frozenset[str] = frozenset()
    unwritable: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows of one file: `rows` rows from `skip` on in row groups `first_group` to `last_group`."""

    first_row: int
    rows: int
    first_group: int
    last_group: int
    skip: int


def begins_as_parquet(folder: Folder, pin: ObjectPin) -> bool:
    """Whether the first bytes are Parquet's, encrypted or not; also where an archived object cannot be looked at."""
    if pin.size < len(MAGIC):
        return False
    try:
        with folder.open_pinned(pin) as file:
            return file.read(len(MAGIC)) in (MAGIC, ENCRYPTED_MAGIC)
    except ArchivedError:
        return True  # `read_footer` then says why it cannot be read: never ignored unseen


def read_footer(folder: Folder, pin: ObjectPin) -> Footer:
    """The footer of one file. Raises UnreadableError for a file without a usable one."""
    if pin.size == 0:
        raise UnreadableError(Quarantine.EMPTY_OBJECT, "0 bytes")
    with folder.open_pinned(pin) as file:
        try:
            magic = file.read(len(MAGIC))
        except ArchivedError as error:
            raise UnreadableError(Quarantine.ARCHIVED, f"{error.problem}; {error.remedy}") from error
        if magic == ENCRYPTED_MAGIC:
            raise UnreadableError(Quarantine.ENCRYPTED, "an encrypted footer")
        if magic != MAGIC:
            # What it begins with instead may be a text, and this goes into messages.
            raise UnreadableError(Quarantine.NOT_PARQUET, f"does not begin with {MAGIC.decode()}")
        file.seek(0)
        try:
            # No more is asked of the footer than this: of one that is damaged, Arrow's metadata of a column chunk
            # (`row_group(…).column(…)`) ends the process.
            parquet = pq.ParquetFile(file, **READ_OPTIONS)
            metadata = parquet.metadata
            groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            # Names are decoded when they are first asked for.
            names = parquet.schema_arrow.names
            undecodable = _undecodable(metadata, pin.size, names)
            footer = Footer(parquet.schema_arrow, groups, undecodable, _unwritable(parquet))
        except FOOTER_ERRORS as error:
            remedy = f"; {WIDE_REMEDY}" if WIDE_INTEGERS in str(error) else ""
            raise UnreadableError(Quarantine.BAD_FOOTER, f"{told(error)}{remedy}") from error
    if max(sum(groups), metadata.num_rows) > MAX_FILE_ROWS:
        found = f"the footer claims {max(sum(groups), metadata.num_rows)} rows, at most {MAX_FILE_ROWS}"
        raise UnreadableError(Quarantine.LIMIT_ROWS, found)
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        found = f"row groups of {sum(groups)} rows in a file of {metadata.num_rows}"
        raise UnreadableError(Quarantine.BAD_FOOTER, found)
    return footer


def told(error: Exception) -> str:
    """What a library says, on one line and without what it may quote from the file: an Arrow error can hold a value."""
    return clean(re.sub(r"""(['"`]).*\1""", "(left out)", " ".join(str(error).split())))


def clean(text: str) -> str:
    """At most 200 printable characters: a file's own names reach the log, and may hold more or other."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def some(names: Sequence[str]) -> str:
    """The names of columns for a message: a file may have thousands, and any letters."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(f'`{clean(name)}`' for name in names[:MAX_NAMES]) or 'no column'}{more}"


class _Zeros(io.RawIOBase):
    """A file of zeros: pages that nobody can read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        size = self._size - self._place if size is None or size < 0 else size
        self._place += size
        return bytes(size)


def _undecodable(metadata: pq.FileMetaData, size: int, names: list[str]) -> frozenset[str]:
    """The columns whose codec Arrow cannot decode, as the first row group has them; costs no read.

    Arrow looks at the codec before the first page, so it is given pages of zeros. The footer cannot be asked:
    `ColumnChunkMetaData.compression` ends the process at a codec that the format does not have.
    """
    if not metadata.num_row_groups:
        return frozenset()
    # One for all columns, since it looks at all of the footer. With a buffer a column is read as it is needed, else as
    # a whole before the codec is looked at.
    pages = pq.ParquetFile(_Zeros(size), metadata=metadata, buffer_size=4096)
    if not _refuses_codec(pages, names):
        return frozenset()
    return frozenset(name for name in names if _refuses_codec(pages, [name]))


def _refuses_codec(pages: pq.ParquetFile, names: list[str]) -> bool:
    try:
        next(pages.iter_batches(1, row_groups=[0], columns=names, use_threads=False), None)
    except (pa.ArrowException, OSError) as error:
        return re.search(r"(?i)compression|codec", str(error)) is not None
    return False


def _unwritable(parquet: pq.ParquetFile) -> dict[str, str]:
    """The columns whose Parquet type has no Arrow type that is written as the same, and what they are."""
    # Arrow's own times were long written as if they were of a zone.
    from_arrow = b"ARROW:schema" in (parquet.metadata.metadata or {})
    names, shapes = set(parquet.schema_arrow.names), _geometries(parquet.metadata)
    found: dict[str, str] = {}
    for place in range(len(parquet.schema)):
        leaf = parquet.schema.column(place)
        kind, column = leaf.logical_type.type, _column_of(leaf.path, names)
        if leaf.converted_type == "INTERVAL":
            found[column] = "an INTERVAL"
        elif kind in ("GEOMETRY", "GEOGRAPHY"):
            found[column] = f"a {kind}"
        elif column in shapes or (leaf.name in shapes and leaf.physical_type == "BYTE_ARRAY"):
            found[column] = "a GEOMETRY"
        elif not from_arrow and kind == "TIME" and "UTC=true" in str(leaf.logical_type):
            found[column] = "a TIME WITH TIME ZONE"
    return found


def _geometries(metadata: pq.FileMetaData) -> Collection[str]:
    """The columns that GeoParquet's note calls geometries, as nothing else does; DuckDB's names inner fields, too."""
    try:
        told = parsed_json((metadata.metadata or {}).get(b"geo", b"{}"), max_bytes=MAX_NOTE_BYTES)
    except ValueError:
        return ()
    columns = told.get("columns") if isinstance(told, dict) else None
    return columns.keys() if isinstance(columns, dict) else ()


def _column_of(path: str, names: set[str]) -> str:
    """The column that a leaf is in; its own name may have dots, too."""
    parts = path.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in names), path)
