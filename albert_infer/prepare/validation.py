"""Rejects pairs whose texts are null, not UTF-8, blank or too long, or whose id or carried texts are not UTF-8.

Arrow in, Arrow out. Knows nothing of tokens, files or devices. A rejected row keeps its position, and has its reason.
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
# A text of Unicode whitespace and invisible characters only.
BLANK: Final = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"


def mark_rejected(pairs: pa.Table) -> pa.Table:
    """Add `rejection` and `detail` to `pairs` (null for good rows), and make the texts of rejected rows empty.

    All rows stay, in order. The text columns of the result are `string`, valid UTF-8 and without nulls. Values of other
    columns (id, carried) become null if they have a text that is not UTF-8. A row with several faults gets the first
    of: null, too long, bad UTF-8, blank. Faults of the premise come first, then of the hypothesis, then of others.
    """
    rows = pairs.num_rows
    reasons: NDArray[np.object_] = np.full(rows, None, dtype=object)
    details: NDArray[np.object_] = np.full(rows, None, dtype=object)
    texts = [name for name in (PREMISE, HYPOTHESIS) if name in pairs.column_names]
    for name in texts:
        for row, (reason, detail) in _faults(pairs[name], name).items():
            if reasons[row] is None:
                reasons[row], details[row] = str(reason), detail
    columns = dict(zip(pairs.column_names, pairs.columns, strict=True))
    for name in [name for name in columns if name not in texts]:
        columns[name], bad_texts = utf8.cleaned(columns[name])
        for row, text in bad_texts.items():
            if reasons[row] is None:
                reasons[row], details[row] = str(Rejection.BAD_UTF8), _as_base64(name, text)
    pairs = pa.table(columns, schema=pairs.schema)
    bad = pa.array(reasons != None)  # noqa: E711  element-wise, on an object array
    for name in texts:
        column = pc.if_else(bad, pa.scalar(b"", pa.binary()), pairs[name].cast(pa.binary()))
        pairs = pairs.set_column(pairs.column_names.index(name), name, column.cast(pa.string()))
    return pairs.append_column(REJECTION, pa.array(reasons, pa.string())).append_column(
        DETAIL, pa.array(details, pa.string())
    )


def _faults(texts: pa.ChunkedArray, name: str) -> dict[int, tuple[Rejection, str]]:
    """The faults of one text column, by row. Good rows have no entry."""
    raw = texts.cast(pa.binary())
    faults: dict[int, tuple[Rejection, str]] = {}
    for row in _rows_where(pc.is_null(raw)):
        faults[row] = (Rejection.NULL_TEXT, f"{name} is null")
    for row in _rows_where(pc.fill_null(pc.greater(pc.binary_length(raw), MAX_TEXT_BYTES), False)):
        faults[row] = (Rejection.TEXT_TOO_LONG, f"{name} has {len(raw[row].as_py())} bytes, at most {MAX_TEXT_BYTES}")
    for row, text in utf8.cleaned(texts)[1].items():
        faults.setdefault(row, (Rejection.BAD_UTF8, _as_base64(name, text)))
    readable = pc.if_else(_mask(faults, len(raw)), pa.scalar(b"-", pa.binary()), raw).cast(pa.string())
    for row in _rows_where(pc.match_substring_regex(readable, BLANK)):
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
