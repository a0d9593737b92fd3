"""Parquet in: what a file's footer says, and whether the file can give the columns of the run.

A file that cannot be read is told as a `Quarantine`, never raised; trouble with the store is raised, never told. No
row is decoded here; `decoding` does that.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.schema import PairColumns, Quarantine, is_text
from albert_infer.storage import ArchivedError, Folder, ObjectPin

MAGIC: Final = b"PAR1"
ENCRYPTED_MAGIC: Final = b"PARE"
# A thousand million rows are a year of labelling on one GPU; a footer that claims more is damaged, or means harm: its
# units alone would fill the driver's memory.
MAX_FILE_ROWS: Final = 1 << 30
# Names of columns in a message.
MAX_NAMES: Final = 20
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
    """What a Parquet file says of itself: its columns, the rows of each row group, columns of an unknown codec."""

    schema: pa.Schema
    row_groups: tuple[int, ...]
    undecodable: frozenset[str] = frozenset()


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
            raise UnreadableError(Quarantine.ARCHIVED, f"{error.found}; {error.remedy}") from error
        if magic == ENCRYPTED_MAGIC:
            raise UnreadableError(Quarantine.ENCRYPTED, "an encrypted footer")
        if magic != MAGIC:
            # What it begins with instead may be a text, and this goes into messages.
            raise UnreadableError(Quarantine.NOT_PARQUET, f"does not begin with {MAGIC.decode()}")
        file.seek(0)
        try:
            # No more is asked of the footer than this: of one that is damaged, Arrow's metadata of a column chunk
            # (`row_group(…).column(…)`) ends the process.
            parquet = pq.ParquetFile(file)
            metadata = parquet.metadata
            groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            # Names are decoded when they are first asked for.
            names = parquet.schema_arrow.names
            footer = Footer(parquet.schema_arrow, groups, _undecodable(metadata, pin.size, names))
        except FOOTER_ERRORS as error:
            raise UnreadableError(Quarantine.BAD_FOOTER, told(error)) from error
    if max(sum(groups), metadata.num_rows) > MAX_FILE_ROWS:
        found = f"the footer claims {max(sum(groups), metadata.num_rows)} rows, at most {MAX_FILE_ROWS}"
        raise UnreadableError(Quarantine.LIMIT_ROWS, found)
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        found = f"row groups of {sum(groups)} rows in a file of {metadata.num_rows}"
        raise UnreadableError(Quarantine.BAD_FOOTER, found)
    return footer


def unfit(footer: Footer, columns: PairColumns) -> UnreadableError | None:
    """Why a file with this footer cannot give `columns`, or None if it can."""
    for name in columns.input_names:
        if name in footer.undecodable:
            return UnreadableError(Quarantine.CODEC, f"column `{name}` is compressed with a codec that is not built in")
    return unfit_column(footer.schema, columns)


def unfit_column(schema: pa.Schema, columns: PairColumns) -> UnreadableError | None:
    """Why a file with this schema cannot give `columns`, or None if it can."""
    for name in columns.input_names:
        found = schema.get_all_field_indices(name)
        if not found:
            return UnreadableError(Quarantine.SCHEMA_MISSING, f"no column `{name}`{_near(name, schema.names)}")
        if len(found) > 1:
            return UnreadableError(Quarantine.SCHEMA_DUPLICATE_COLUMN, f"{len(found)} columns `{name}`")
        if holds_extension(schema.field(name).type):
            return UnreadableError(Quarantine.SCHEMA_EXTENSION, f"column `{name}` is or holds an extension type")
    for name, (reason, wanted, fits) in _expectations(columns).items():
        kind = schema.field(name).type
        if not fits(kind):
            return UnreadableError(reason, clean(f"column `{name}` is {kind}, not {wanted}"))
    return None


def _expectations(columns: PairColumns) -> dict[str, tuple[Quarantine, str, Callable[[Any], bool]]]:
    """By input column: the reason if its type does not fit, the type that was expected, and whether a type fits."""
    expected: dict[str, tuple[Quarantine, str, Callable[[Any], bool]]] = {}
    for field in columns.carried:
        expected[field.name] = (Quarantine.SCHEMA_TYPE, str(field.type), field.type.equals)
    for name in (columns.premise, columns.hypothesis):
        expected[name] = (Quarantine.SCHEMA_TYPE, "string", lambda kind: is_text(kind) or pa.types.is_null(kind))
    if columns.pair_id is not None:
        wanted = columns.id_type
        expected[columns.pair_id] = (
            Quarantine.SCHEMA_ID,
            f"{wanted} as the ids of the first file that has any (ids are strings or integers)",
            lambda kind: id_type(kind) == wanted or pa.types.is_null(kind),
        )
    return expected


def id_type(kind: pa.DataType) -> pa.DataType | None:
    """The type that ids of type `kind` have in the output; None for what is not an id."""
    if is_text(kind):
        return pa.string()
    if pa.types.is_uint64(kind):
        return kind  # hashes: half of them are beyond int64
    return pa.int64() if pa.types.is_integer(kind) else None


def holds_extension(kind: Any) -> bool:
    """Whether the type is an Arrow extension, or holds one at any depth.

    Looking at a value of an extension type runs code that the type brings along: Ray's unpickles what the file holds.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return True
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return holds_extension(kind.value_type)
    return any(holds_extension(kind.field(place).type) for place in range(kind.num_fields))


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


def _near(name: str, names: list[str]) -> str:
    near = [other for other in names if other.lower() == name.lower()]
    return f", but `{near[0]}`" if near else ""


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
    if not metadata.num_row_groups or not _refuses_codec(metadata, size, names):
        return frozenset()
    return frozenset(name for name in names if _refuses_codec(metadata, size, [name]))


def _refuses_codec(metadata: pq.FileMetaData, size: int, names: list[str]) -> bool:
    # With a buffer a column is read as it is needed, else as a whole before the codec is looked at.
    pages = pq.ParquetFile(_Zeros(size), metadata=metadata, buffer_size=4096)
    try:
        next(pages.iter_batches(1, row_groups=[0], columns=names, use_threads=False), None)
    except (pa.ArrowException, OSError) as error:
        return re.search(r"(?i)compression|codec", str(error)) is not None
    return False
