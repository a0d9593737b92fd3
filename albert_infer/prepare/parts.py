"""Tokenizes the parts of texts, for rows that become several pairs: a text, its sentences, or a set of hypotheses.

Arrow in, Arrow out. Each distinct part is tokenized once. `classify.rows` frames the parts as pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.common.printable import printable
from albert_infer.prepare.framing import PairFrame
from albert_infer.prepare.ragged import Ragged
from albert_infer.prepare.sentences import FAILED_DETAIL, SentenceBounds, split_texts
from albert_infer.prepare.tokenization import PairTokenizer, with_rejection
from albert_infer.prepare.windows import MAX_WINDOWS
from albert_infer.schema import (
    HYPOTHESIS,
    HYPOTHESIS_BOUNDS,
    HYPOTHESIS_PARTS,
    MAX_PAIRS,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    PREMISE,
    PREMISE_BOUNDS,
    PREMISE_PARTS,
    REJECTION,
    TRUNCATED,
    Expansion,
    HypothesisSet,
    Rejection,
    RowPairs,
    offsets_of,
    row_batches,
)

# Pairs whose lengths are computed at a time: some megabytes of numbers.
PAIRS_AT_A_TIME: Final = 1 << 18


@dataclass(frozen=True)
class Parts:
    """The parts of R texts as tokens: text r has the parts from `offsets[r]` to before `offsets[r + 1]`."""

    tokens: Ragged
    offsets: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of parts of each text (R, int64)."""
        return np.diff(self.offsets)

    def of_pairs(self, first_row: int, rows_P: NDArray[np.int64], parts_P: NDArray[np.int64]) -> Ragged:  # noqa: N803
        """The part of each pair: part `parts_P` of the text of row `rows_P`, counted from `first_row` on."""
        return self.tokens.take(self.offsets[first_row + rows_P] + parts_P)

    def to_arrow(self, rows: NDArray[np.bool_]) -> pa.LargeListArray:
        """The parts as lists of token ids. Only `rows` (R, bool) keep their parts."""
        counts = np.where(rows, self.counts, 0)
        kept = np.repeat(rows, self.counts)
        lengths = self.tokens.lengths[kept]
        ids = Ragged(self.tokens.ids, self.tokens.starts[kept], lengths, self.tokens.failed[kept]).laid_out(lengths)
        # int32 offsets, as those of token ids: a unit has far fewer than 2³¹ tokens.
        parts = pa.ListArray.from_arrays(pa.array(offsets_of(lengths), pa.int32()), pa.array(ids))
        return pa.LargeListArray.from_arrays(pa.array(offsets_of(counts)), parts)

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> Parts:
        """The parts of `to_arrow`, without copying where the column is one chunk."""
        texts = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        offsets = texts.offsets.to_numpy().astype(np.int64)
        # A slice of a column has the parts of all its texts.
        bounds = texts.values.offsets.to_numpy()[offsets[0] : offsets[-1] + 1].astype(np.int64)
        lengths = np.diff(bounds)
        tokens = Ragged(texts.values.values.to_numpy(), bounds[:-1], lengths, np.zeros(len(lengths), np.bool_))
        return cls(tokens, offsets - offsets[0])


def append_parts(
    pairs: pa.Table, tokenizer: PairTokenizer, expansion: Expansion, *, pairs_at_a_time: int = PAIRS_AT_A_TIME
) -> pa.Table:
    """Add the tokens of the parts of each row, and the counts of its pairs, to the result of `mark_rejected`.

    All rows stay, in order. Rejected rows get no parts, and counts of 0. `n_tokens` is the sum over all pairs and their
    windows, and `truncated` says whether tokens of any pair are cut. Rejects a row whose pairs cannot all be computed:
    with more than MAX_PAIRS pairs, without room for one premise token in a pair, with a part without tokens, with an
    error of the tokenizer or the splitter, and with too many windows in a pair.
    """
    texts = {PREMISE: expansion.split_premise, HYPOTHESIS: expansion.split_hypothesis}
    sentences = {name: split_texts(pairs[name]) for name, is_split in texts.items() if is_split}
    premise = _parts(pairs, PREMISE, sentences, tokenizer)
    if expansion.hypotheses is None:
        hypothesis = _parts(pairs, HYPOTHESIS, sentences, tokenizer)
    else:
        hypothesis = set_parts(expansion.hypotheses, tokenizer, pairs.num_rows)
    pairs = _without_faults(pairs, premise, hypothesis, list(sentences.values()))
    usable = pairs[REJECTION].is_null().to_numpy()
    counts = _counts(premise, hypothesis, usable, tokenizer.frame, pairs_at_a_time)
    room = f"no room for one token of the premise within {tokenizer.frame.max_length} tokens"
    pairs = _rejected(pairs, ~counts.fits, Rejection.HYPOTHESIS_TOO_LONG, room)
    windows = f"with a hypothesis the premise has more than {MAX_WINDOWS:,} windows"
    pairs = _rejected(pairs, counts.too_long, Rejection.TOO_MANY_WINDOWS, windows)
    usable = pairs[REJECTION].is_null().to_numpy()
    pairs = pairs.append_column(PREMISE_PARTS, premise.to_arrow(usable))
    pairs = pairs.append_column(HYPOTHESIS_PARTS, hypothesis.to_arrow(usable))
    for name, bounds in ((PREMISE, PREMISE_BOUNDS), (HYPOTHESIS, HYPOTHESIS_BOUNDS)):
        if name in sentences:
            pairs = pairs.append_column(bounds, _bounds(sentences[name], usable))
    added = {N_PAIRS: premise.counts * hypothesis.counts, N_TOKENS: counts.tokens}
    if tokenizer.frame.with_windows:
        added[N_WINDOWS] = counts.windows
    for name, values in added.items():
        pairs = pairs.append_column(name, pa.array(np.where(usable, values, 0), pa.int32()))
    return pairs.append_column(TRUNCATED, pa.array(usable & counts.truncated))


def _without_faults(
    pairs: pa.Table, premise: Parts, hypothesis: Parts, sentences: Sequence[SentenceBounds]
) -> pa.Table:
    """Reject the rows with a text that cannot be split or tokenized, and the rows with too many pairs."""
    texts = (premise, hypothesis)
    for split in sentences:
        pairs = _rejected(pairs, split.failed, Rejection.SPLITTER_FAILED, FAILED_DETAIL)
    for text in texts:
        failed = _any_of(text.tokens.failed, text.offsets)
        pairs = _rejected(pairs, failed, Rejection.TOKENIZER_FAILED, "the tokenizer raised an error for a text")
    for text in texts:
        blank = _any_of(text.tokens.lengths == 0, text.offsets)
        pairs = _rejected(pairs, blank, Rejection.EMPTY_TEXT, "a text, or a sentence of it, has no tokens")
    too_many = premise.counts * hypothesis.counts > MAX_PAIRS
    return _rejected(pairs, too_many, Rejection.TOO_MANY_PAIRS, f"the row has more than {MAX_PAIRS:,} pairs")


def _rejected(pairs: pa.Table, rows: NDArray[np.bool_], reason: Rejection, detail: str) -> pa.Table:
    """`pairs` with `rows` (R, bool) rejected, but those that are rejected already."""
    return with_rejection(pairs, rows & pairs[REJECTION].is_null().to_numpy(), reason, detail)


def set_parts(hypotheses: HypothesisSet, tokenizer: PairTokenizer, rows: int) -> Parts:
    """The hypotheses of the set as the parts of each row."""
    tokens = _set_tokens(hypotheses, tokenizer)
    indices = np.tile(np.arange(len(hypotheses), dtype=np.int32), rows)
    return Parts(tokens.take(indices), np.arange(rows + 1) * len(hypotheses))


def unusable_hypothesis(hypotheses: HypothesisSet, tokenizer: PairTokenizer) -> str | None:
    """What is wrong with the first hypothesis without tokens or without room for a premise: no row has a result then.

    None if all hypotheses are usable.
    """
    lengths = set_parts(hypotheses, tokenizer, rows=1).tokens.lengths
    fits = tokenizer.frame.kept(np.ones_like(lengths), lengths).premise > 0
    for index in np.flatnonzero(~fits | (lengths == 0))[:1]:
        size = f"`{printable(hypotheses.ids[index])}` has {lengths[index]:,} tokens"
        return f"{size}, and a pair has at most {tokenizer.frame.max_length:,}"
    return None


@lru_cache(maxsize=2)
def _set_tokens(hypotheses: HypothesisSet, tokenizer: PairTokenizer) -> Ragged:
    """The tokens of each hypothesis. A unit of few rows would tokenize a large set again."""
    return tokenizer.tokenized(pa.chunked_array([hypotheses.texts], pa.string()))


def one_pair_each(pairs: pa.Table, expansion: Expansion) -> pa.Table:
    """One of the pairs of each row, with its texts: for a sample. `pairs` is the result of `mark_rejected`.

    Row r has hypothesis r of the set and sentence r of its text, counted from the start again after the last one.
    """
    hypotheses = expansion.hypotheses
    if hypotheses is not None:
        turn = pa.array(np.arange(pairs.num_rows) % len(hypotheses))
        pairs = pairs.append_column(HYPOTHESIS, pa.array(hypotheses.texts, pa.string()).take(turn))
    for name, is_split in ((PREMISE, expansion.split_premise), (HYPOTHESIS, expansion.split_hypothesis)):
        if is_split:
            split = split_texts(pairs[name])
            chosen = split.offsets[:-1] + np.arange(pairs.num_rows) % np.maximum(split.counts, 1)
            # A rejected row has no sentence, and its text is empty.
            texts = split.texts().take(pa.array(chosen, mask=split.counts == 0)).fill_null("")
            pairs = pairs.set_column(pairs.column_names.index(name), name, texts)
    return pairs


def _parts(pairs: pa.Table, name: str, sentences: dict[str, SentenceBounds], tokenizer: PairTokenizer) -> Parts:
    """The text of each row as one part, or its sentences."""
    if name not in sentences:
        return Parts(tokenizer.tokenized(pairs[name]), np.arange(pairs.num_rows + 1))
    split = sentences[name]
    return Parts(tokenizer.tokenized(pa.chunked_array([split.texts()], pa.string())), split.offsets)


@dataclass(frozen=True)
class _Counts:
    """The pairs of each row together (arrays of length R)."""

    tokens: NDArray[np.int64]
    windows: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    fits: NDArray[np.bool_]
    # Whether a pair has more than MAX_WINDOWS windows.
    too_long: NDArray[np.bool_]


def _counts(
    premise: Parts, hypothesis: Parts, usable: NDArray[np.bool_], frame: PairFrame, pairs_at_a_time: int
) -> _Counts:
    rows = len(usable)
    counts = _Counts(
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.bool_),
        np.ones(rows, np.bool_),
        np.zeros(rows, np.bool_),
    )
    all_pairs = RowPairs(np.where(usable, premise.counts, 0), np.where(usable, hypothesis.counts, 0))
    for batch in row_batches(all_pairs.counts_R, pairs_at_a_time):
        pairs = all_pairs.of_rows(batch)
        kept = frame.kept(
            premise.of_pairs(batch.start, pairs.rows_P, pairs.premise_P).lengths,
            hypothesis.of_pairs(batch.start, pairs.rows_P, pairs.hypothesis_P).lengths,
        )
        counts.tokens[batch] = pairs.sums(kept.lengths * kept.n_windows)
        counts.windows[batch] = pairs.sums(kept.n_windows)
        counts.truncated[batch] = pairs.sums(kept.is_cut & (not frame.with_windows)) > 0
        counts.fits[batch] = pairs.sums(kept.premise <= 0) == 0
        counts.too_long[batch] = pairs.sums(kept.n_windows > MAX_WINDOWS) > 0
    return counts


def _any_of(parts_S: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:  # noqa: N803
    """Whether any part of each text is True (R)."""
    is_any: NDArray[np.bool_] = np.diff(offsets_of(parts_S)[offsets]) > 0
    return is_any


def _bounds(split: SentenceBounds, rows: NDArray[np.bool_]) -> pa.ListArray:
    """Where the sentences of each text begin and end, in turn. Only `rows` (R, bool) keep their bounds."""
    kept = np.repeat(rows, split.counts)
    flat = np.stack([split.starts[kept], split.ends[kept]], axis=1).reshape(-1)
    offsets = offsets_of(2 * np.where(rows, split.counts, 0))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat))
