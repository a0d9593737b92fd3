"""The pairs of sampled rows, where each row becomes several pairs: their lengths, and the repeated ones among them."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify.rows import TOKENS_AT_A_TIME
from albert_infer.prepare.framing import PairFrame
from albert_infer.prepare.parts import Parts
from albert_infer.schema import HYPOTHESIS_PARTS, N_TOKENS, PREMISE_PARTS, Expansion, RowPairs, row_batches


@dataclass(frozen=True)
class PairLengths:
    """Each length that occurs, in tokens, with the number of its pairs; and the number of different pairs.

    Pairs are different within the rows that a worker classifies together, because the engine computes equal pairs once
    there.
    """

    lengths: NDArray[np.int64]
    pairs: NDArray[np.int64]
    distinct: int


def pair_lengths(rows: pa.Table, expansion: Expansion, frame: PairFrame) -> PairLengths:
    """The lengths of all pairs of the rows, which are the result of `append_parts`."""
    lengths, pairs, distinct = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for lengths_P, keys_P in _pairs(rows, expansion, frame):
        of_batch, counts = np.unique(lengths_P, return_counts=True)
        lengths.append(of_batch)
        pairs.append(counts)
        distinct += len(np.unique(keys_P))
    every, index = np.unique(np.concatenate(lengths), return_inverse=True)
    # `bincount` returns its weighted counts as floating point.
    return PairLengths(every, np.bincount(index, np.concatenate(pairs), len(every)).astype(np.int64), distinct)


def _pairs(
    rows: pa.Table, expansion: Expansion, frame: PairFrame
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the lengths of the pairs of some rows, and numbers that are equal for equal pairs."""
    premise, hypothesis = (Parts.from_arrow(rows[name]) for name in (PREMISE_PARTS, HYPOTHESIS_PARTS))
    premises, hypotheses = _numbers(premise), None if expansion.hypotheses is not None else _numbers(hypothesis)
    all_pairs = RowPairs(premise.counts, hypothesis.counts)
    for batch in row_batches(rows[N_TOKENS].to_numpy(), TOKENS_AT_A_TIME):
        pairs = all_pairs.of_rows(batch)
        kept = frame.kept(
            premise.of_pairs(batch.start, pairs.rows_P, pairs.premise_P).lengths,
            hypothesis.of_pairs(batch.start, pairs.rows_P, pairs.hypothesis_P).lengths,
        )
        rows_P = batch.start + pairs.rows_P
        premise_P = premises[premise.offsets[rows_P] + pairs.premise_P]
        hypothesis_P = pairs.hypothesis_P
        if hypotheses is not None:
            hypothesis_P = hypotheses[hypothesis.offsets[rows_P] + hypothesis_P]
        yield kept.lengths * kept.n_windows, premise_P * (hypothesis_P.max(initial=0) + 1) + hypothesis_P


def _numbers(parts: Parts) -> NDArray[np.int64]:
    """A number for each part, equal for equal tokens."""
    tokens, known = parts.tokens, dict[bytes, int]()
    bounds = zip(tokens.starts.tolist(), tokens.lengths.tolist(), strict=True)
    texts = (tokens.ids[start : start + length].tobytes() for start, length in bounds)
    return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)
