"""Who takes the next step: drawn by one of three strategies, or as a recorded schedule says.

`random` mixes steps finely. `bursts` lets one go on for a while. `priorities` lets the one of the highest priority run
and lowers it at a few drawn steps, as PCT does: rare orders with few changes of who runs. Faults, pauses and those
changes are drawn as a step of one actor, so that actors of few steps are met as often as those of many. A hold is a
pause at a request of one kind, just before it takes effect or just after: a few requests decide who wins.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from simulation.actors import Actor, Entity, Event, LateRequest
from simulation.requests import Request
from simulation.scenario import Scenario

Fault = Literal["", "crash", "crash for good", "again", "give up"]
FAULTS: Final[tuple[Fault, ...]] = ("crash", "crash for good", "again", "give up")
ON_DISK: Final[tuple[Fault, ...]] = ("crash", "crash", "crash for good")
ON_S3: Final[tuple[Fault, ...]] = ("crash", "crash", "crash for good", "again", "again", "give up")
# Steps that each takes, about: requests sent and answered.
STEPS: Final = {"start": 80, "clean_up": 20, "reader": 14, "clock_jump": 1, "damage": 1}
STEPS_ON_DISK: Final = {**STEPS, "start": 130, "clean_up": 40}


# What actors are held at: the kinds of the request, and how its name ends.
HELD: Final = (
    (frozenset({"put", "rename", "link"}), "_SUCCESS"),
    (frozenset({"put", "rename", "link"}), "sealed.json"),
    (frozenset({"put", "rename", "link"}), "begun.json"),
    (frozenset({"put", "rename", "link"}), "plan.json"),
    (frozenset({"copy", "hard link"}), ""),
    (frozenset({"delete", "unlink"}), ""),
    (frozenset({"list", "scan"}), ""),
    (frozenset({"list", "scan"}), "_runs/"),
    (frozenset({"read", "stat"}), "_SUCCESS"),
)
# A clean-up is mostly held just before it deletes.
HELD_CLEAN_UPS: Final = (HELD[5], HELD[5], HELD[5], HELD[6], HELD[7], HELD[8], HELD[0])


@dataclass(slots=True)
class Hold:
    """Where one actor is held: at the request of these kinds that comes after `passed` others of them."""

    kinds: frozenset[str]
    name: str
    passed: int
    is_after: bool
    last: Request | None = None

    def is_met(self, request: Request | None) -> bool:
        """Whether the actor is to be held now."""
        if request is None or request.kind not in self.kinds or request.is_over != self.is_after:
            return False
        if request is self.last or not request.name.endswith(self.name):
            return False
        self.last = request
        self.passed -= 1
        return self.passed == -1


@dataclass(frozen=True, slots=True)
class Decision:
    """Who takes the next step, or what befalls it instead."""

    who: str
    fault: Fault = ""


class Chooser(Protocol):
    """Decides on every step of a schedule."""

    def next(self, ready: Sequence[Entity], step: int) -> tuple[Entity, Fault]:
        """One of `ready`, which is never empty, and what befalls it; a fault only for an actor that awaits a reply."""
        ...


class DrawnChooser:
    """Draws from the scenario's seed."""

    def __init__(self, scenario: Scenario) -> None:
        self._draw = random.Random(f"order {scenario.seed}")  # noqa: S311  (the same order for the same seed)
        steps = STEPS_ON_DISK if scenario.is_disk else STEPS
        self._lengths = {name: steps[role.kind] for name, role in scenario.roles.items()}
        self._horizon = sum(self._lengths.values())
        self._strategy = scenario.strategy
        self.paused = 0
        self._kinds = ON_DISK if scenario.is_disk else ON_S3
        self._faults_at = self._moments(scenario.faults)
        self._pauses_at = self._moments(scenario.pauses)
        self._changes_at = self._moments(self._draw.choice((1, 1, 2, 3, 5)))
        self._holds = self._drawn_holds(scenario)
        self._mean_burst = self._draw.choice((3, 8, 20, 40))
        # Steps that each has taken, and the step of the schedule from which on each may be chosen.
        self._taken: Counter[str] = Counter()
        self._awake_from: dict[str, int] = {}
        self._priority: dict[str, float] = {}
        self._lowest = 0.0
        self._current = ""
        self._left = 0

    def _moments(self, count: int) -> set[tuple[str, int]]:
        """Steps of actors, as the actor's name and the number of its own step."""
        names = [name for name, length in self._lengths.items() if length > 1]
        if not names:
            return set()
        drawn = [self._draw.choice(names) for _ in range(count)]
        return {(name, self._draw.randrange(self._lengths[name])) for name in drawn}

    def _drawn_holds(self, scenario: Scenario) -> dict[str, list[Hold]]:
        holds: dict[str, list[Hold]] = {}
        names = [name for name, role in scenario.roles.items() if role.kind in {"start", "clean_up"}]
        for _ in range(scenario.holds):
            name = self._draw.choice(names)
            kinds, ending = self._draw.choice(HELD_CLEAN_UPS if scenario.roles[name].kind == "clean_up" else HELD)
            hold = Hold(kinds, ending, self._draw.choice((0, 0, 1, 2)), self._draw.random() < 0.3)
            holds.setdefault(name, []).append(hold)
        return holds

    def _is_held(self, entity: Entity, step: int) -> bool:
        """Whether it is held at this moment, for some time from now on."""
        holds = self._holds.get(entity.name)
        if not holds or not isinstance(entity, Actor) or not any(hold.is_met(entity.request) for hold in holds):
            return False
        self.paused += 1
        self._awake_from[entity.name] = step + self._draw.randrange(5, self._horizon)
        return True

    def next(self, ready: Sequence[Entity], step: int) -> tuple[Entity, Fault]:
        """Draw one of those that are awake."""
        awake = self._awake(ready, step) or ready
        chosen = awake[0] if len(awake) == 1 else self._chosen(awake)
        if self._is_held(chosen, step):
            awake = self._awake(ready, step) or ready
            chosen = awake[0] if len(awake) == 1 else self._chosen(awake)
        moment = (chosen.name, self._taken[chosen.name])
        self._taken[chosen.name] += 1
        if moment in self._changes_at:
            self._lowest -= 1
            self._priority[chosen.name] = self._lowest
        if moment in self._pauses_at:
            self.paused += 1
            self._awake_from[chosen.name] = step + self._draw.randrange(5, self._horizon)
        fault: Fault = ""
        if moment in self._faults_at and isinstance(chosen, Actor) and chosen.awaits_answer:
            fault = self._draw.choice(self._kinds)
        return chosen, fault

    def _awake(self, ready: Sequence[Entity], step: int) -> list[Entity]:
        awake = []
        for entity in ready:
            since = self._awake_from.get(entity.name)
            if since is None:
                since = self._awake_from[entity.name] = self._waking(entity, step)
            if since <= step:
                awake.append(entity)
        return awake

    def _waking(self, entity: Entity, step: int) -> int:
        match entity:
            case Event():
                return self._draw.randrange(self._horizon)
            case LateRequest():
                return step + self._draw.randrange(self._draw.choice((3, 30, self._horizon)))
            case _ if step:
                return step + self._draw.randrange(20)
            case _:
                return 0 if self._draw.random() < 0.5 else self._draw.randrange(self._horizon)

    def _chosen(self, awake: Sequence[Entity]) -> Entity:
        if self._strategy == "random":
            return awake[int(self._draw.random() * len(awake))]
        if self._strategy == "bursts":
            return self._in_burst(awake)
        return self._by_priority(awake)

    def _in_burst(self, awake: Sequence[Entity]) -> Entity:
        self._left -= 1
        if self._left > 0:
            for entity in awake:
                if entity.name == self._current:
                    return entity
        chosen = awake[int(self._draw.random() * len(awake))]
        self._current, self._left = chosen.name, int(self._draw.expovariate(1 / self._mean_burst)) + 1
        return chosen

    def _by_priority(self, awake: Sequence[Entity]) -> Entity:
        for entity in awake:
            if entity.name not in self._priority:
                self._priority[entity.name] = self._draw.random()
        return max(awake, key=lambda entity: self._priority[entity.name])


class RecordedChooser:
    """Follows a recorded schedule, leaving out what cannot be done; after its end each runs to its own end in turn."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._decisions = iter(decisions)
        self._current = ""

    def next(self, ready: Sequence[Entity], step: int) -> tuple[Entity, Fault]:
        """Follow the first decision that can be followed."""
        named = {entity.name: entity for entity in ready}
        for decision in self._decisions:
            entity = named.get(decision.who)
            if entity and (not decision.fault or (isinstance(entity, Actor) and entity.awaits_answer)):
                self._current = entity.name
                return entity, decision.fault
        entity = named.get(self._current, ready[0])
        self._current = entity.name
        return entity, ""
