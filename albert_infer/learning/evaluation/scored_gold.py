"""Gold answers of runs whose rows have a score: the id of a hypothesis, or whether a text is consistent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.common.column_types import plain_type
from albert_infer.common.column_values import plain
from albert_infer.errors import InputError
from albert_infer.preflight.gold import NO_GOLD, UNLABELLED
from albert_infer.read.class_names import ClassNames
from albert_infer.read.footers import some

INCONSISTENT, CONSISTENT = 0, 1
BINARY: Final = {
    **dict.fromkeys(("consistent", "true", "1", "yes"), CONSISTENT),
    **dict.fromkeys(("inconsistent", "false", "0", "no"), INCONSISTENT),
}


def gold_ids(gold: pa.ChunkedArray, where: str, names: ClassNames, ids: Sequence[str]) -> NDArray[np.int64]:
    """The index in `ids` of each gold answer (R); NO_GOLD for null, and for `-`, -1 and an empty text.

    Numbers are the file's class `names`, if it has any. Raises InputError for the first value that is no id of the set.
    """
    known = {**dict.fromkeys(UNLABELLED, NO_GOLD), **{name: index for index, name in enumerate(ids)}}
    return _codes(_as_texts(gold, where, names), known, where, f"carry an id of the set, as {some(ids)}, or - for none")


def gold_answers(gold: pa.ChunkedArray, where: str, names: ClassNames) -> NDArray[np.int64]:
    """CONSISTENT, INCONSISTENT or NO_GOLD for each gold answer (R). Raises InputError for the first other value."""
    known = {**dict.fromkeys(UNLABELLED, NO_GOLD), **BINARY}
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(_as_texts(gold, where, names)))
    return _codes(texts, known, where, "carry consistent or inconsistent, true or false, 1 or 0, or - for none")


def _codes(texts: pa.ChunkedArray, known: Mapping[str, int], where: str, remedy: str) -> NDArray[np.int64]:
    distinct = texts.dictionary_encode().combine_chunks()
    values = distinct.dictionary.to_pylist()
    for value in values:
        if value not in known:
            raise InputError(where, f"the gold answer `{value!s:.80}`", remedy)
    codes = np.array([*(known[value] for value in values), NO_GOLD], np.int64)
    indices = distinct.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    result: NDArray[np.int64] = codes[indices]
    return result


def _as_texts(gold: pa.ChunkedArray, where: str, names: ClassNames) -> pa.ChunkedArray:
    """The values as texts: numbers as the names of their classes, if the file has names."""
    gold = pa.chunked_array([plain(chunk) for chunk in gold.chunks], plain_type(gold.type))
    if pa.types.is_dictionary(gold.type):
        gold = gold.cast(gold.type.value_type)
    try:
        if pa.types.is_floating(gold.type):
            gold = pc.if_else(pc.is_nan(gold), pa.scalar(None, gold.type), gold).cast(pa.int64())
        if names and pa.types.is_integer(gold.type):
            inside = pc.and_(pc.greater_equal(gold, 0), pc.less(gold, len(names)))
            return pa.chunked_array(
                [pa.array(names, pa.string()).take(pc.if_else(inside, gold, None).combine_chunks())]
            )
        return gold.cast(pa.string())
    except pa.ArrowException as error:
        problem = f"gold answers of type {gold.type}"
        raise InputError(where, problem, "carry texts, whole numbers, or true and false") from error
