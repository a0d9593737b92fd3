"""What a good pair is: both texts there, valid UTF-8 (its id and carried texts too), not blank, not absurdly long.

Arrow in, Arrow out; knows nothing of tokens, files or devices. A bad row stays where it is and carries its rejection.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.prepare import utf8
from albert_infer.schema import DETAIL, HYPOTHESIS, PREMISE, REJECTION, Rejection

# 1 MiB: tokenizing it takes about half a second, and no checkpoint reads more than a few thousand bytes of it.
MAX_TEXT_BYTES: Final = 1 << 20
# Whitespace as Unicode has it, and the marks that show nothing: a text of these alone says nothing.
_BLANK: Final = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"


def mark_rejected(pairs: pa.Table) -> pa.Table:
    """`pairs` with `rejection` and `detail` added (null for good rows) and the texts of bad rows emptied.

    Every row is kept, in order; afterwards both text columns are `string`, valid UTF-8 and without nulls, and values of
    other columns (ids, carried) that are not UTF-8, or hold a text that is not, are null. A row with several faults has
    the first of: null, too long, bad UTF-8, blank; of the premise before the hypothesis, and of both before others.
    """
    rows = pairs.num_rows
    reasons: NDArray[np.object_] = np.full(rows, None, dtype=object)
    details: NDArray[np.object_] = np.full(rows, None, dtype=object)
    for name in (PREMISE, HYPOTHESIS):
        for row, (reason, detail) in _faults(pairs[name], name).items():
            if reasons[row] is None:
                reasons[row], details[row] = str(reason), detail
    columns = dict(zip(pairs.column_names, pairs.columns, strict=True))
    for name in [name for name in columns if name not in (PREMISE, HYPOTHESIS)]:
        columns[name], bad_texts = utf8.cleaned(columns[name])
        for row, text in bad_texts.items():
            if reasons[row] is None:
                reasons[row], details[row] = str(Rejection.BAD_UTF8), _as_base64(name, text)
    pairs = pa.table(columns, schema=pairs.schema)
    bad = pa.array(reasons != None)  # noqa: E711  element-wise, on an object array
    for name in (PREMISE, HYPOTHESIS):
        column = pc.if_else(bad, pa.scalar(b"", pa.binary()), pairs[name].cast(pa.binary()))
        pairs = pairs.set_column(pairs.column_names.index(name), name, column.cast(pa.string()))
    return pairs.append_column(REJECTION, pa.array(reasons, pa.string())).append_column(
        DETAIL, pa.array(details, pa.string())
    )


def _faults(texts: pa.ChunkedArray, name: str) -> dict[int, tuple[Rejection, str]]:
    """What is wrong with the texts of one column, by row; a good row is not in it."""
    raw = texts.cast(pa.binary())
    faults: dict[int, tuple[Rejection, str]] = {}
    for row in _rows_where(pc.is_null(raw)):
        faults[row] = (Rejection.NULL_TEXT, f"{name} is null")
    for row in _rows_where(pc.fill_null(pc.greater(pc.binary_length(raw), MAX_TEXT_BYTES), False)):
        faults[row] = (Rejection.TEXT_TOO_LONG, f"{name} has {len(raw[row].as_py())} bytes, at most {MAX_TEXT_BYTES}")
    for row, text in utf8.cleaned(texts)[1].items():
        faults.setdefault(row, (Rejection.BAD_UTF8, _as_base64(name, text)))
    readable = pc.if_else(_mask(faults, len(raw)), pa.scalar(b"-", pa.binary()), raw).cast(pa.string())
    for row in _rows_where(pc.match_substring_regex(readable, _BLANK)):
        faults[row] = (Rejection.EMPTY_TEXT, f"{name} is blank")
    return faults


def _as_base64(name: str, text: bytes) -> str:
    return f"{name} base64 {base64.b64encode(text).decode()}"


def _rows_where(mask: pa.ChunkedArray) -> list[int]:
    return np.flatnonzero(mask.to_numpy()).tolist()


def _mask(faults: Collection[int], rows: int) -> pa.Array:
    mask = np.zeros(rows, dtype=bool)
    mask[list(faults)] = True
    return pa.array(mask)
