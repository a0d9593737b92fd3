"""Whether a file can give the columns of a run, by its schema alone; and if not, why, and what helps.

A file that cannot is told as a `Quarantine`, never raised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import pyarrow as pa

from albert_infer.common.column_types import plain_type, united
from albert_infer.common.extension_types import is_unknown_extension
from albert_infer.read.footers import Footer, UnreadableError, clean
from albert_infer.schema import PairColumns, Quarantine, is_text

ID_REMEDY: Final = "ids are texts or whole numbers; cast it to those, or take no ids with --id-column none"
TEXT_REMEDY: Final = "cast it in the file"
CARRIED_REMEDY: Final = "cast it in the file, or do not carry it"
NOWHERE: Final[Mapping[str, str]] = {}


def unfit(footer: Footer, columns: PairColumns, origins: Mapping[str, str] = NOWHERE) -> UnreadableError | None:
    """Why a file with this footer cannot give `columns`, or None if it can.

    `origins` says for columns of the run which file gave them their type. A file without rows has no value that could
    be of another type, nor null in a column that it lacks: it needs the columns of the pairs alone.
    """
    if not footer.rows:
        pair = [name for name in (columns.pair_id, columns.premise, columns.hypothesis) if name is not None]
        return next((_missing(name, footer.schema.names) for name in pair if name not in footer.schema.names), None)
    for name in columns.input_names:
        if name in footer.undecodable:
            return UnreadableError(Quarantine.CODEC, f"column `{name}` is compressed with a codec that is not built in")
    for carried in columns.carried:
        if (kind := footer.unwritable.get(carried.name)) is not None:
            found = f"column `{carried.name}` is {kind}, which cannot be written as it is; do not carry it"
            return UnreadableError(Quarantine.SCHEMA_TYPE, clean(found))
    return unfit_column(footer.schema, columns, origins)


def unfit_column(
    schema: pa.Schema, columns: PairColumns, origins: Mapping[str, str] = NOWHERE
) -> UnreadableError | None:
    """Why a file with this schema cannot give `columns`, or None if it can."""
    times, texts = Counter(schema.names), (columns.premise, columns.hypothesis)
    may_lack = {field.name for field in columns.carried} if columns.may_lack_carried else set()
    fields = {field.name: field for field in schema}
    kinds = {name: field.type for name, field in fields.items()}
    for name in columns.input_names:
        if name not in times:
            if name in may_lack:
                continue
            return _missing(name, schema.names)
        if times[name] > 1:
            return UnreadableError(Quarantine.SCHEMA_DUPLICATE_COLUMN, f"{times[name]} columns `{name}`")
        if _is_extension(fields[name], is_text=name in texts):
            return UnreadableError(Quarantine.SCHEMA_EXTENSION, f"column `{name}` is or holds an extension type")
    for name, (reason, wanted, fits) in _expectations(columns, origins).items():
        if name in kinds and not fits(kinds[name]):
            found = clean(f"column `{name}` is {kinds[name]}, not {wanted}")
            type_remedy = TEXT_REMEDY if name in texts else CARRIED_REMEDY
            remedy = ID_REMEDY if reason == Quarantine.SCHEMA_ID else type_remedy
            # Not cut, however long a type or a name is.
            return UnreadableError(reason, f"{found}; {remedy}")
    return None


def _is_extension(field: pa.Field, *, is_text: bool) -> bool:
    """Whether the field is an extension that is not taken: as a text none is, else Arrow's own ones are."""
    return (is_text and isinstance(field.type, pa.BaseExtensionType)) or is_unknown_extension(field)


def _expectations(
    columns: PairColumns, origins: Mapping[str, str]
) -> dict[str, tuple[Quarantine, str, Callable[[Any], bool]]]:
    """By input column: the reason if its type does not fit, the type that was expected, and whether a type fits."""
    expected: dict[str, tuple[Quarantine, str, Callable[[Any], bool]]] = {}
    for carried in columns.carried:
        origin = f" as in {origins[carried.name]}" if carried.name in origins else ""
        expected[carried.name] = (Quarantine.SCHEMA_TYPE, f"{carried.type}{origin}", partial(_widens, carried.type))
    for name in (columns.premise, columns.hypothesis):
        expected[name] = (Quarantine.SCHEMA_TYPE, "string", lambda kind: is_text(kind) or pa.types.is_null(kind))
    if columns.pair_id is not None:
        wanted = "a text or a whole number"
        if columns.pair_id in origins:
            wanted = f"{columns.id_type} as the ids of {origins[columns.pair_id]}"
        expected[columns.pair_id] = (Quarantine.SCHEMA_ID, wanted, partial(_is_id, columns.id_type))
    return expected


def _widens(wanted: Any, kind: Any) -> bool:
    """Whether every value of `kind` is one of the run's type, too."""
    found = united(wanted, plain_type(kind))
    return found is not None and bool(found.equals(wanted))


def _is_id(wanted: Any, kind: Any) -> bool:
    """Whether a column gives ids of the run's type; a float may hold whole numbers alone, which its values show."""
    return bool(pa.types.is_null(kind) or pa.types.is_floating(kind) or id_type(kind) == wanted)


def id_type(kind: Any) -> pa.DataType | None:
    """The type that ids of type `kind` have in the output; None for what is not an id.

    Texts, UUIDs, JSON and whole decimals are texts, and so are floats, which hold integers where pandas met a hole.
    """
    types = pa.types
    if is_text(kind) or isinstance(kind, pa.UuidType | pa.JsonType) or types.is_floating(kind):
        return pa.string()
    if types.is_decimal(kind) and kind.scale == 0:
        return pa.string()
    if types.is_uint64(kind):
        return kind  # hashes: half of them are beyond int64
    return pa.int64() if types.is_integer(kind) else None


def _missing(name: str, names: list[str]) -> UnreadableError:
    near = [f", but `{other}`" for other in names if other.lower() == name.lower()]
    return UnreadableError(Quarantine.SCHEMA_MISSING, f"no column `{name}`{''.join(near[:1])}")
