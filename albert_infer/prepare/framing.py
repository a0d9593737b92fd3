"""Frames the tokens of two texts as one pair: `[CLS] premise [SEP] hypothesis [SEP]`, truncated, never padded.

numpy only. Knows nothing of tokenizers, texts or devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from albert_infer.prepare.ragged import Ragged
from albert_infer.prepare.windows import MAX_WINDOWS, LongPremises, window_counts
from albert_infer.schema import EncodedPairs

# [CLS] premise [SEP] hypothesis [SEP]
FRAME_TOKENS: Final = 3
Truncation = Literal["premise", "longest_first"]


@dataclass(frozen=True)
class Tokenized:
    """Encoded pairs, and the outcome of each (arrays of length R).

    `fits` is False if the hypothesis leaves no room for one premise token. `blank` is True if a text has no tokens.
    `failed` is True if the tokenizer raised an error for a text. In all three cases the row has no tokens in `pairs`.
    `truncated` is True if tokens were cut, but never for a pair in windows. Such a pair has `n_windows` above 1, and
    its whole premise in `long_premises` if it has at most MAX_WINDOWS. A row without tokens has 0 windows.
    """

    pairs: EncodedPairs
    truncated: NDArray[np.bool_]
    fits: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    n_windows: NDArray[np.int64]
    long_premises: LongPremises


@dataclass(frozen=True)
class Kept:
    """The tokens that each of R pairs keeps of its texts, and its windows; see `Tokenized`.

    A `premise` of 0 or fewer tokens: the hypothesis does not fit.
    """

    premise: NDArray[np.int64]
    hypothesis: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    n_windows: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each pair, or of its first window, special tokens included (R, int64)."""
        return self.premise + self.hypothesis + FRAME_TOKENS


@dataclass(frozen=True)
class PairFrame:
    """The special token ids of a pair, and the rules for pairs that are too long.

    With windows, the truncation decides where the first window ends.
    """

    cls_id: int
    sep_id: int
    max_length: int
    truncation: Truncation
    with_windows: bool

    def kept(self, premise: NDArray[np.int64], hypothesis: NDArray[np.int64]) -> Kept:
        """The tokens that pairs keep of texts with these numbers of tokens (R)."""
        premise_kept, hypothesis_kept = self._truncated_lengths(premise, hypothesis)
        is_cut = premise_kept + hypothesis_kept < premise + hypothesis
        one = np.ones(len(premise), np.int64)
        # A premise without room has no windows.
        in_windows = is_cut & self.with_windows & (premise_kept > 0)
        n_windows = np.where(in_windows, window_counts(premise, premise_kept), one)
        return Kept(premise_kept, hypothesis_kept, is_cut, n_windows)

    def framed(self, premise: Ragged, hypothesis: Ragged, skip: NDArray[np.bool_]) -> Tokenized:
        """The pairs of R premises and hypotheses, in order. Rows with `skip` (R, bool) get no tokens and no outcome."""
        failed = ~skip & (premise.failed | hypothesis.failed)
        blank = ~skip & ~failed & ((premise.lengths == 0) | (hypothesis.lengths == 0))
        kept = self.kept(premise.lengths, hypothesis.lengths)
        fits = skip | failed | blank | (kept.premise > 0)
        usable = fits & ~skip & ~failed & ~blank
        pairs = self._laid_out(premise, np.where(usable, kept.premise, 0), hypothesis, kept.hypothesis, usable)
        n_windows = np.where(usable, kept.n_windows, 0)
        is_long = (n_windows > 1) & (n_windows <= MAX_WINDOWS)
        kept_whole = np.where(is_long, premise.lengths, 0)
        long_premises = LongPremises(premise.laid_out(kept_whole), np.concatenate([[0], np.cumsum(kept_whole)]))
        truncated = usable & kept.is_cut & (not self.with_windows)
        return Tokenized(pairs, truncated, fits, blank, failed, n_windows, long_premises)

    def _truncated_lengths(
        self, premise: NDArray[np.int64], hypothesis: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of tokens of each text after truncation. 0 or less for a premise: the hypothesis does not fit."""
        room = self.max_length - FRAME_TOKENS
        if self.truncation == "premise":
            return np.minimum(premise, room - hypothesis), hypothesis
        # The same rule as in `tokenizers`: the longer text gets the room that the shorter one leaves. If both are
        # longer than half of the room, each gets half, and the longer text gets the odd token.
        shorter = np.minimum(np.minimum(premise, hypothesis), room // 2)
        longer = np.minimum(np.maximum(premise, hypothesis), room - shorter)
        swap = premise > hypothesis
        return np.where(swap, longer, shorter), np.where(swap, shorter, longer)

    def _laid_out(
        self,
        premise: Ragged,
        premise_kept: NDArray[np.int64],
        hypothesis: Ragged,
        hypothesis_kept: NDArray[np.int64],
        usable: NDArray[np.bool_],
    ) -> EncodedPairs:
        lengths = np.where(usable, premise_kept + hypothesis_kept + FRAME_TOKENS, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        begins = offsets[:-1]
        input_ids = np.full(offsets[-1], self.sep_id, dtype=np.int32)
        input_ids[begins[usable]] = self.cls_id
        premise.copy_to(input_ids, begins + 1, premise_kept, usable)
        hypothesis.copy_to(input_ids, begins + premise_kept + 2, hypothesis_kept, usable)
        return EncodedPairs(input_ids, offsets, np.where(usable, premise_kept + 2, 0).astype(np.int32))
