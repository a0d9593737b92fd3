"""Labels rows that become several pairs: frames the pairs, classifies them, and folds them into one result a row.

Arrow in, Arrow out. Knows nothing of files or Ray. `prepare.parts` tokenizes the parts, and `folds` has the rules.
Shapes: R rows, P pairs of all rows, L labels.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify import folds
from albert_infer.classify.classification import Classifier, Listener, ignore_progress
from albert_infer.classify.probabilities import label_columns
from albert_infer.prepare.framing import PairFrame, Tokenized
from albert_infer.prepare.parts import Parts
from albert_infer.prepare.tokenization import with_rejection
from albert_infer.schema import (
    BEST,
    HYPOTHESIS_ID,
    HYPOTHESIS_PARTS,
    HYPOTHESIS_SENTENCE,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIRS,
    PREMISE_PARTS,
    PREMISE_SENTENCE,
    REJECTION,
    SCORE,
    TOP,
    TOP_SCORES,
    TRUNCATED,
    Expansion,
    Rejection,
    RowPairs,
    row_batches,
)

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine

# Tokens of the pairs that are framed at a time: 4 MB of ids, and enough that the device does not wait for the next
# batch. The pairs of one row are never apart.
TOKENS_AT_A_TIME: Final = 1 << 20


@dataclass(frozen=True)
class _Classified:
    """The pairs of some rows, all with labels."""

    pairs: RowPairs
    tokenized: Tokenized
    logits_PL: NDArray[np.float32]
    probabilities_PL: NDArray[np.float32]


class RowClassifier:
    """Labels prepared rows with a classifier of pairs. `frame` is that of the tokenizer that prepared them."""

    def __init__(self, classifier: Classifier, expansion: Expansion, frame: PairFrame) -> None:
        self._classifier = classifier
        self._expansion = expansion
        self._frame = frame

    @property
    def engine(self) -> AlbertEngine:
        """The engine that computes the logits."""
        return self._classifier.engine

    def classified(self, prepared: pa.Table, on_batch: Listener = ignore_progress) -> pa.Table:
        """`prepared` with the result of each row instead of its parts. It is null in rejected rows.

        With published pairs, the column `_pairs` has all pairs of a row with their labels. All rows stay, in order.
        Rejects a row if one of its pairs does not fit into device memory alone, or has logits that are not finite.
        Memory is bounded by the tokens of MAX_PAIRS pairs, or by TOKENS_AT_A_TIME.
        """
        premise, hypothesis = (Parts.from_arrow(prepared[name]) for name in (PREMISE_PARTS, HYPOTHESIS_PARTS))
        kept = prepared.drop_columns([PREMISE_PARTS, HYPOTHESIS_PARTS])
        # A table without rows gets the columns of the results, too.
        batches = list(row_batches(prepared[N_TOKENS].fill_null(0).to_numpy(), TOKENS_AT_A_TIME)) or [slice(0, 0)]
        results = [
            self._results(kept.slice(rows.start, rows.stop - rows.start), premise, hypothesis, rows, on_batch)
            for rows in batches
        ]
        return pa.concat_tables(results).combine_chunks()

    def _results(self, kept: pa.Table, premise: Parts, hypothesis: Parts, rows: slice, on_batch: Listener) -> pa.Table:
        pairs = RowPairs(premise.counts[rows], hypothesis.counts[rows])
        tokenized = self._frame.framed(
            premise.of_pairs(rows.start, pairs.rows_P, pairs.premise_P),
            hypothesis.of_pairs(rows.start, pairs.rows_P, pairs.hypothesis_P),
            np.zeros(len(pairs.rows_P), np.bool_),
        )
        is_last_P = np.arange(1, len(pairs.rows_P) + 1) == pairs.offsets[1:][pairs.rows_P]
        logits, fitted = self._classifier.pair_logits(
            tokenized.pairs,
            tokenized.long_premises if self._frame.with_windows else None,
            np.ones(len(is_last_P), np.bool_),
            is_last_P,
            on_batch,
        )
        finite = np.isfinite(logits).all(axis=1)
        for broken, reason, detail in (
            (~fitted, Rejection.DEVICE_OUT_OF_MEMORY, "the device has no memory for a pair of the row alone"),
            (fitted & ~finite, Rejection.NONFINITE_LOGITS, self._classifier.nonfinite_detail),
        ):
            rejected = kept[REJECTION].is_null().to_numpy() & (pairs.sums(broken) > 0)
            kept = with_rejection(kept, rejected, reason, detail)
        good = kept[REJECTION].is_null().to_numpy()
        good_P = good[pairs.rows_P]
        classified = _Classified(
            pairs.of_rows(good),
            tokenized,
            self._classifier.scaled(logits[good_P]),
            self._classifier.probabilities(logits[good_P]),
        )
        return self._with_results(kept, good, good_P, classified)

    def _with_results(
        self, kept: pa.Table, good: NDArray[np.bool_], good_P: NDArray[np.bool_], classified: _Classified
    ) -> pa.Table:
        """`kept` with the columns of the rule, and with the pairs if they are published; null where not `good`."""
        expansion = self._expansion
        # Null in rejected rows, and the index among the good rows in others.
        position = pa.array(np.cumsum(good) - 1, pa.int64(), mask=~good)
        added: dict[str, pa.Array] = {}
        score_P = None
        if expansion.fold.chooses_pair:
            chosen = folds.chosen_pairs(
                expansion.fold, classified.pairs.rows_P, classified.probabilities_PL, self._classifier.labels
            )
            added |= label_columns(classified.probabilities_PL[chosen], self._classifier.labels)
            added |= self._indices(classified.pairs, chosen)
            sureness = classified.probabilities_PL[chosen].max(axis=1)
        elif expansion.fold.ranks_hypotheses:
            score_P = folds.pair_scores(
                expansion.fold,
                classified.pairs,
                classified.logits_PL,
                classified.probabilities_PL,
                self._classifier.labels,
            )
            added |= self._ranked(classified.pairs, score_P)
            sureness = added[SCORE].to_numpy()
        else:
            score_R, deciding_R = folds.consistency(
                classified.pairs, classified.probabilities_PL, self._classifier.labels
            )
            added |= {SCORE: pa.array(score_R), **self._indices(classified.pairs, deciding_R)}
            sureness = score_R
        if (limit := self._classifier.review_below) is not None:
            added[NEEDS_REVIEW] = pa.array(sureness < np.float32(limit))
        counts = [name for name in (N_PAIRS, N_TOKENS, TRUNCATED, N_WINDOWS) if name in kept.column_names]
        if expansion.publishes_pairs:
            added[PAIRS] = self._pairs(good_P, classified, score_P)
        table = kept
        for name, column in added.items():
            table = table.append_column(name, column.take(position))
        return table.select([name for name in table.column_names if name not in counts] + counts)

    def _ranked(self, pairs: RowPairs, score_P: NDArray[np.float32]) -> dict[str, pa.Array]:
        ranking = folds.ranked(pairs, score_P, self._expansion.top_k)
        assert self._expansion.hypotheses is not None  # noqa: S101  (for the type checker: settings check)
        ids = pa.array(self._expansion.hypotheses.ids, pa.string()).take(pa.array(ranking.hypotheses_T))
        scores = pa.array(ranking.scores_T, pa.float32())
        offsets, first = pa.array(ranking.offsets, pa.int32()), pa.array(ranking.offsets[:-1])
        return {
            BEST: ids.take(first),
            SCORE: scores.take(first),
            TOP: pa.ListArray.from_arrays(offsets, ids),
            TOP_SCORES: pa.ListArray.from_arrays(offsets, scores),
        }

    def _indices(self, pairs: RowPairs, chosen: NDArray[np.int64]) -> dict[str, pa.Array]:
        """The columns that name the chosen pair of each row."""
        premise, hypothesis = pairs.premise_P[chosen], pairs.hypothesis_P[chosen]
        expansion, added = self._expansion, {}
        if expansion.hypotheses is not None:
            added[HYPOTHESIS_ID] = pa.array(expansion.hypotheses.ids, pa.string()).take(pa.array(hypothesis))
        if expansion.split_premise:
            added[PREMISE_SENTENCE] = pa.array(premise, pa.int32())
        if expansion.split_hypothesis:
            added[HYPOTHESIS_SENTENCE] = pa.array(hypothesis, pa.int32())
        return added

    def _pairs(
        self, good_P: NDArray[np.bool_], classified: _Classified, score_P: NDArray[np.float32] | None
    ) -> pa.LargeListArray:
        """The pairs of each good row as a list of structs: the columns that labelling adds to a pair."""
        tokenized, probabilities = classified.tokenized, classified.probabilities_PL
        n_windows = np.maximum(tokenized.n_windows, 1)
        fields = label_columns(probabilities, self._classifier.labels)
        fields[N_TOKENS] = pa.array((tokenized.pairs.lengths * n_windows)[good_P], pa.int32())
        fields[TRUNCATED] = pa.array(tokenized.truncated[good_P])
        if (limit := self._classifier.review_below) is not None:
            fields[NEEDS_REVIEW] = pa.array(probabilities.max(axis=1) < np.float32(limit))
        if self._frame.with_windows:
            fields[N_WINDOWS] = pa.array(n_windows[good_P], pa.int32())
        if score_P is not None:
            fields[SCORE] = pa.array(score_P, pa.float32())
        structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
        return pa.LargeListArray.from_arrays(pa.array(classified.pairs.offsets), structs)
