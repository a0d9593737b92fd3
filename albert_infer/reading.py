"""Parquet in: what a file's footer says, and the rows of one unit.

A file or unit that cannot be read is told as a `Quarantine`, never raised; trouble with the store is raised, never
told. Only the columns that were asked for are ever decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import ArchivedError, Folder, ObjectPin

# Rows decoded at a time: some megabytes of text.
DECODE_ROWS = 16_384
MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"


class UnreadableError(Exception):
    """A file or unit is to be quarantined; caught where its rows are accounted for, never seen by a user."""

    def __init__(self, reason: Quarantine, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself: its columns, and the rows of each row group."""

    schema: pa.Schema
    row_groups: tuple[int, ...]


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows of one file: `rows` rows from `skip` on in row groups `first_group` to `last_group`."""

    first_row: int
    rows: int
    first_group: int
    last_group: int
    skip: int


def begins_as_parquet(folder: Folder, pin: ObjectPin) -> bool:
    """Whether the object's first bytes are Parquet's; also where an archived object keeps it from being seen."""
    if pin.size < len(MAGIC):
        return False
    try:
        with folder.open_pinned(pin) as file:
            return bool(file.read(len(MAGIC)) == MAGIC)
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
            raise UnreadableError(Quarantine.NOT_PARQUET, f"does not begin with {MAGIC!r}")
        file.seek(0)
        try:
            parquet = pq.ParquetFile(file)
            metadata = parquet.metadata
            groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            footer = Footer(parquet.schema_arrow, groups)
            # Names are decoded when they are first asked for.
            _ = footer.schema.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UnreadableError(Quarantine.BAD_FOOTER, _one_line(error)) from error
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        found = f"row groups of {sum(groups)} rows in a file of {metadata.num_rows}"
        raise UnreadableError(Quarantine.BAD_FOOTER, found)
    return footer


def read_pairs(folder: Folder, pin: ObjectPin, rows: RowRange, columns: PairColumns) -> pa.Table:
    """The rows of one unit, columns as `columns.pair_fields`, in the order of the file.

    Raises UnreadableError if the pages cannot be decoded or hold another number of rows than the footer says.
    """
    groups = list(range(rows.first_group, rows.last_group + 1))
    with folder.open_pinned(pin) as file:
        try:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=True)
            pairs = _under_our_names(_rows_of(parquet, groups, rows, columns), columns)
        except MemoryError:
            raise  # this machine's trouble, not the file's
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(Quarantine.BAD_PAGE, _one_line(error)) from error
    if pairs.num_rows != rows.rows:
        found = f"{pairs.num_rows} rows where the footer says {rows.rows}"
        raise UnreadableError(Quarantine.ROW_COUNT, found)
    return pairs


def _rows_of(parquet: pq.ParquetFile, groups: list[int], rows: RowRange, columns: PairColumns) -> pa.Table:
    """Decode batch by batch: a huge row group is never in memory as a whole, and not decoded beyond the range."""
    kept, begin = [], 0
    batches = parquet.iter_batches(DECODE_ROWS, row_groups=groups, columns=columns.input_names, use_threads=False)
    for batch in batches:
        first, last = max(rows.skip - begin, 0), rows.skip + rows.rows - begin
        begin += batch.num_rows
        if first < batch.num_rows:
            kept.append(batch.slice(first, last - first))
        if begin >= rows.skip + rows.rows:
            break
    wanted = pa.schema([parquet.schema_arrow.field(name) for name in columns.input_names])
    return pa.Table.from_batches([batch.select(columns.input_names) for batch in kept], schema=wanted)


def _under_our_names(table: pa.Table, columns: PairColumns) -> pa.Table:
    fields = columns.pair_fields
    plain = [_cast(column, field.type) for column, field in zip(table.columns, fields, strict=True)]
    return pa.Table.from_arrays(plain, schema=pa.schema(fields))


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind) else column.cast(kind)


def _one_line(error: Exception) -> str:
    # Capped, because a message may quote what the file holds.
    return " ".join(str(error).split())[:200]


def unfit_column(schema: pa.Schema, columns: PairColumns) -> UnreadableError | None:
    """Why a file with this schema cannot give `columns`, or None if it can."""
    for name in columns.input_names:
        found = schema.get_all_field_indices(name)
        if not found:
            return UnreadableError(Quarantine.SCHEMA_MISSING, f"no column `{name}`{_near(name, schema.names)}")
        if len(found) > 1:
            return UnreadableError(Quarantine.SCHEMA_DUPLICATE_COLUMN, f"{len(found)} columns `{name}`")
        if isinstance(schema.field(name).type, pa.BaseExtensionType):
            return UnreadableError(Quarantine.SCHEMA_EXTENSION, f"column `{name}` is an extension type")
    for name, (reason, wanted, fits) in _expectations(columns).items():
        kind = schema.field(name).type
        if not fits(kind):
            return UnreadableError(reason, f"column `{name}` is {kind}, not {wanted}")
    return None


def _expectations(columns: PairColumns) -> dict[str, tuple[Quarantine, str, Callable[[Any], bool]]]:
    """By input column: the reason if its type does not fit, the type that was expected, and whether a type fits."""
    expected: dict[str, tuple[Quarantine, str, Callable[[Any], bool]]] = {}
    for field in columns.carried:
        expected[field.name] = (Quarantine.SCHEMA_TYPE, str(field.type), field.type.equals)
    for name in (columns.premise, columns.hypothesis):
        expected[name] = (Quarantine.SCHEMA_TYPE, "string", lambda kind: _is_text(kind) or pa.types.is_null(kind))
    if columns.pair_id is not None:
        wanted = columns.id_type
        expected[columns.pair_id] = (
            Quarantine.SCHEMA_ID,
            str(wanted),
            lambda kind: id_type(kind) == wanted or pa.types.is_null(kind),
        )
    return expected


def id_type(kind: pa.DataType) -> pa.DataType | None:
    """The type that ids of type `kind` have in the output; None for what is not an id."""
    if _is_text(kind):
        return pa.string()
    if pa.types.is_uint64(kind):
        return kind  # hashes: half of them are beyond int64
    return pa.int64() if pa.types.is_integer(kind) else None


def _is_text(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _near(name: str, names: list[str]) -> str:
    near = [other for other in names if other.lower() == name.lower()]
    return f", but `{near[0]}`" if near else ""
