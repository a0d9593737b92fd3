"""Calls of an actor run at the same time, but for those that must run alone."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from albert_infer.pipeline.turns import Turns


class Call:
    """A call that is inside from `entered` on, until `leave`."""

    def __init__(self, pool: ThreadPoolExecutor, turns: Turns, *, alone: bool) -> None:
        self.entered, self.leave = Event(), Event()
        self.done: Future[None] = pool.submit(self._run, turns, alone)

    def _run(self, turns: Turns, alone: bool) -> None:
        with turns.taken(alone=alone):
            self.entered.set()
            assert self.leave.wait(10)

    def is_inside(self) -> bool:
        """Whether it is inside within a moment."""
        return self.entered.wait(0.05)

    def ended(self) -> None:
        """Let it leave."""
        self.leave.set()
        self.done.result(10)


def test_calls_run_together_and_a_suspected_one_runs_alone() -> None:
    turns = Turns()
    with ThreadPoolExecutor(5) as pool:
        together = [Call(pool, turns, alone=False) for _ in range(2)]
        assert all(call.entered.wait(10) for call in together)
        alone = Call(pool, turns, alone=True)
        assert not alone.is_inside()
        # It comes after the one that waits, and so enters after it.
        later = Call(pool, turns, alone=False)
        assert not later.is_inside()
        together[0].ended()
        assert not alone.is_inside()
        together[1].ended()
        assert alone.entered.wait(10)
        other = Call(pool, turns, alone=True)
        assert not later.is_inside()
        assert not other.is_inside()
        alone.ended()
        assert other.entered.wait(10)
        assert not later.is_inside()
        other.ended()
        assert later.entered.wait(10)
        later.ended()


def test_an_error_inside_gives_the_turn_back() -> None:
    turns = Turns()
    for alone in (True, False):
        with pytest.raises(ValueError, match="inside"), turns.taken(alone=alone):
            raise ValueError("inside")
    begun = time.monotonic()
    with turns.taken(alone=True):
        assert time.monotonic() - begun < 5
