"""Checks by the schema alone whether a file has the columns of a run. Returns the reason and a remedy if not.

A file that does not fit is returned as an UnreadableError with a `Quarantine`, and nothing is raised.
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
NO_ORIGINS: Final[Mapping[str, str]] = {}


def footer_error(
    footer: Footer, columns: PairColumns, origins: Mapping[str, str] = NO_ORIGINS
) -> UnreadableError | None:
    """The reason why a file with this footer does not have `columns`, or None if the file fits.

    `origins` has the file that decided the type of a column. A file without rows needs the columns of the pairs only,
    of any type.
    """
    if not footer.rows:
        pair = [name for name in (columns.pair_id, *columns.texts.values()) if name is not None]
        return next((_missing(name, footer.schema.names) for name in pair if name not in footer.schema.names), None)
    for name in columns.input_names:
        if name in footer.undecodable:
            return UnreadableError(Quarantine.CODEC, f"column `{name}` is compressed with a codec that is not built in")
    for carried in columns.carried:
        if (kind := footer.unwritable.get(carried.name)) is not None:
            detail = f"column `{carried.name}` is {kind}, which cannot be written as it is; do not carry it"
            return UnreadableError(Quarantine.SCHEMA_TYPE, clean(detail))
    return schema_error(footer.schema, columns, origins)


def schema_error(
    schema: pa.Schema, columns: PairColumns, origins: Mapping[str, str] = NO_ORIGINS
) -> UnreadableError | None:
    """The reason why a file with this schema does not have `columns`, or None if the file fits."""
    times, texts = Counter(schema.names), set(columns.texts.values())
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
            difference = clean(f"column `{name}` is {kinds[name]}, not {wanted}")
            type_remedy = TEXT_REMEDY if name in texts else CARRIED_REMEDY
            remedy = ID_REMEDY if reason == Quarantine.SCHEMA_ID else type_remedy
            # The remedy is never cut, even if a type or a name is long.
            return UnreadableError(reason, f"{difference}; {remedy}")
    return None


def _is_extension(field: pa.Field, *, is_text: bool) -> bool:
    """Whether the field is an extension type that is not accepted: for texts all, for others all but Arrow's own."""
    return (is_text and isinstance(field.type, pa.BaseExtensionType)) or is_unknown_extension(field)


def _expectations(
    columns: PairColumns, origins: Mapping[str, str]
) -> dict[str, tuple[Quarantine, str, Callable[[Any], bool]]]:
    """For each input column: the reason if its type does not fit, the expected type as text, and the test of a type."""
    expected: dict[str, tuple[Quarantine, str, Callable[[Any], bool]]] = {}
    for carried in columns.carried:
        origin = f" as in {origins[carried.name]}" if carried.name in origins else ""
        expected[carried.name] = (Quarantine.SCHEMA_TYPE, f"{carried.type}{origin}", partial(_widens, carried.type))
    for name in columns.texts.values():
        expected[name] = (Quarantine.SCHEMA_TYPE, "string", lambda kind: is_text(kind) or pa.types.is_null(kind))
    if columns.pair_id is not None:
        wanted = "a text or a whole number"
        if columns.pair_id in origins:
            wanted = f"{columns.id_type} as the ids of {origins[columns.pair_id]}"
        expected[columns.pair_id] = (Quarantine.SCHEMA_ID, wanted, partial(_is_id, columns.id_type))
    return expected


def _widens(wanted: Any, kind: Any) -> bool:
    """Whether the run's type `wanted` can store every value of `kind`."""
    common = united(wanted, plain_type(kind))
    return common is not None and bool(common.equals(wanted))


def _is_id(wanted: Any, kind: Any) -> bool:
    """Whether a column may have ids of the run's type. Floats may: their values are checked when they are decoded."""
    return bool(pa.types.is_null(kind) or pa.types.is_floating(kind) or id_type(kind) == wanted)


def id_type(kind: Any) -> pa.DataType | None:
    """The type in the output of ids of type `kind`, or None if `kind` is not a type of ids.

    Texts, UUIDs, JSON and decimals without a fraction become texts. Floats become texts too: pandas writes integers as
    floats if one is missing.
    """
    types = pa.types
    if is_text(kind) or isinstance(kind, pa.UuidType | pa.JsonType) or types.is_floating(kind):
        return pa.string()
    if types.is_decimal(kind) and kind.scale == 0:
        return pa.string()
    if types.is_uint64(kind):
        return kind  # hashes: half of them do not fit into int64
    return pa.int64() if types.is_integer(kind) else None


def _missing(name: str, names: list[str]) -> UnreadableError:
    near = [f", but `{other}`" for other in names if other.lower() == name.lower()]
    return UnreadableError(Quarantine.SCHEMA_MISSING, f"no column `{name}`{''.join(near[:1])}")
