"""Texts that are not UTF-8, at any depth of a column: which rows have one, and the column without them.

A reader of an output file fails at the first such text. Arrow only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from albert_infer.common.column_values import converted, list_values, plain
from albert_infer.schema import is_text


def cleaned(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[int, bytes]]:
    """The column with nulls for the rows that hold a text that is not UTF-8, and the first such text of each.

    The bytes of these texts are nowhere in it: a dictionary is written whole, whether a row points at a text or not.
    """
    chunks, first = [], 0
    found: dict[int, bytes] = {}
    for chunk in column.chunks:
        if not _is_clean(chunk):
            bad = _bad_texts(chunk)
            found |= {first + row: text for row, text in bad.items()}
            chunk = _without(chunk, bad.keys())
        chunks.append(chunk)
        first += len(chunk)
    return pa.chunked_array(chunks, column.type), found


def _is_clean(chunk: pa.Array) -> bool:
    """Whether nothing is found at the cost of one pass in C++, which looks at what no row points at, too."""
    if not _holds_text(chunk.type):
        return True
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _holds_text(kind: Any) -> bool:
    if isinstance(kind, pa.JsonType) or is_text(kind):
        return True
    return any(_holds_text(kind.field(place).type) for place in range(kind.num_fields))


def _bad_texts(column: pa.Array) -> dict[int, bytes]:
    kind = column.type
    if isinstance(kind, pa.JsonType):
        return _bad_texts(column.storage)
    if pa.types.is_dictionary(kind):
        bad = _bad_texts(column.dictionary)
        return {row: bad[place] for row, place in enumerate(column.indices.to_pylist()) if place in bad}
    if is_text(kind):
        texts = column.cast(pa.large_binary()).to_pylist()
        return {row: text for row, text in enumerate(texts) if text is not None and not _is_utf8(text)}
    if pa.types.is_struct(kind):
        return _first_of(_bad_texts(child) for child in column.flatten())
    if pa.types.is_nested(kind):
        values, lengths = list_values(column)
        parents = np.repeat(np.arange(len(column)), lengths)
        return _first_of({int(parents[place]): text} for place, text in _bad_texts(values).items())
    return {}


def _first_of(found: Iterable[dict[int, bytes]]) -> dict[int, bytes]:
    first: dict[int, bytes] = {}
    for texts in found:
        first = {**texts, **first}
    return first


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without(chunk: pa.Array, rows: Collection[int]) -> pa.Array:
    is_bad = np.zeros(len(chunk), bool)
    is_bad[list(rows)] = True
    kept = pa.array(np.arange(len(chunk)), mask=is_bad)
    if pa.types.is_dictionary(chunk.type):
        # Anew, because the old dictionary holds the bad bytes whether a row points at them or not.
        return converted(converted(chunk, chunk.type.value_type).take(kept), chunk.type)
    # Arrow takes no rows of views.
    return converted(plain(chunk).take(kept), chunk.type)
