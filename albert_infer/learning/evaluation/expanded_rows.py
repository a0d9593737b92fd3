"""The tables of runs whose rows became several pairs: which columns to read, and which rows are pairs of one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.errors import InputError
from albert_infer.schema import HYPOTHESIS, HYPOTHESIS_ID, Expansion


def stored_names(names: Sequence[str], expansion: Expansion | None) -> list[str]:
    """The columns to read from a file for the columns `names`. A table of scores has the ids of a set, not its texts.

    A table of pairs is read with the columns that name a pair of a row.
    """
    if expansion is None:
        return list(dict.fromkeys(names))
    if not expansion.publishes_scores:
        return list(dict.fromkeys([*names, *(field.name for field in expansion.index_fields)]))
    has_ids = expansion.hypotheses is not None
    return list(dict.fromkeys(HYPOTHESIS_ID if has_ids and name == HYPOTHESIS else name for name in names))


def with_hypotheses(rows: pa.Table, expansion: Expansion | None) -> pa.Table:
    """`rows` with the texts of their hypotheses, where they have the ids of a set alone."""
    hypotheses = expansion.hypotheses if expansion is not None else None
    if hypotheses is None or HYPOTHESIS_ID not in rows.column_names or HYPOTHESIS in rows.column_names:
        return rows
    index = pc.index_in(rows[HYPOTHESIS_ID], pa.array(hypotheses.ids, pa.string()))
    return rows.append_column(HYPOTHESIS, pc.take(pa.array(hypotheses.texts, pa.string()), index))


def begins_row(rows: pa.Table, expansion: Expansion | None) -> NDArray[np.bool_]:
    """Whether each row is the first one of its row of the input (R). Only a table of pairs has others."""
    begins = np.ones(rows.num_rows, np.bool_)
    if expansion is None or expansion.publishes_scores:
        return begins
    for field in expansion.index_fields:
        ids = expansion.hypotheses.ids if expansion.hypotheses is not None else ()
        first = ids[0] if field.name == HYPOTHESIS_ID else 0
        begins &= pc.equal(rows[field.name], first).to_numpy()
    return begins


@contextmanager
def advice_for_rows(expansion: Expansion | None) -> Iterator[None]:
    """Add advice to the refusal of a gold label, if the run published pairs alone and its rule gives rows a score.

    The advice says how to evaluate gold answers of rows, such as topics. Raises InputError for the refusal.
    """
    try:
        yield
    except InputError as error:
        if expansion is None or expansion.publishes_scores or expansion.fold.chooses_pair:
            raise
        advice = "if the gold answers are of rows, such as topics, label again with --publish scores or both"
        raise InputError(error.asked, error.problem, f"{error.remedy}; {advice}") from error
