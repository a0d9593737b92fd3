"""From a schedule that fails to a short one that fails in the same way: fewer actors, fewer faults, fewer turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from simulation.choosing import Decision, RecordedChooser
from simulation.protocol import ProtocolUnderTest
from simulation.scenario import Role, Scenario, Start
from simulation.schedule import Ran, run_schedule

# One turn: the same decision so many times in a row.
Turn = tuple[Decision, int]
# What a schedule is reduced to is enough for a person long before this.
SECONDS = 20.0


def breaks_as(ran: Ran) -> Callable[[Ran], bool]:
    """Whether another schedule breaks the same promise."""
    signature = ran.violation.signature if ran.violation else None
    return lambda other: other.violation is not None and other.violation.signature == signature


def shrunk(
    ran: Ran,
    protocol: ProtocolUnderTest,
    *,
    is_same: Callable[[Ran], bool] | None = None,
    ignored: frozenset[str] = frozenset(),
    seconds: float = SECONDS,
) -> Ran:
    """A schedule that fails in the same way with less, as short as could be found in that time."""
    shrinking = _Shrinking(ran, protocol, is_same or breaks_as(ran), ignored, time.monotonic() + seconds)
    shrinking.shrink()
    return shrinking.best


@dataclass
class _Shrinking:
    best: Ran
    protocol: ProtocolUnderTest
    is_same: Callable[[Ran], bool]
    ignored: frozenset[str]
    deadline: float

    def shrink(self) -> None:
        before = None
        while before != self._size(self.best) and self._has_time():
            before = self._size(self.best)
            self._simplify_scenario()
            self._drop_turns()
            self._shorten_turns()

    def _simplify_scenario(self) -> None:
        for change in (_roles_dropped, _past_dropped, _plain_store, _older_past, _plain_roles):
            for scenario in change(self.best.scenario):
                self._try(scenario, self.best.decisions)

    def _drop_turns(self) -> None:
        """Leave out runs of turns, long ones first: delta debugging over who runs when."""
        width = len(_turns(self.best.decisions))
        while width >= 1 and self._has_time():
            at = 0
            while at < len(turns := _turns(self.best.decisions)) and self._has_time():
                if not self._try(self.best.scenario, _decisions([*turns[:at], *turns[at + width :]])):
                    at += width
            width //= 2

    def _shorten_turns(self) -> None:
        at = 0
        while at < len(turns := _turns(self.best.decisions)) and self._has_time():
            decision, steps = turns[at]
            for fewer in (steps // 2, steps - 1):
                shorter = [*turns[:at], (decision, fewer), *turns[at + 1 :]]
                if fewer > 0 and self._try(self.best.scenario, _decisions(shorter)):
                    break
            else:
                at += 1

    def _try(self, scenario: Scenario, decisions: Sequence[Decision]) -> bool:
        """Keep the schedule if it breaks the same promise and is smaller."""
        if not self._has_time():
            return False
        ran = run_schedule(scenario, RecordedChooser(decisions), self.protocol, ignored=self.ignored)
        if not self.is_same(ran) or self._size(ran) >= self._size(self.best):
            return False
        self.best = ran
        return True

    def _size(self, ran: Ran) -> tuple[int, int, int, int]:
        scenario, turns = ran.scenario, _turns(ran.decisions)
        extras = len(repr(scenario))
        faults = sum(bool(decision.fault) for decision, _ in turns)
        return len(scenario.roles) + len(scenario.past) + faults, len(turns), len(ran.decisions), extras

    def _has_time(self) -> bool:
        return time.monotonic() < self.deadline


def _turns(decisions: Sequence[Decision]) -> list[Turn]:
    return [(decision, len(list(same))) for decision, same in groupby(decisions)]


def _decisions(turns: Sequence[Turn]) -> list[Decision]:
    return [decision for decision, steps in turns for _ in range(steps)]


def _roles_dropped(scenario: Scenario) -> Iterator[Scenario]:
    for name in scenario.roles:
        yield replace(scenario, roles={other: role for other, role in scenario.roles.items() if other != name})


def _past_dropped(scenario: Scenario) -> Iterator[Scenario]:
    for at in range(len(scenario.past)):
        yield replace(scenario, past=(*scenario.past[:at], *scenario.past[at + 1 :]))


def _plain_store(scenario: Scenario) -> Iterator[Scenario]:
    for plain in ({"fresh_etags": False}, {"page_names": 1000}, {"stale_effects": 0}, {"may_delete": True}):
        yield replace(scenario, **plain)
    yield replace(scenario, is_disk=False)


def _older_past(scenario: Scenario) -> Iterator[Scenario]:
    for at, past in enumerate(scenario.past):
        for plain in (replace(past, killed_after=None), replace(past, days_ago=0.0)):
            yield replace(scenario, past=(*scenario.past[:at], plain, *scenario.past[at + 1 :]))


def _plain_roles(scenario: Scenario) -> Iterator[Scenario]:
    for name, role in scenario.roles.items():
        for plain in _plain_starts(role):
            yield replace(scenario, roles={**scenario.roles, name: plain})


def _plain_starts(role: Role) -> Iterator[Role]:
    if isinstance(role, Start):
        yield replace(role, restarts=0)
        yield replace(role, retry_quarantined=False)
        yield replace(role, kills_workers=False)
        yield replace(role, device=0)
        yield replace(role, replace=False)
        yield from (replace(role, files=role.files.replace(file, "")) for file in role.files if len(role.files) > 1)
