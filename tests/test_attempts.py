"""A unit is poison once three of its attempts were lost on nodes that live; nothing else makes it so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.pipeline.attempts import MAX_LOST_ATTEMPTS, AttemptCounts


def lost(counts: AttemptCounts, times: int, node: str = "n1") -> None:
    for number in range(times):
        assert counts.begin("unit", f"{node} {number}", node)


def test_the_fourth_attempt_after_three_lost_ones_is_refused_and_stays_so() -> None:
    counts = AttemptCounts(lambda: {"n1"})
    lost(counts, MAX_LOST_ATTEMPTS)
    assert [counts.begin("unit", "4", "n1"), counts.begin("unit", "5", "n2")] == [False, False]
    assert counts.begin("another unit", "6", "n1")


@PROPERTY
@given(st.lists(st.booleans(), max_size=20))
def test_attempts_that_returned_or_raised_never_count(died: list[bool]) -> None:
    counts = AttemptCounts(lambda: {"n1"})
    open_attempts = 0
    for number, dies in enumerate(died):
        healthy = counts.begin("unit", str(number), "n1")
        assert healthy == (open_attempts < MAX_LOST_ATTEMPTS)
        if healthy and not dies:
            counts.end("unit", str(number))
        open_attempts += healthy and dies


def test_attempts_on_nodes_that_were_lost_never_count() -> None:
    alive = {"n1", "n2", "n3"}
    counts = AttemptCounts(lambda: alive)
    for node in ("n1", "n2", "n3"):
        lost(counts, 1, node)
    assert not counts.begin("unit", "next", "n4")
    # The cluster hears of a node's death some seconds late.
    alive.remove("n3")
    assert counts.begin("unit", "next", "n1")
    assert not counts.begin("unit", "after it", "n1")


def test_an_attempt_whose_reply_was_lost_begins_again_as_itself() -> None:
    counts = AttemptCounts(lambda: {"n1"})
    for _ in range(9):
        assert counts.begin("unit", "only", "n1")
    lost(counts, MAX_LOST_ATTEMPTS - 1)
    assert not counts.begin("unit", "next", "n1")


def test_a_unit_is_suspected_while_an_attempt_at_it_is_open() -> None:
    counts = AttemptCounts(lambda: {"n1"})
    assert not counts.is_suspected("unit")
    lost(counts, 1)
    assert counts.is_suspected("unit")
    assert not counts.is_suspected("another unit")
    counts.end("unit", "n1 0")
    assert not counts.is_suspected("unit")


def test_an_attempt_is_closed_once() -> None:
    counts = AttemptCounts(lambda: {"n1"})
    lost(counts, MAX_LOST_ATTEMPTS)
    counts.end("unit", "n1 0")
    counts.end("unit", "n1 0")
    counts.end("unit", "never began")
    assert counts.begin("unit", "next", "n1")
    assert not counts.begin("unit", "after it", "n1")
