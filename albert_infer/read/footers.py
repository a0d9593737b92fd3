"""Reads the footer of a Parquet file. `fitness` checks its columns, and `decoding` decodes rows.

A file that cannot be read raises UnreadableError with a `Quarantine`. Errors of the store are raised as they are.
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
# The bytes at the end of a file that Arrow reads for its footer.
FOOTER_READ_BYTES: Final = 64 << 10
# A thousand million rows are a year of labelling on one GPU. A footer that claims more is damaged or malicious: the
# list of its units would fill the driver's memory.
MAX_FILE_ROWS: Final = 1 << 30
# The metadata of geometries in a file has a few kilobytes.
MAX_NOTE_BYTES: Final = 1 << 22
# The most column names in a message.
MAX_NAMES: Final = 20
# Part of Arrow's message for an Int128 column of Polars. The message does not name the column.
WIDE_INTEGERS: Final = "more than 64 bits"
WIDE_REMEDY: Final = "cast the columns of Int128 in the file, to Int64 or a text"
# The errors that Arrow, and extension types that Arrow calls, raise for a bad footer.
FOOTER_ERRORS: Final = (pa.ArrowException, OSError, ValueError, TypeError, LookupError)


class UnreadableError(Exception):
    """A file or unit must be quarantined. Always caught in the package: users never get this error."""

    def __init__(self, reason: Quarantine, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Footer:
    """The facts of a Parquet footer: the columns, and the rows of each row group.

    `undecodable` columns have an unknown codec. `unwritable` columns, with the names of their types, have a type that
    Arrow does not keep: readers would see a copy as another type.
    """

    schema: pa.Schema
    row_groups: tuple[int, ...]
    undecodable: frozenset[str] = frozenset()
    unwritable: Mapping[str, str] = field(default_factory=dict)
    # The bytes of all columns before compression.
    plain_bytes: int = 0

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows of a file: `rows` rows after the first `skip` rows of groups `first_group` to `last_group`."""

    first_row: int
    rows: int
    first_group: int
    last_group: int
    skip: int


def begins_as_parquet(folder: Folder, pin: ObjectPin) -> bool:
    """Whether the first bytes are those of Parquet, encrypted or not. True for an archived object."""
    if pin.size < len(MAGIC):
        return False
    try:
        with folder.open_pinned(pin) as file:
            return file.read(len(MAGIC)) in (MAGIC, ENCRYPTED_MAGIC)
    except ArchivedError:
        return True  # `read_footer` then raises the reason, so that the object is not ignored


def read_footer(folder: Folder, pin: ObjectPin) -> Footer:
    """The footer of one file. Raises UnreadableError for a file without a usable one."""
    if pin.size == 0:
        raise UnreadableError(Quarantine.EMPTY_OBJECT, "0 bytes")
    with folder.open_pinned(pin) as opened:
        try:
            # Of a small file Arrow reads every byte for the footer: one request for all, and none for the first four.
            file = io.BytesIO(opened.read()) if pin.size <= FOOTER_READ_BYTES else opened
            magic = file.read(len(MAGIC))
        except ArchivedError as error:
            raise UnreadableError(Quarantine.ARCHIVED, f"{error.problem}; {error.remedy}") from error
        if magic == ENCRYPTED_MAGIC:
            raise UnreadableError(Quarantine.ENCRYPTED, "an encrypted footer")
        if magic != MAGIC:
            # The message does not quote the first bytes, which may be a text.
            raise UnreadableError(Quarantine.NOT_PARQUET, f"does not begin with {MAGIC.decode()}")
        file.seek(0)
        try:
            # Reads no metadata of column chunks (`row_group(…).column(…)`): with a damaged footer, Arrow ends the
            # process there.
            parquet = pq.ParquetFile(file, **READ_OPTIONS)
            metadata = parquet.metadata
            of_groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            groups = tuple(group.num_rows for group in of_groups)
            # Arrow decodes names at their first use, and may raise an error here.
            names = parquet.schema_arrow.names
            undecodable = _undecodable(metadata, pin.size, names)
            plain_bytes = sum(max(group.total_byte_size, 0) for group in of_groups)
            footer = Footer(parquet.schema_arrow, groups, undecodable, _unwritable(parquet), plain_bytes)
        except FOOTER_ERRORS as error:
            remedy = f"; {WIDE_REMEDY}" if WIDE_INTEGERS in str(error) else ""
            raise UnreadableError(Quarantine.BAD_FOOTER, f"{redacted(error)}{remedy}") from error
    if max(sum(groups), metadata.num_rows) > MAX_FILE_ROWS:
        detail = f"the footer claims {max(sum(groups), metadata.num_rows)} rows, at most {MAX_FILE_ROWS}"
        raise UnreadableError(Quarantine.LIMIT_ROWS, detail)
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        detail = f"row groups of {sum(groups)} rows in a file of {metadata.num_rows}"
        raise UnreadableError(Quarantine.BAD_FOOTER, detail)
    return footer


def redacted(error: Exception) -> str:
    """The message of a library's error, in one line and without quotes: Arrow may quote a value of the file."""
    return clean(re.sub(r"""(['"`]).*\1""", "(left out)", " ".join(str(error).split())))


def clean(text: str) -> str:
    """The first 200 characters, with `?` for characters that are not printable. For names that come from a file."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def some(names: Sequence[str]) -> str:
    """The first MAX_NAMES column names, for a message. A file may have thousands of columns, with any letters."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(f'`{clean(name)}`' for name in names[:MAX_NAMES]) or 'no column'}{more}"


class _Zeros(io.RawIOBase):
    """A file of zeros. None of its pages can be decoded."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        size = self._size - self._position if size is None or size < 0 else size
        self._position += size
        return bytes(size)


def _undecodable(metadata: pq.FileMetaData, size: int, names: list[str]) -> frozenset[str]:
    """The columns whose codec in the first row group Arrow cannot decode. Reads nothing from the store.

    Arrow checks the codec before it decodes a page, so pages of zeros are enough. The codec is not taken from the
    footer, because `ColumnChunkMetaData.compression` ends the process for an unknown codec.
    """
    if not metadata.num_row_groups:
        return frozenset()
    # One reader for all columns, because opening it parses the whole footer. Without a buffer, Arrow would read a whole
    # column before it checks the codec.
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
    """The columns whose Parquet type Arrow would write as another type, and the names of their types."""
    # Older versions of Arrow wrote their own times as times with a zone.
    from_arrow = b"ARROW:schema" in (parquet.metadata.metadata or {})
    names, shapes = set(parquet.schema_arrow.names), _geometries(parquet.metadata)
    unwritable: dict[str, str] = {}
    for index in range(len(parquet.schema)):
        leaf = parquet.schema.column(index)
        kind, column = leaf.logical_type.type, _column_of(leaf.path, names)
        if leaf.converted_type == "INTERVAL":
            unwritable[column] = "an INTERVAL"
        elif kind in ("GEOMETRY", "GEOGRAPHY"):
            unwritable[column] = f"a {kind}"
        elif column in shapes or (leaf.name in shapes and leaf.physical_type == "BYTE_ARRAY"):
            unwritable[column] = "a GEOMETRY"
        elif not from_arrow and kind == "TIME" and "UTC=true" in str(leaf.logical_type):
            unwritable[column] = "a TIME WITH TIME ZONE"
    return unwritable


def _geometries(metadata: pq.FileMetaData) -> Collection[str]:
    """The geometry columns in GeoParquet's metadata, which is their only mark. DuckDB also lists inner fields there."""
    try:
        geo = parsed_json((metadata.metadata or {}).get(b"geo", b"{}"), max_bytes=MAX_NOTE_BYTES)
    except ValueError:
        return ()
    columns = geo.get("columns") if isinstance(geo, dict) else None
    return columns.keys() if isinstance(columns, dict) else ()


def _column_of(path: str, names: set[str]) -> str:
    """The column of a leaf with this path. The name of a column may have dots."""
    parts = path.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in names), path)
