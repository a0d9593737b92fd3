"""The rules that fold a row's pairs into one result: numpy functions of logits and probabilities.

A function takes the pairs of any number of rows, flat and in order. Each row has at least one pair. The result of a
row does not depend on the other rows of the call. Logits and probabilities are float32 and have the columns of
`labels`. They are finite, because rows with other values are rejected before; only `entailment_first` accepts them.
Scores are float32, and are computed in float64 where the docstring says so. Knows nothing of Arrow, files or devices.
Shapes: R rows, P pairs, L labels, H hypotheses of all rows, T entries of all rankings.
"""
# ruff: noqa: N802, N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.prepare.windows import ranges
from albert_infer.schema import FoldRule, NliLabel, RowPairs, offsets_of

# With `entailment_first`, the label that comes first here decides. All other labels come after these.
PRECEDENCE: Final = (NliLabel.ENTAILMENT, NliLabel.CONTRADICTION)
# The label that a pair of the row must have for the row to have it.
ANY_LABEL: Final = {
    FoldRule.ANY_ENTAILMENT: NliLabel.ENTAILMENT,
    FoldRule.ANY_CONTRADICTION: NliLabel.CONTRADICTION,
}


@dataclass(frozen=True)
class Ranking:
    """The best hypotheses of each row, best first. Row r has the entries `offsets[r]` to `offsets[r + 1]`."""

    hypotheses_T: NDArray[np.int64]
    scores_T: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @property
    def best_R(self) -> NDArray[np.int64]:
        """The best hypothesis of each row."""
        return self.hypotheses_T[self.offsets[:-1]]

    @property
    def score_R(self) -> NDArray[np.float32]:
        """The score of the best hypothesis of each row."""
        return self.scores_T[self.offsets[:-1]]


def pair_scores(
    rule: FoldRule,
    pairs: RowPairs,
    logits_PL: NDArray[np.float32],
    probabilities_PL: NDArray[np.float32],
    labels: Sequence[str],
) -> NDArray[np.float32]:
    """The score of each pair (P) by a rule that ranks hypotheses. The logits are already divided by the temperature.

    `topics` is the softmax of the entailment logits of a row, and `topics_multi` is the softmax of a pair's entailment
    and contradiction logits, both in float64: the scores of Hugging Face's `ZeroShotClassificationPipeline`. With one
    hypothesis `topics` is 1; there Hugging Face computes `topics_multi`. Without a contradiction label, `topics_multi`
    is p_entailment. Raises ValueError for other rules.
    """
    entailment = labels.index(NliLabel.ENTAILMENT)
    contradiction = labels.index(NliLabel.CONTRADICTION) if NliLabel.CONTRADICTION in labels else None
    if rule is FoldRule.TOPICS:
        return _softmax_of_rows(pairs, logits_PL[:, entailment])
    if rule is not FoldRule.TOPICS_MULTI:
        raise ValueError(f"the rule {rule} ranks no hypotheses")
    if contradiction is None:
        return probabilities_PL[:, entailment].copy()
    # The logits give a ratio also where both probabilities are 0 in float32.
    gap_P = logits_PL[:, contradiction].astype(np.float64) - logits_PL[:, entailment]
    return np.exp(-np.logaddexp(0, gap_P)).astype(np.float32)


def ranked(pairs: RowPairs, scores_P: NDArray[np.float32], top_k: int) -> Ranking:
    """The `top_k` hypotheses of each row with the largest scores; all hypotheses of a row that has fewer.

    Hypotheses with equal scores keep the order of the set. Each row has one premise part, and `top_k` is at least 1.
    """
    order_P = np.lexsort((-scores_P, pairs.rows_P))
    taken_R = np.minimum(pairs.counts_R, top_k)
    pairs_T = order_P[ranges(pairs.offsets[:-1], taken_R)]
    return Ranking(pairs.hypothesis_P[pairs_T], scores_P[pairs_T], offsets_of(taken_R))


def consistency(
    pairs: RowPairs, probabilities_PL: NDArray[np.float32], labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `summac_zs` score of each row (R), and the index of the pair that decides against the row most (R).

    SummaC-ZS with `op1="max"`, `op2="mean"`, `use_ent` and `use_con` (Laban et al. 2022, TACL; `SummaCZS.image2score`
    in github.com/tingofurro/summac). The score of a hypothesis is the largest p_entailment of its pairs minus the
    largest p_contradiction of its pairs. The score of the row is the mean over its hypotheses, summed in float64.
    Without a contradiction label nothing is subtracted, as with `use_con=False`.

    The deciding pair is of the hypothesis with the smallest score: the pair with its largest p_entailment, or with its
    largest p_contradiction if that is larger. Of equals the first decides.
    """
    parts_H = np.repeat(pairs.premise_parts_R, pairs.hypothesis_parts_R)
    pairs_of_H, hypotheses_of_R = offsets_of(parts_H)[:-1], offsets_of(pairs.hypothesis_parts_R)[:-1]
    entailment_P = probabilities_PL[:, labels.index(NliLabel.ENTAILMENT)]
    contradiction_P = np.zeros_like(entailment_P)
    if NliLabel.CONTRADICTION in labels:
        contradiction_P = probabilities_PL[:, labels.index(NliLabel.CONTRADICTION)]
    entailment_H = np.maximum.reduceat(entailment_P, pairs_of_H)
    contradiction_H = np.maximum.reduceat(contradiction_P, pairs_of_H)
    score_H = entailment_H - contradiction_H
    mean_R = np.add.reduceat(score_H.astype(np.float64), hypotheses_of_R) / pairs.hypothesis_parts_R
    smallest_R = np.minimum.reduceat(score_H, hypotheses_of_R)
    hypothesis_R = _first_true(score_H == np.repeat(smallest_R, pairs.hypothesis_parts_R), hypotheses_of_R)
    supports_P = np.repeat(contradiction_H <= entailment_H, parts_H)
    largest_P = np.repeat(np.maximum(entailment_H, contradiction_H), parts_H)
    pair_H = _first_true(np.where(supports_P, entailment_P, contradiction_P) == largest_P, pairs_of_H)
    return mean_R.astype(np.float32), pair_H[hypothesis_R]


def chosen_pairs(
    rule: FoldRule, rows_P: NDArray[np.int64], probabilities_PL: NDArray[np.float32], labels: Sequence[str]
) -> NDArray[np.int64]:
    """For each row, the index of the pair whose label and probabilities the row gets (R). `rows_P` has any order.

    The label of a pair is the first with its largest probability.

    * `any_entailment` chooses among the pairs labelled entailment, else among all pairs, the one with the largest
      p_entailment. `any_contradiction` does so with contradiction. Raises ValueError if `labels` lacks the label.
    * `entailment_first`: entailment decides before contradiction, and contradiction before other labels. Among pairs
      with the same label, the largest probability of the label decides. A pair whose probabilities are not finite
      decides before all others, because the row has no valid label. The windows of a pair are folded by this rule.

    Of equals the first decides. Raises ValueError for rules that give a score.
    """
    label_P = probabilities_PL.argmax(axis=1)
    if rule is FoldRule.ENTAILMENT_FIRST:
        rank_of_label = np.array([[*PRECEDENCE, label].index(label) for label in labels])
        known_P = np.isfinite(probabilities_PL).all(axis=1)
        rank_P = np.where(known_P, rank_of_label[label_P], -1)
        probability_P = probabilities_PL.max(axis=1)
    elif rule in ANY_LABEL:
        if ANY_LABEL[rule] not in labels:
            raise ValueError(
                f"the rule {rule} needs the label {ANY_LABEL[rule]}, and the labels are {', '.join(labels)}"
            )
        wanted = labels.index(ANY_LABEL[rule])
        rank_P = np.where(label_P == wanted, 0, 1)
        probability_P = probabilities_PL[:, wanted]
    else:
        raise ValueError(f"the rule {rule} chooses no pair")
    order_P = np.lexsort((-probability_P, rank_P, rows_P))
    _, first_R = np.unique(rows_P[order_P], return_index=True)
    return order_P[first_R]


def _softmax_of_rows(pairs: RowPairs, logits_P: NDArray[np.float32]) -> NDArray[np.float32]:
    starts_R, counts_R = pairs.offsets[:-1], pairs.counts_R
    largest_R = np.maximum.reduceat(logits_P, starts_R).astype(np.float64)
    exponentials_P = np.exp(logits_P - np.repeat(largest_R, counts_R))
    shares_P: NDArray[np.float64] = exponentials_P / np.repeat(np.add.reduceat(exponentials_P, starts_R), counts_R)
    return shares_P.astype(np.float32)


def _first_true(is_true: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of the groups that begin at `starts`, the index of its first True. Each group has one."""
    indices = np.flatnonzero(is_true)
    return indices[np.searchsorted(indices, starts)]
