"""Compares a published column with the input's column, row by row; types and encodings may differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def chosen(batch: pa.RecordBatch, mask: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows where `mask` is True, for columns of any type."""
    return pa.RecordBatch.from_arrays([_chosen(column, mask) for column in batch.columns], names=batch.schema.names)


def _chosen(column: pa.Array, mask: NDArray[np.bool_]) -> pa.Array:
    try:
        return column.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:  # Arrow cannot filter views, but can concatenate their slices
        edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
        runs = [column.slice(begin, stop - begin) for begin, stop in edges.reshape(-1, 2)]
        return pa.concat_arrays(runs) if runs else column.slice(0, 0)


def same(expected: pa.Array, actual: pa.Array) -> NDArray[np.bool_]:
    """Where `actual` equals the input's `expected`, or is its id as text; null equals null, and NaN equals NaN."""
    if is_text(actual.type) and not _holds_bytes(expected.type):
        expected = _as_texts(expected)
    left, right = _comparable(expected), _comparable(actual)
    if left.type != right.type:
        if _has_views(left.type):
            return _each_same(left, right)  # Arrow 26 loses values when it casts a list view
        try:
            left = _cast(left, right.type)
        except pa.ArrowInvalid:  # not reported, because the message quotes the value
            return np.zeros(len(left), bool)
        except pa.ArrowNotImplementedError:
            return _each_same(left, right)
    if left.equals(right):
        return np.ones(len(left), bool)
    try:
        equal = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(left.is_null(), right.is_null()))
        if pa.types.is_floating(right.type):
            equal = pc.or_(equal, pc.and_(*(pc.fill_null(pc.is_nan(side), False) for side in (left, right))))
    except pa.ArrowNotImplementedError:  # lists, structs and the like
        return _each_same(left, right)
    return np.asarray(equal.to_numpy(zero_copy_only=False), bool)


def same_or_unreadable(expected: pa.Array, actual: pa.Array) -> NDArray[np.bool_]:
    """As `same`, for rejected rows: a value with a text that is not UTF-8 is published as null."""
    equal = same(expected, actual)
    for row in np.flatnonzero(~equal & actual.is_null().to_numpy(zero_copy_only=False)):
        equal[row] = _is_unreadable(expected[int(row)])
    return equal


def is_text(kind: Any) -> bool:
    """Whether an Arrow type holds strings, plain or dictionary-encoded."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_binary_view(kind))


def _has_views(kind: Any) -> bool:
    """Whether a type is a view, or has a view inside."""
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_list_view, pa.types.is_large_list_view)
    if any(check(kind) for check in views):
        return True
    return pa.types.is_nested(kind) and any(_has_views(kind.field(index).type) for index in range(kind.num_fields))


def _holds_bytes(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return is_text(kind) or isinstance(kind, pa.JsonType) or _is_bytes(kind)


def _as_texts(column: pa.Array) -> pa.Array:
    """Ids as published texts: a UUID in its usual form, a float as its integer."""
    if isinstance(column.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if pa.types.is_floating(column.type):
        return pa.array([_integer_text(value) for value in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _integer_text(value: float | None) -> str | None:
    if value is None or value != value:
        return None
    return f"{value:.0f}" if value.is_integer() else str(value)


def _comparable(column: pa.Array) -> pa.Array:
    """The column without a dictionary, and with texts as bytes, which need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column.type, pa.JsonType):
        column = column.storage
    return column.cast(pa.large_binary()) if is_text(column.type) or _is_bytes(column.type) else column


def _cast(column: pa.Array, kind: Any) -> pa.Array:
    if pa.types.is_floating(column.type) and pa.types.is_integer(kind):
        # Only an id changes from float to integer; a carried float column stays float.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column.cast(kind)


def _each_same(left: pa.Array, right: pa.Array) -> NDArray[np.bool_]:
    return np.array([_same_scalar(one, other) for one, other in zip(left, right, strict=True)], bool)


def _same_scalar(one: pa.Scalar, other: pa.Scalar) -> bool:
    try:
        return _same_value(one.as_py(), other.as_py())
    except (ValueError, OverflowError):  # Python cannot hold texts that are not UTF-8, and times of distant years
        return _same_parts(one, other)


def _same_parts(one: pa.Scalar, other: pa.Scalar) -> bool:
    if not (one.is_valid and other.is_valid):
        return bool(one.is_valid == other.is_valid)
    if isinstance(one, pa.StructScalar) and isinstance(other, pa.StructScalar) and set(one) == set(other):
        return all(_same_scalar(one[name], other[name]) for name in one)
    if isinstance(one, pa.ListScalar) and isinstance(other, pa.ListScalar):
        return len(one) == len(other) and all(map(_same_scalar, one.values, other.values))
    if isinstance(one, pa.BinaryScalar) and isinstance(other, pa.BinaryScalar):
        return bool(one.as_buffer().equals(other.as_buffer()))
    return bool(one.equals(other))


def _same_value(one: Any, other: Any) -> bool:
    """Whether two Python values are the same; a struct may have another order of fields, or more null fields."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same_value(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same_value, one, other))
    return bool(one == other) or (one != one and other != other)


def _is_unreadable(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return True
    return False
