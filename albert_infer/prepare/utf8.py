"""Finds texts that are not UTF-8, at any depth of a column, and replaces their rows by null.

Readers of an output file fail at such a text. Uses Arrow only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from albert_infer.common.column_values import converted, list_values, plain
from albert_infer.schema import is_text


def cleaned(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[int, bytes]]:
    """The column with null in each row that has a text that is not UTF-8, and the first such text of each row.

    Dictionaries do not have these texts either: Parquet writes a dictionary whole, with its unused values.
    """
    chunks, first = [], 0
    bad_texts: dict[int, bytes] = {}
    for chunk in column.chunks:
        if not _is_clean(chunk):
            bad = _bad_texts(chunk)
            bad_texts |= {first + row: text for row, text in bad.items()}
            chunk = _without(chunk, bad.keys())
        chunks.append(chunk)
        first += len(chunk)
    return pa.chunked_array(chunks, column.type), bad_texts


def _is_clean(chunk: pa.Array) -> bool:
    """Whether Arrow's own validation finds no bad text. It is one fast pass, and includes unused dictionary values."""
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
    return any(_holds_text(kind.field(index).type) for index in range(kind.num_fields))


def _bad_texts(column: pa.Array) -> dict[int, bytes]:
    kind = column.type
    if isinstance(kind, pa.JsonType):
        return _bad_texts(column.storage)
    if pa.types.is_dictionary(kind):
        bad = _bad_texts(column.dictionary)
        return {row: bad[index] for row, index in enumerate(column.indices.to_pylist()) if index in bad}
    if is_text(kind):
        texts = column.cast(pa.large_binary()).to_pylist()
        return {row: text for row, text in enumerate(texts) if text is not None and not _is_utf8(text)}
    if pa.types.is_struct(kind):
        return _first_of(_bad_texts(child) for child in column.flatten())
    if pa.types.is_nested(kind):
        values, lengths = list_values(column)
        parents = np.repeat(np.arange(len(column)), lengths)
        return _first_of({int(parents[index]): text} for index, text in _bad_texts(values).items())
    return {}


def _first_of(texts_by_row: Iterable[dict[int, bytes]]) -> dict[int, bytes]:
    first: dict[int, bytes] = {}
    for texts in texts_by_row:
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
    rows_or_null = pa.array(np.arange(len(chunk)), mask=is_bad)
    if pa.types.is_dictionary(chunk.type):
        # Makes a new dictionary, because the old one still has the bad bytes.
        return converted(converted(chunk, chunk.type.value_type).take(rows_or_null), chunk.type)
    # `take` of Arrow does not work on view types.
    return converted(plain(chunk).take(rows_or_null), chunk.type)
