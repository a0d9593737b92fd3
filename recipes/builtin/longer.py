"""Longer premises: the pairs of the lessons with sentences of other premises, so that the student finds what matters.

The answer of a pair stays the one for its own premise. The teacher is not asked again: it learned from short premises,
and calls most hypotheses about one sentence of three a contradiction.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recipes.builtin.encoding import MAX_TOKENS, EncodedPairs

# How many premises are added to a pair. One of these numbers is drawn for each pair.
ADDED: Final = (0, 0, 1, 2)


def with_longer_premises(pairs: EncodedPairs, seed: int) -> EncodedPairs:
    """The pairs in the same order, half of them with premises of other pairs before or after their own.

    No pair becomes longer than `MAX_TOKENS`: a premise that would not fit is left out.
    """
    rng = np.random.default_rng(seed)
    count = len(pairs.lengths)
    ids, premise_tokens = [], []
    for at in range(count):
        own = _ids(pairs, at)
        premise, rest = own[1 : pairs.premise_tokens[at] - 1], own[pairs.premise_tokens[at] - 1 :]
        parts = [premise]
        for other in rng.integers(count, size=rng.choice(ADDED)):
            added = _ids(pairs, other)[1 : pairs.premise_tokens[other] - 1]
            if 1 + sum(map(len, parts)) + len(added) + len(rest) <= MAX_TOKENS:
                parts.insert(int(rng.integers(len(parts) + 1)), added)
        ids += [own[:1], *parts, rest]
        premise_tokens.append(sum(map(len, parts)) + 2)
    rest_tokens = pairs.lengths - pairs.premise_tokens
    offsets = np.concatenate([[0], np.cumsum(rest_tokens + premise_tokens)]).astype(np.int64)
    return EncodedPairs(np.concatenate(ids), offsets, np.asarray(premise_tokens, np.int16), pairs.pad_id)


def _ids(pairs: EncodedPairs, at: int) -> NDArray[np.int32]:
    """The token ids of one pair: [CLS] premise [SEP] hypothesis [SEP]."""
    return pairs.ids[pairs.offsets[at] : pairs.offsets[at + 1]]
