"""Arrow types of input columns: the plain type of a column, and a common type for the columns of two files.

Knows nothing of files. `column_values` converts values to these types.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from albert_infer.schema import is_text

types: Final = pa.types
# Names of the same time zone. Writers use any of them.
UTC_NAMES: Final = frozenset({"UTC", "Etc/UTC", "Z", "Zulu", "GMT", "Etc/GMT", "+00:00", "-00:00", "+0000"})
# The most digits that a common decimal type has, by its bits. DuckDB and Spark read at most 38 digits.
DECIMALS: Final = ((9, pa.decimal32), (18, pa.decimal64), (38, pa.decimal128), (38, pa.decimal256))
UNITS: Final = ("s", "ms", "us", "ns")
# Integers of up to this many bits are exact as a double.
WIDEST_IN_DOUBLE: Final = 32


def plain_type(kind: Any) -> Any:
    """The type that stores values of `kind` without views, without run-end encoding, and without nested dictionaries.

    Arrow's `filter` and `take` do not support most of these, and readers of the output may not know them. A type that
    is plain already is returned as it is, with the names of its inner fields.
    """
    if types.is_dictionary(kind):
        value = _inner(kind.value_type)
        return kind if value.equals(kind.value_type) else pa.dictionary(kind.index_type, value, kind.ordered)
    return _inner(kind)


def _inner(kind: Any) -> Any:
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _inner(kind.value_type)
    if isinstance(kind, pa.JsonType):
        return pa.json_(pa.string()) if types.is_string_view(kind.storage_type) else kind
    for is_view, without in WITHOUT_VIEW:
        if is_view(kind):
            return without(kind)
    if types.is_nested(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        if any(not _inner(field.type).equals(field.type) for field in fields):
            return _nested(kind)
    return kind


def _nested(kind: Any) -> Any:
    if types.is_struct(kind):
        return pa.struct([_inner_field(field) for field in kind])
    if types.is_map(kind):
        return pa.map_(_inner_field(kind.key_field), _inner_field(kind.item_field), kind.keys_sorted)
    item = _inner_field(kind.value_field)
    if types.is_fixed_size_list(kind):
        return pa.list_(item, kind.list_size)
    return pa.large_list(item) if types.is_large_list(kind) else pa.list_(item)


def _inner_field(field: pa.Field) -> pa.Field:
    return field.with_type(_inner(field.type))


WITHOUT_VIEW: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...]] = (
    (types.is_string_view, lambda _: pa.string()),
    (types.is_binary_view, lambda _: pa.binary()),
    (types.is_list_view, lambda kind: pa.list_(_inner_field(kind.value_field))),
    (types.is_large_list_view, lambda kind: pa.large_list(_inner_field(kind.value_field))),
)


def optional(kind: Any) -> Any:
    """The type with all its inner fields and items nullable. Returns `kind` itself if they are nullable already.

    Arrow cannot write a null above a required field. The keys of a map are always required.
    """
    result: Any = kind
    if types.is_struct(kind):
        result = pa.struct([_optional_field(field) for field in kind])
    elif types.is_map(kind):
        key = kind.key_field.with_type(optional(kind.key_type))
        result = pa.map_(key, _optional_field(kind.item_field), kind.keys_sorted)
    elif types.is_fixed_size_list(kind):
        result = pa.list_(_optional_field(kind.value_field), kind.list_size)
    elif types.is_list(kind):
        result = pa.list_(_optional_field(kind.value_field))
    elif types.is_large_list(kind):
        result = pa.large_list(_optional_field(kind.value_field))
    return kind if result.equals(kind) else result


def _optional_field(field: pa.Field) -> pa.Field:
    return field.with_type(optional(field.type)).with_nullable(True)


def united(one: Any, other: Any) -> Any | None:
    """A type that stores all values of two plain types without change, or None. `one` itself if it is enough."""
    if one.equals(other):
        return one
    if types.is_null(one) or types.is_null(other):
        return optional(other if types.is_null(one) else one)
    for unite in UNITERS:
        if (common := unite(one, other)) is not None:
            return one if common.equals(one) else common
    return None


def _united_dictionaries(one: Any, other: Any) -> Any | None:
    kinds = [kind for kind in (one, other) if types.is_dictionary(kind)]
    if not kinds:
        return None
    value = united(*(kind.value_type if types.is_dictionary(kind) else kind for kind in (one, other)))
    if len(kinds) == 1 or value is None:
        return value
    index = _united_integers(one.index_type, other.index_type) or pa.int64()
    return pa.dictionary(index, value, one.ordered and other.ordered)


def _united_texts(one: Any, other: Any) -> Any | None:
    kinds = [kind.storage_type if isinstance(kind, pa.JsonType) else kind for kind in (one, other)]
    if not all(map(is_text, kinds)):
        return None
    text = pa.large_string() if any(map(types.is_large_string, kinds)) else pa.string()
    return pa.json_(text) if all(isinstance(kind, pa.JsonType) for kind in (one, other)) else text


def _united_bytes(one: Any, other: Any) -> Any | None:
    checks = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    if isinstance(one, pa.UuidType) or isinstance(other, pa.UuidType):
        return None
    if not all(any(check(kind) for check in checks) for kind in (one, other)):
        return None
    return pa.large_binary() if types.is_large_binary(one) or types.is_large_binary(other) else pa.binary()


def _united_integers(one: Any, other: Any) -> Any | None:
    if not (types.is_integer(one) and types.is_integer(other)):
        return None
    bits = max(one.bit_width, other.bit_width)
    unsigned = [kind for kind in (one, other) if types.is_unsigned_integer(kind)]
    if len(unsigned) == 2:
        return getattr(pa, f"uint{bits}")()
    if unsigned:
        bits = max(bits, 2 * unsigned[0].bit_width)
    return getattr(pa, f"int{bits}")() if bits <= 64 else None


def _united_floats(one: Any, other: Any) -> Any | None:
    if types.is_floating(one) and types.is_floating(other):
        return max((one, other), key=lambda kind: kind.bit_width)
    numbers = [kind for kind in (one, other) if types.is_integer(kind) and kind.bit_width <= WIDEST_IN_DOUBLE]
    floats = [kind for kind in (one, other) if types.is_floating(kind)]
    return pa.float64() if numbers and floats else None


def _united_decimals(one: Any, other: Any) -> Any | None:
    if not (types.is_decimal(one) and types.is_decimal(other)):
        return None
    scale = max(one.scale, other.scale)
    digits = scale + max(kind.precision - kind.scale for kind in (one, other))
    bits = max(one.bit_width, other.bit_width)
    makers = (make for most, make in DECIMALS if digits <= most and make(most).bit_width >= bits)
    return next((make(digits, scale) for make in makers), None)


def _united_times(one: Any, other: Any) -> Any | None:
    """The type with the finer unit. A value that does not fit fails later, in `column_values.converted`."""
    unit = max((getattr(kind, "unit", "s") for kind in (one, other)), key=UNITS.index)
    if types.is_timestamp(one) and types.is_timestamp(other):
        zones = {one.tz, other.tz}
        if len(zones) > 1 and not zones <= UTC_NAMES:
            return None
        return pa.timestamp(unit, one.tz if len(zones) == 1 else "UTC")
    if types.is_duration(one) and types.is_duration(other):
        return pa.duration(unit)
    if types.is_time(one) and types.is_time(other):
        return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)
    return None


def _united_lists(one: Any, other: Any) -> Any | None:
    if not (is_list(one) and is_list(other)):
        return None
    item = _united_fields(one.value_field, other.value_field)
    if item is None:
        return None
    if types.is_fixed_size_list(one) and types.is_fixed_size_list(other) and one.list_size == other.list_size:
        return pa.list_(item, one.list_size)
    return pa.large_list(item) if types.is_large_list(one) or types.is_large_list(other) else pa.list_(item)


def _united_maps(one: Any, other: Any) -> Any | None:
    if not (types.is_map(one) and types.is_map(other)):
        return None
    key, item = _united_fields(one.key_field, other.key_field), _united_fields(one.item_field, other.item_field)
    return None if key is None or item is None else pa.map_(key, item, one.keys_sorted and other.keys_sorted)


def _united_structs(one: Any, other: Any) -> Any | None:
    """The fields of `one`, then the other fields of `other`. A field that only one of them has becomes nullable."""
    if not (types.is_struct(one) and types.is_struct(other)):
        return None
    first, second = ({field.name: field for field in kind} for kind in (one, other))
    if len(first) < one.num_fields or len(second) < other.num_fields:
        return None  # two fields have the same name
    fields = []
    for name in dict.fromkeys(chain(first, second)):
        if name in first and name in second:
            field = _united_fields(first[name], second[name])
            if field is None:
                return None
        else:
            field = _optional_field(first.get(name) or second[name])
        fields.append(field)
    return pa.struct(fields)


def _united_fields(one: pa.Field, other: pa.Field) -> pa.Field | None:
    kind = united(one.type, other.type)
    return None if kind is None else pa.field(one.name, kind, one.nullable or other.nullable)


UNITERS: Final[tuple[Callable[[Any, Any], Any | None], ...]] = (
    _united_dictionaries,
    _united_texts,
    _united_bytes,
    _united_integers,
    _united_floats,
    _united_decimals,
    _united_times,
    _united_lists,
    _united_maps,
    _united_structs,
)


def is_list(kind: Any) -> bool:
    """Whether the type is a list of any kind. A map does not count as a list."""
    checks = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(check(kind) for check in (*checks, types.is_list_view, types.is_large_list_view))
