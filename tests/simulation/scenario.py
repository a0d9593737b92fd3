"""Who takes part in a schedule, on what kind of store, and what an earlier time has left there: drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

FILE_SETS: Final = ("a", "b", "ab", "bc", "c", "d", "ad", "bd", "ac", "abc")
Strategy = Literal["random", "bursts", "priorities"]
DamageAction = Literal["remove", "alter", "overwrite"]


@dataclass(frozen=True)
class Start:
    """One start of the labelling job, and how often it is started again after a crash or a fault of the store."""

    files: str
    recipe: str = "one"
    replace: bool = False
    retry_quarantined: bool = False
    device: int = 0
    # Workers die on the poisoned unit, so that it is quarantined.
    kills_workers: bool = False
    restarts: int = 1
    kind: Literal["start"] = "start"


@dataclass(frozen=True)
class CleanUp:
    """One clean-up that deletes; its own clock may be ahead of the store's."""

    keep_days: int = 7
    clock_ahead_days: float = 0
    kind: Literal["clean_up"] = "clean_up"


@dataclass(frozen=True)
class Reader:
    """One reader of the manifest and of every file that it names."""

    kind: Literal["reader"] = "reader"


@dataclass(frozen=True)
class ClockJump:
    """All clocks are that much later at once: everybody has slept."""

    days: float
    kind: Literal["clock_jump"] = "clock_jump"


@dataclass(frozen=True)
class Damage:
    """An operator removes an object, or puts other bytes of the same size there; `choice` picks among what is there.

    `overwrite` writes into the file that is there: on a disk every name of it has the other bytes then.
    """

    action: DamageAction
    target: Literal["published", "staged"]
    choice: int
    kind: Literal["damage"] = "damage"


Role = Start | CleanUp | Reader | ClockJump | Damage
ROLES: Final = {"start": Start, "clean_up": CleanUp, "reader": Reader, "clock_jump": ClockJump, "damage": Damage}


@dataclass(frozen=True)
class Past:
    """An earlier start that nobody disturbed; killed after that share of it, or None: it came to its end."""

    start: Start
    killed_after: float | None
    days_ago: float
    # Of the protocol that it ran.
    version: int = 2


@dataclass(frozen=True)
class Scenario:
    """Everything that decides a schedule besides the order of its steps."""

    seed: int
    is_disk: bool = False
    fresh_etags: bool = False
    page_names: int = 1000
    stale_effects: int = 0
    may_delete: bool = True
    past: tuple[Past, ...] = ()
    # By the names that the table shows.
    roles: dict[str, Role] = field(default_factory=dict)
    strategy: Strategy = "random"
    faults: int = 0
    pauses: int = 0
    holds: int = 0

    @property
    def is_damaged(self) -> bool:
        """Whether an operator lays hands on the output."""
        return any(isinstance(role, Damage) for role in self.roles.values())

    def to_json(self) -> dict[str, Any]:
        """As a replay file keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Scenario:
        """The scenario of a replay file."""
        past = tuple(
            Past(Start(**entry["start"]), entry["killed_after"], entry["days_ago"], entry["version"])
            for entry in value["past"]
        )
        roles = {name: ROLES[role["kind"]](**role) for name, role in value["roles"].items()}
        return cls(**{**value, "past": past, "roles": roles})


def drawn(seed: int, *, stale_listings: bool = False) -> Scenario:
    """The scenario of a seed. `stale_listings` allows S3 servers whose listings lag behind."""
    draw = random.Random(seed)  # noqa: S311  (the same schedule for the same seed)
    is_disk = draw.random() < 0.35
    plans = _plans(draw)
    # Every third is about a clean-up that meets what was forsaken long ago and somebody comes back to.
    is_forsaken = draw.random() < 0.33
    past = _forsaken(draw, plans) if is_forsaken else _past(draw, plans)
    starts = _resumed(draw, plans, past[-1].start) if is_forsaken else _starts(draw, plans)
    return Scenario(
        seed=seed,
        is_disk=is_disk,
        fresh_etags=not is_disk and draw.random() < 0.3,
        page_names=1000 if is_disk else draw.choice((2, 3, 5, 1000, 1000)),
        stale_effects=draw.choice((0, 2, 5)) if stale_listings and not is_disk else 0,
        may_delete=draw.random() < 0.92,
        past=past,
        roles=starts | _others(draw, clean_ups=draw.choice((1, 1, 2) if is_forsaken else (0, 0, 0, 1, 2))),
        strategy=draw.choice(("random", "bursts", "bursts", "priorities", "priorities")),
        faults=draw.choice((0, 0, 0, 1, 1, 2, 3)),
        pauses=draw.choice((0, 0, 1, 2)),
        holds=draw.choice((0, 0, 1, 1, 2)),
    )


def _plans(draw: random.Random) -> list[tuple[str, str]]:
    """Two or three plans that share units, or none, now and then the same one twice."""
    first = draw.choice(FILE_SETS)
    plans = [(first, "one")]
    while len(plans) < draw.choice((2, 2, 3)):
        files = draw.choice((first, *FILE_SETS, *FILE_SETS))
        plans.append((files, "other" if draw.random() < 0.15 else "one"))
    return plans


def _start(draw: random.Random, plans: Sequence[tuple[str, str]], *, replace: float = 0.6) -> Start:
    files, recipe = draw.choice(plans)
    return Start(
        files,
        recipe,
        replace=draw.random() < replace,
        retry_quarantined=draw.random() < 0.2,
        device=draw.choice((0, 1)),
        kills_workers=draw.random() < 0.5,
        restarts=draw.choice((0, 1, 1, 2)),
    )


def _starts(draw: random.Random, plans: Sequence[tuple[str, str]]) -> dict[str, Role]:
    names = "ABCD"[: draw.choice((1, 2, 2, 2, 2, 3, 3, 4))]
    return {name: _start(draw, plans) for name in names}


def _resumed(draw: random.Random, plans: Sequence[tuple[str, str]], left: Start) -> dict[str, Role]:
    """Starts of which the first mostly goes on with what was left."""
    starts, first = _starts(draw, plans), _start(draw, plans)
    same_plan = replace(first, files=left.files, recipe=left.recipe)
    return starts | {"A": same_plan} if draw.random() < 0.6 else starts


def _others(draw: random.Random, clean_ups: int) -> dict[str, Role]:
    """Clean-ups, a reader, a clock that jumps, an operator."""
    roles: dict[str, Role] = {}
    for number in range(clean_ups):
        roles[f"clean{number + 1}"] = CleanUp(draw.choice((1, 1, 7, 30)), draw.choice((0, 0, 0.5)))
    if draw.random() < 0.2:
        roles["reader"] = Reader()
    if draw.random() < 0.25:
        roles["clock1"] = ClockJump(draw.choice((0.05, 2, 10, 40)))
    if draw.random() < 0.12:
        action: DamageAction = draw.choice(("remove", "alter", "overwrite"))
        target: Literal["published", "staged"] = draw.choice(("published", "published", "staged"))
        roles["operator"] = Damage(action, target, draw.randrange(8))
    return roles


def _past(draw: random.Random, plans: Sequence[tuple[str, str]]) -> tuple[Past, ...]:
    """Nothing, something published, something left half-way, or both."""
    past = [_earlier(draw, plans, draw.choice((0, 0, 3, 40))) for _ in range(draw.choice((0, 0, 1, 1, 2)))]
    # Where both were at work, version 1 was there first.
    first = draw.choice((0, 0, 0, 1, 2))
    return tuple(replace(entry, version=1) if at < first else entry for at, entry in enumerate(past))


def _forsaken(draw: random.Random, plans: Sequence[tuple[str, str]]) -> tuple[Past, ...]:
    """Perhaps something published, then a start that was killed half-way long ago."""
    left = replace(_earlier(draw, plans, 40), killed_after=draw.random())
    return (replace(_earlier(draw, plans, 40), killed_after=None), left) if draw.random() < 0.6 else (left,)


def _earlier(draw: random.Random, plans: Sequence[tuple[str, str]], days_ago: float) -> Past:
    return Past(_start(draw, plans, replace=1), None if draw.random() < 0.5 else draw.random(), days_ago)
