"""Compares the sentences of published pairs with the texts that were split."""

from __future__ import annotations

import pyarrow as pa

from albert_infer.schema import PREMISE
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.pairs import UnitPairs


def first_other_sentences(
    texts: pa.RecordBatch | pa.Table, first_row: int, pairs: UnitPairs, columns: OutputColumns
) -> tuple[str, int] | None:
    """The first text of the batch that does not have the sentences of its pairs: its column, its row in the batch.

    The sentences must be parts of the text, and all letters and digits of the text must be in a sentence. The first
    row of the batch has the pairs of row `first_row` of the unit, whose pairs are in order.
    """
    for name in columns.split_texts:
        for row, text in enumerate(_texts(texts[name])):
            if text is None or not _are_sentences(text, _spans(pairs, name, first_row + row)):
                return name, row
    return None


def _spans(pairs: UnitPairs, name: str, row: int) -> list[tuple[int, int, bytes]]:
    """Where the sentences of a row's text begin and end, and the text that its pairs have there."""
    begin = int(pairs.first_R[row])
    parts, count = int(pairs.parts_R[row]), int(pairs.count_R[row])
    where = slice(begin, begin + parts) if name == PREMISE else slice(begin, begin + count, parts)
    text = pairs.of(name)
    codes = text.code_P[where].tolist()
    places = zip(text.start_P[where].tolist(), text.end_P[where].tolist(), codes, strict=True)
    return [(start, end, pairs.texts[code]) for start, end, code in places]


def _are_sentences(text: str, spans: list[tuple[int, int, bytes]]) -> bool:
    stop = 0
    for start, end, sentence in spans:
        if any(map(str.isalnum, text[stop:start])) or text[start:end].encode() != sentence:
            return False
        stop = end
    return not any(map(str.isalnum, text[stop:]))


def _texts(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """The texts of a column of any type of string; None for one that is not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode() if isinstance(column, pa.Array) else column.cast(column.type.value_type)
    encoded = column.cast(pa.large_binary()).to_pylist()
    return [None if each is None else _decoded(each) for each in encoded]


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
