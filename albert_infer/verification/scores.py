"""The rules for every row of a table of scores, checked batch by batch, without the pairs of the row."""
# ruff: noqa: N806 - arrays end in their shape: R rows, K entries of a ranking

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.schema import (
    BEST,
    HYPOTHESIS_ID,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    SCORE,
    TOP,
    TOP_SCORES,
    TRUNCATED,
)
from albert_infer.verification.columns import SENTENCES, OutputColumns
from albert_infer.verification.expansion import MAX_PAIRS, Expansion
from albert_infer.verification.rules import (
    RowFaults,
    integers,
    mask,
    note_label_faults,
    note_review_faults,
    numbers,
    positions,
)

# The largest difference between 1 and the sum of the shares of all hypotheses.
SHARE_TOLERANCE: Final = 1e-5


def note_score_table_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, columns: OutputColumns) -> None:
    """Note the rows whose result contradicts itself, or the set of hypotheses."""
    expansion = columns.expansion
    assert expansion is not None  # noqa: S101  (for the type checker: other runs have no such table)
    if expansion.ranks:
        _note_ranking_faults(faults, first, batch, columns.ids_of_set, expansion)
    elif expansion.chooses:
        note_label_faults(faults, first, batch, columns)
    else:
        score = numbers(batch[SCORE])
        lowest = -1 if "contradiction" in columns.labels else 0
        faults.note(f"a {SCORE} from {lowest} to 1", ~((score >= lowest) & (score <= 1)), first)
    if columns.review_below is not None:
        if expansion.chooses:
            note_review_faults(faults, first, batch, columns.review_below, columns.probabilities)
        else:
            expected = numbers(batch[SCORE]) < np.float32(columns.review_below)
            actual = mask(pc.fill_null(batch[NEEDS_REVIEW], False))
            faults.note(f"{NEEDS_REVIEW} where the {SCORE} is below {columns.review_below}", actual != expected, first)
    _note_index_faults(faults, first, batch, columns)
    _note_count_faults(faults, first, batch, columns)


def _note_ranking_faults(
    faults: RowFaults, first: int, batch: pa.RecordBatch, ids: list[str], expansion: Expansion
) -> None:
    entries = min(expansion.top_k or 1, len(ids))
    lengths = [integers(pc.list_value_length(batch[name])) for name in (TOP, TOP_SCORES)]
    is_whole = (lengths[0] == entries) & (lengths[1] == entries)
    faults.note(f"{TOP} and {TOP_SCORES} with {entries} entries", ~is_whole, first)
    rows = np.flatnonzero(is_whole)
    top_RK, scores_RK = rankings(batch.take(pa.array(rows)), ids, entries)
    best_R = positions(batch[BEST], ids)[rows]
    is_known = (top_RK >= 0).all(axis=1)
    repeats = (np.diff(np.sort(top_RK, axis=1), axis=1) == 0).any(axis=1)
    steps_RK, moves_RK = np.diff(scores_RK, axis=1), np.diff(top_RK, axis=1)
    sums = scores_RK.sum(axis=1, dtype=np.float64)
    # The largest of all shares are at least their part of all hypotheses; the shares of all sum to 1.
    least, most = entries / max(len(ids), 1) - SHARE_TOLERANCE, 1 + SHARE_TOLERANCE
    broken = {
        f"different hypotheses of the set in {TOP}": ~is_known | repeats,
        f"the first entry of {TOP} as {BEST}": top_RK[:, 0] != best_R,
        f"the first entry of {TOP_SCORES} as {SCORE}": scores_RK[:, 0] != numbers(batch[SCORE])[rows],
        f"{TOP_SCORES} from 0 to 1": ~((scores_RK >= 0) & (scores_RK <= 1)).all(axis=1),
        f"{TOP_SCORES} that fall, and equal ones in the order of the set": (
            ~((steps_RK < 0) | ((steps_RK == 0) & (moves_RK > 0))).all(axis=1)
        ),
    }
    if expansion.fold == "topics":
        broken[f"{TOP_SCORES} that are the largest of shares that sum to 1"] = ~((sums >= least) & (sums <= most))
    for rule, is_broken in broken.items():
        faults.note(rule, _spread(is_broken, rows, batch.num_rows), first)


def _note_index_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, columns: OutputColumns) -> None:
    pairs = integers(batch[N_PAIRS])
    if columns.with_set and HYPOTHESIS_ID in batch.schema.names:
        unknown = positions(batch[HYPOTHESIS_ID], columns.ids_of_set) < 0
        faults.note(f"a {HYPOTHESIS_ID} of the set", unknown, first)
    for text in columns.split_texts:
        name = SENTENCES[text][0]
        index = integers(batch[name])
        faults.note(f"a {name} from 0 to below {N_PAIRS}", (index < 0) | (index >= pairs), first)


def _note_count_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, columns: OutputColumns) -> None:
    """Note the rows with numbers of pairs, tokens and windows that no row has."""
    pairs, tokens = integers(batch[N_PAIRS]), integers(batch[N_TOKENS])
    faults.note(f"{N_PAIRS} from 1 to {MAX_PAIRS}", (pairs < 1) | (pairs > MAX_PAIRS), first)
    hypotheses = max(len(columns.ids_of_set), 1)
    if columns.with_set and not columns.split_texts:
        faults.note(f"{N_PAIRS} of {hypotheses}, one for each hypothesis", pairs != hypotheses, first)
    else:
        faults.note(f"{N_PAIRS} that {hypotheses} divides", pairs % hypotheses != 0, first)
    truncated, limit = mask(pc.fill_null(batch[TRUNCATED], False)), columns.max_tokens
    least, most = pairs.copy(), pairs * limit
    if columns.with_windows:
        windows = integers(batch[N_WINDOWS])
        faults.note(f"{N_WINDOWS} of {N_PAIRS} or more", windows < pairs, first)
        faults.note("no truncated row in a run with windows", truncated, first)
        # All windows of a pair that has several are full.
        least += np.where(windows > pairs, (windows - pairs + 1) * limit - 1, 0)
        most = windows * limit
    else:
        # A truncated pair is full.
        least += np.where(truncated, limit - 1, 0)
    faults.note(f"{N_TOKENS} that its pairs can have", (tokens < least) | (tokens > most), first)


def rankings(
    rows: pa.RecordBatch | pa.Table, ids: list[str], entries: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The positions in the set and the scores of the rows' `entries` best hypotheses; -1 for an unknown one."""
    top, scores = (pc.list_flatten(rows[name]) for name in (TOP, TOP_SCORES))
    return positions(top, ids).reshape(-1, entries), numbers(scores).reshape(-1, entries)


def _spread(is_broken: NDArray[np.bool_], rows: NDArray[np.int64], total: int) -> NDArray[np.bool_]:
    """`is_broken` of the `rows` as an array of all `total` rows."""
    spread = np.zeros(total, np.bool_)
    spread[rows] = is_broken
    return spread
