"""Converts Arrow columns to other types, and returns the values inside lists.

A conversion changes no value; it raises an error instead. Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.common.column_types import is_list, plain_type, types


def plain(column: pa.Array) -> pa.Array:
    """The column, converted to its `plain_type`."""
    return converted(column, plain_type(column.type))


def converted(column: pa.Array, kind: Any) -> pa.Array:
    """The same values with the type `kind`: the column's plain type, or a type from `column_types.united`.

    Raises ArrowInvalid if `kind` cannot store a value, such as a timestamp that is too far from 1970 for nanoseconds.
    """
    current = column.type
    if current.equals(kind, check_metadata=True):
        return column
    if types.is_null(current):
        return pa.nulls(len(column), kind)
    if types.is_run_end_encoded(current):
        return converted(pc.run_end_decode(column), kind)
    if types.is_dictionary(current):
        return _converted_dictionary(column, kind)
    if is_list(current):
        return _converted_list(column, kind)
    if types.is_map(current):
        return _converted_map(column, kind)
    if types.is_struct(current):
        return _converted_struct(column, kind)
    if isinstance(current, pa.JsonType):
        if not isinstance(kind, pa.JsonType):
            return converted(column.storage, kind)
        return pa.ExtensionArray.from_storage(kind, converted(column.storage, kind.storage_type))
    return _dictionary(column, kind) if types.is_dictionary(kind) else column.cast(kind)


def _dictionary(column: pa.Array, kind: Any) -> pa.Array:
    return converted(converted(column, kind.value_type).dictionary_encode(), kind)


def _converted_dictionary(column: pa.DictionaryArray, kind: Any) -> pa.Array:
    if not types.is_dictionary(kind):
        return converted(column.dictionary, kind).take(column.indices)
    values = converted(column.dictionary, kind.value_type)
    return pa.DictionaryArray.from_arrays(column.indices.cast(kind.index_type), values, ordered=kind.ordered)


def _converted_list(column: pa.Array, kind: Any) -> pa.Array:
    if types.is_fixed_size_list(kind):
        width = kind.list_size
        values = column.values.slice(column.offset * width, len(column) * width)
        return pa.FixedSizeListArray.from_arrays(converted(values, kind.value_type), type=kind, mask=column.is_null())
    values, lengths = list_values(column)
    offsets = _offsets(lengths, kind)
    make = pa.LargeListArray if types.is_large_list(kind) else pa.ListArray
    return make.from_arrays(offsets, converted(values, kind.value_type), type=kind, mask=column.is_null())


def _converted_map(column: pa.MapArray, kind: Any) -> pa.Array:
    entries, lengths = list_values(column)
    keys, items = entries.field(0), entries.field(1)
    keys, items = converted(keys, kind.key_type), converted(items, kind.item_type)
    return pa.MapArray.from_arrays(_offsets(lengths, kind), keys, items, type=kind, mask=column.is_null())


def _converted_struct(column: pa.StructArray, kind: Any) -> pa.Array:
    names = [field.name for field in column.type]
    if len(set(names)) < len(names):
        # Two fields have the same name, so `kind` has the same fields in the same order.
        values = [converted(child, field.type) for child, field in zip(column.flatten(), kind, strict=True)]
    else:
        children = dict(zip(names, column.flatten(), strict=True))
        nulls = pa.nulls(len(column))
        values = [converted(children.get(field.name, nulls), field.type) for field in kind]
    return pa.StructArray.from_arrays(values, fields=list(kind), mask=column.is_null())


def list_values(column: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """The values of all lists, one after another, and the number of values of each row. Null rows have 0 values."""
    if types.is_map(column.type):
        entry = pa.struct([column.type.key_field, column.type.item_field])
        column = column.cast(pa.list_(entry))
    if types.is_list_view(column.type) or types.is_large_list_view(column.type):
        return _view_values(column)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return column.flatten(), lengths


def _view_values(column: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    # Not with a cast: Arrow 26 loses values when it casts a list view.
    is_valid = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.where(is_valid, column.sizes.to_numpy(), 0).astype(np.int64)
    begins = column.offsets.to_numpy().astype(np.int64)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # Converted to plain types first, because `take` of Arrow does not support most views.
    return plain(column.values).take(pa.array(np.repeat(begins, lengths) + within)), lengths


def _offsets(lengths: NDArray[np.int64], kind: Any) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.array(offsets, pa.int64() if types.is_large_list(kind) else pa.int32())
