"""Folds the published pairs of each row again, by the definitions of the rules, and compares the published results.

The shares of the rule `topics` come from logits, which are not published. So the recount cannot compute the score of a
pair again: it checks that the scores of a row sum to 1, and that the ranking follows from them. All other results
follow from the published probabilities.
"""
# ruff: noqa: N803, N806 - arrays end in their shape: R rows, P pairs of all rows, K entries, L labels

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.schema import (
    BEST,
    HYPOTHESIS,
    HYPOTHESIS_ID,
    LABEL,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    SCORE,
    TOP,
    TOP_SCORES,
    TRUNCATED,
)
from albert_infer.verification.columns import SENTENCES, OutputColumns
from albert_infer.verification.pairs import UnitPairs, sums
from albert_infer.verification.rules import RowFaults, integers, numbers, positions, probabilities_of
from albert_infer.verification.scores import SHARE_TOLERANCE, rankings

# The largest difference of a ratio of float32 probabilities from a ratio of logits, and of a mean of many sentences.
RATIO_TOLERANCE: Final = 1e-4
MEAN_TOLERANCE: Final = 1e-5
# The ratio of smaller probabilities is lost in their rounding.
LEAST_SUM: Final = 1e-6


def note_pair_score_faults(faults: RowFaults, pairs: UnitPairs, columns: OutputColumns) -> None:
    """Note the pairs with a score that contradicts their probabilities, and the rows with shares that do not sum to 1.

    The pairs are in the order of their rows.
    """
    expansion = columns.expansion
    if expansion is None or not expansion.ranks or not pairs.total:
        return
    score_P = pairs.score_P.astype(np.float64)
    faults.note(f"a {SCORE} from 0 to 1", ~((score_P >= 0) & (score_P <= 1)), 0)
    if expansion.fold == "topics":
        unlike = np.abs(score_P.reshape(-1, len(columns.hypotheses)).sum(axis=1) - 1) > SHARE_TOLERANCE
        faults.note(f"a {SCORE} in each pair of a row, and their sum 1", _at(pairs.first_R[unlike], pairs.total), 0)
        return
    entailment_P = probability(pairs, columns, "entailment")
    whole_P = entailment_P + probability(pairs, columns, "contradiction")
    ratio_P, is_sure = entailment_P, np.ones(pairs.total, np.bool_)
    if "contradiction" in columns.labels:
        is_sure = whole_P > LEAST_SUM
        ratio_P = entailment_P / np.where(is_sure, whole_P, 1)
    unlike = is_sure & ~(np.abs(ratio_P - score_P) <= RATIO_TOLERANCE)
    faults.note(f"the {SCORE} of its probabilities in a pair", unlike, 0)


def note_fold_faults(faults: RowFaults, rows: pa.Table, pairs: UnitPairs, columns: OutputColumns) -> None:
    """Note the rows of a table of scores with other results or counts than their pairs give.

    `rows` are all rows of the unit, and the pairs are in the order of their rows.
    """
    expansion = columns.expansion
    assert expansion is not None  # noqa: S101  (for the type checker: other runs have no pairs)
    first_R = pairs.first_R
    counted = {
        N_PAIRS: pairs.count_R,
        N_TOKENS: sums(pairs.tokens_P, first_R),
        TRUNCATED: (sums(pairs.truncated_P, first_R) > 0).astype(np.int64),
    }
    if columns.with_windows:
        counted[N_WINDOWS] = sums(pairs.windows_P, first_R)
    for name, expected in counted.items():
        faults.note(f"the {name} of its pairs", integers(rows[name]) != expected, 0)
    if expansion.ranks:
        _note_ranking(faults, rows, pairs, columns)
        return
    if expansion.chooses:
        chosen_R = chosen_pairs(pairs, columns)
        unlike = probabilities_of(rows, columns.probabilities) != pairs.probability_PL[chosen_R]
        faults.note(f"the probabilities of the pair that {expansion.fold} chooses", unlike.any(axis=1), 0)
        label_R = positions(rows[LABEL], list(columns.labels))
        faults.note(f"the {LABEL} of the pair that {expansion.fold} chooses", label_R != pairs.label_P[chosen_R], 0)
    else:
        score_R, chosen_R = consistencies(pairs, columns)
        unlike = ~(np.abs(numbers(rows[SCORE]) - score_R) <= MEAN_TOLERANCE)
        faults.note(f"the {SCORE} of {expansion.fold} of its pairs", unlike, 0)
    _note_indices(faults, rows, pairs, columns, chosen_R)


def _note_ranking(faults: RowFaults, rows: pa.Table, pairs: UnitPairs, columns: OutputColumns) -> None:
    ids = columns.ids_of_set
    scores_RN = pairs.score_P.reshape(-1, len(ids))
    entries = min((columns.expansion and columns.expansion.top_k) or 1, len(ids))
    # Stable: of equal scores, the first hypothesis of the set comes first.
    order_RK = np.argsort(-scores_RN, axis=1, kind="stable")[:, :entries]
    best_R = positions(rows[BEST], ids)
    faults.note(f"the hypothesis with the largest {SCORE} of its pairs as {BEST}", best_R != order_RK[:, 0], 0)
    largest_R = scores_RN.max(axis=1)
    faults.note(f"the largest {SCORE} of its pairs as {SCORE}", numbers(rows[SCORE]) != largest_R, 0)
    lengths = (integers(pc.list_value_length(rows[name])) for name in (TOP, TOP_SCORES))
    if all((length == entries).all() for length in lengths):
        top_RK, top_scores_RK = rankings(rows, ids, entries)
        sorted_RK = np.take_along_axis(scores_RN, order_RK, axis=1)
        faults.note(f"{TOP} by the {SCORE} of its pairs", (top_RK != order_RK).any(axis=1), 0)
        faults.note(f"{TOP_SCORES} of its pairs", (top_scores_RK != sorted_RK).any(axis=1), 0)


def _note_indices(
    faults: RowFaults, rows: pa.Table, pairs: UnitPairs, columns: OutputColumns, chosen_R: NDArray[np.int64]
) -> None:
    """Note the rows that name another pair than the chosen one."""
    expected = {SENTENCES[text][0]: pairs.of(text).part_P[chosen_R] for text in columns.split_texts}
    actual = {name: integers(rows[name]) for name in expected}
    if columns.with_set:
        expected[HYPOTHESIS_ID] = pairs.of(HYPOTHESIS).part_P[chosen_R]
        actual[HYPOTHESIS_ID] = positions(rows[HYPOTHESIS_ID], columns.ids_of_set)
    for name, index_R in expected.items():
        faults.note(f"the {name} of the pair that decides", actual[name] != index_R, 0)


def chosen_pairs(pairs: UnitPairs, columns: OutputColumns) -> NDArray[np.int64]:
    """The pair whose label each row gets (R); of equal pairs the first."""
    fold = columns.expansion.fold if columns.expansion is not None else ""
    rank_P = np.zeros(pairs.total)
    if fold == "entailment_first":
        # The largest probability decides among pairs of one label.
        decides_P = pairs.probability_PL.max(axis=1).astype(np.float64)
        for rank, label in ((2, "entailment"), (1, "contradiction")):
            if label in columns.labels:
                rank_P[pairs.label_P == columns.labels.index(label)] = rank
    else:
        label = fold.removeprefix("any_")
        decides_P = probability(pairs, columns, label)
        if label in columns.labels:
            rank_P[pairs.label_P == columns.labels.index(label)] = 1
    return _first_largest(2 * rank_P + decides_P, pairs.first_R)


def consistencies(pairs: UnitPairs, columns: OutputColumns) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The SummaC-ZS score of each row (R), and the pair that decides against the row most (R)."""
    # The pairs of one hypothesis sentence begin with the first premise sentence.
    begin_H = np.flatnonzero(pairs.premise.part_P == 0)
    row_H = pairs.row_P[begin_H]
    entailment_P = probability(pairs, columns, "entailment")
    contradiction_P = probability(pairs, columns, "contradiction")
    entails_H = np.maximum.reduceat(entailment_P, begin_H) if len(begin_H) else np.empty(0)
    contradicts_H = np.maximum.reduceat(contradiction_P, begin_H) if len(begin_H) else np.empty(0)
    # Rounded as the published score is, or sentences that are equal there would not be equal here.
    score_H = (entails_H.astype(np.float32) - contradicts_H.astype(np.float32)).astype(np.float64)
    rows = len(pairs.first_R)
    mean_R = np.bincount(row_H, score_H, rows) / np.maximum(np.bincount(row_H, minlength=rows), 1)
    worst_R = _first_largest(-score_H, np.flatnonzero(np.diff(row_H, prepend=-1)))
    strongest_P = np.where(
        np.repeat(entails_H >= contradicts_H, np.diff(np.append(begin_H, pairs.total))), entailment_P, contradiction_P
    )
    return mean_R, _first_largest(strongest_P, begin_H)[worst_R]


def probability(pairs: UnitPairs, columns: OutputColumns, label: str) -> NDArray[np.float64]:
    """The probability of a label of each pair (P), 0 for a label that the run does not have."""
    if label not in columns.labels:
        return np.zeros(pairs.total)
    return pairs.probability_PL[:, columns.labels.index(label)].astype(np.float64)


def _first_largest(values_P: NDArray[np.float64], first_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of the first largest value of each group; the groups begin at `first_R`."""
    if not len(first_R):
        return first_R
    largest_R = np.maximum.reduceat(values_P, first_R)
    is_largest = values_P == np.repeat(largest_R, np.diff(np.append(first_R, len(values_P))))
    largest = np.flatnonzero(is_largest)
    return largest[np.minimum(np.searchsorted(largest, first_R), len(largest) - 1)] if len(largest) else first_R


def _at(indices: NDArray[np.int64], total: int) -> NDArray[np.bool_]:
    """True at the indices."""
    result = np.zeros(total, np.bool_)
    result[indices] = True
    return result
