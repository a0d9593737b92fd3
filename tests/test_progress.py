"""Progress counts each unit once, however often it is labelled, and its line can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import PROPERTY

from albert_infer.progress import ProgressCounts, UnitProgress, log_line

BATCHES = st.lists(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(lambda lengths: np.array(lengths, dtype=np.int64)),
    min_size=1,
    max_size=6,
)


def after(batches: list[NDArray[np.int64]]) -> UnitProgress:
    done = UnitProgress()
    for lengths in batches:
        done = done.after(lengths, rows_done=len(lengths), halved=len(lengths) == 1)
    return done


@PROPERTY
@given(BATCHES)
def test_a_unit_counts_rows_tokens_what_padding_would_have_cost_and_halved_micro_batches(
    batches: list[NDArray[np.int64]],
) -> None:
    done = after(batches)
    assert done.rows == sum(len(lengths) for lengths in batches)
    assert done.tokens == sum(int(length) for lengths in batches for length in lengths)
    assert done.halved == sum(len(lengths) == 1 for lengths in batches)
    assert done.padded_tokens == sum(len(lengths) * max(lengths.tolist()) for lengths in batches)


@PROPERTY
@given(batches=BATCHES, attempts=st.integers(1, 3))
def test_a_unit_that_is_labelled_again_counts_once(batches: list[NDArray[np.int64]], attempts: int) -> None:
    counts = ProgressCounts()
    counts.tell("other", UnitProgress(1, 2, 3, 4))
    for _ in range(attempts):
        for end in range(1, len(batches) + 1):
            counts.tell("unit", after(batches[:end]))
    whole = after(batches)
    so_far = counts.so_far()
    assert so_far.units == 2
    assert so_far.done == UnitProgress(whole.rows + 1, whole.tokens + 2, whole.padded_tokens + 3, whole.halved + 4)
    assert 0 <= so_far.padding_share < 1


def test_before_the_first_batch_there_is_nothing_to_tell() -> None:
    so_far = ProgressCounts().so_far()
    assert (so_far.units, so_far.done, so_far.first_told, so_far.padding_share) == (0, UnitProgress(), None, 0.0)


def test_the_padding_share_is_of_the_padded_cells() -> None:
    counts = ProgressCounts()
    counts.tell("unit", UnitProgress().after(np.array([10, 30], dtype=np.int64), rows_done=2, halved=False))
    assert counts.so_far().padding_share == pytest.approx(1 - 40 / 60)


def test_a_line_tells_rows_share_speed_and_time_left() -> None:
    line = log_line(1_000_000, 200_000, 50_000, 5_000.0)
    for told in ("250,000 of 1,000,000", "25%", "5,000 pairs/s", "0:02:30 left"):
        assert told in line
    assert "\n" not in line


def test_a_line_before_the_first_row_tells_no_speed() -> None:
    line = log_line(1_000, 100, 0, 0.0)
    assert "100 of 1,000" in line
    assert "pairs/s" not in line
