"""Windows hold every token of a premise, in order and overlapping."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import PROPERTY

from albert_infer.prepare.windows import LongPremises, first_alike, further_windows, window_counts
from albert_infer.schema import EncodedPairs

CLS, SEP = -1, -2
# Pairs of a premise, the room for it, and a hypothesis: lengths in tokens, from far too long to far from full.
SIZES = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 12), st.integers(1, 4)), min_size=1, max_size=4)


def encoded(sizes: Sequence[tuple[int, int, int]]) -> tuple[EncodedPairs, LongPremises]:
    """The pairs as the tokenizer leaves them; the tokens of a premise are numbered, those of a hypothesis 1000 to."""
    ids, whole = [], []
    for premise, room, hypothesis in sizes:
        ids.append([CLS, *range(min(premise, room)), SEP, *range(1000, 1000 + hypothesis), SEP])
        whole.append(list(range(premise)) if premise > room else [])
    segments = np.array([min(premise, room) + 2 for premise, room, _ in sizes], np.int32)
    return EncodedPairs(*joined(ids), segments), LongPremises(*joined(whole))


def joined(runs: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    flat = np.array([token for run in runs for token in run], np.int32)
    return flat, np.concatenate([[0], np.cumsum([len(run) for run in runs])]).astype(np.int64)


def tokens_of(pairs: EncodedPairs) -> list[list[int]]:
    return [pairs.input_ids[first:last].tolist() for first, last in pairwise(pairs.offsets)]


@PROPERTY
@given(sizes=SIZES, tokens_at_a_time=st.integers(1, 99))
def test_windows_hold_every_premise_token_in_order_full_and_overlapping_by_a_quarter(
    sizes: list[tuple[int, int, int]], tokens_at_a_time: int
) -> None:
    pairs, premises = encoded(sizes)
    windows = [[tokens] for tokens in tokens_of(pairs)]
    ended: list[int] = []
    for some in further_windows(pairs, premises, np.arange(len(sizes)), tokens_at_a_time):
        assert len(some.pairs.input_ids) <= max(tokens_at_a_time, int(pairs.lengths.max()))
        for row, tokens, segment, is_last in zip(
            some.rows_W, tokens_of(some.pairs), some.pairs.premise_segment_tokens, some.is_last_W, strict=True
        ):
            assert segment == pairs.premise_segment_tokens[row]
            windows[row].append(tokens)
            ended += [row] if is_last else []
    counts = window_counts(*(np.array(sizes)[:, column] for column in (0, 1)))
    assert [len(each) for each in windows] == counts.tolist()
    assert ended == np.flatnonzero(counts > 1).tolist()
    for (premise, room, hypothesis), each in zip(sizes, windows, strict=True):
        ending = [SEP, *range(1000, 1000 + hypothesis), SEP]
        parts = [tokens[1 : -len(ending)] for tokens in each]
        assert all(tokens == [CLS, *part, *ending] for tokens, part in zip(each, parts, strict=True))
        assert all(part == list(range(part[0], part[0] + min(premise, room))) for part in parts), "full, and one piece"
        assert (parts[0][0], parts[-1][-1]) == (0, premise - 1)
        shared = [before[-1] + 1 - after[0] for before, after in pairwise(parts)]
        assert shared[:-1] == [room // 4] * len(shared[:-1])
        assert all(room // 4 <= last < room for last in shared[-1:])


def test_pairs_are_alike_in_their_whole_premise_too() -> None:
    premise, room, hypothesis = 30, 8, 2
    pairs, premises = encoded([(premise, room, hypothesis)] * 2 + [(premise + 1, room, hypothesis), (8, 8, 2)] * 2)
    assert first_alike(pairs, premises).tolist() == [0, 0, 2, 3, 2, 3]


def test_only_the_windows_of_the_rows_that_are_asked_for_are_laid_out() -> None:
    pairs, premises = encoded([(30, 8, 2), (30, 8, 2), (5, 8, 2), (30, 8, 2)])
    (windows,) = further_windows(pairs, premises, np.array([1, 2]))
    assert set(windows.rows_W.tolist()) == {1}
    assert list(further_windows(pairs, premises, np.array([2]))) == []
