"""What was wrong with the protocol of commit e19594b, each with how its schedules are recognised.

`python -m simulation --protocol before --situations` finds and shrinks one schedule of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from simulation import table
from simulation.campaign import Asked
from simulation.choosing import DrawnChooser, RecordedChooser
from simulation.protocol import ProtocolUnderTest, protocol_named
from simulation.scenario import CleanUp, ClockJump, Damage, Scenario, Start, drawn
from simulation.schedule import Ran, run_schedule
from simulation.shrinking import shrunk

VISIBLE: Final = "I2 other rows are visible"
STRICTLY: Final = "I2 other rows are visible though nothing failed"
FLIPPED: Final = "I1 _SUCCESS names a missing file"
UNNEEDED: Final = "I3 exit 5 without damage"
ALSO_BROKEN: Final = frozenset(
    {
        "I3 exit 0 but not published at the last",
        "I3 exit 4 though the store answered",
        "I3 exit code of a clean-up",
        "I3 a start fights for its place",
        "I5 a clean-up took a unit in use",
        "I5 a unit is labelled again",
    }
)


@dataclass(frozen=True)
class Situation:
    """One way to fail: the promise that breaks, what must hold of the scenario, and of the schedule as it ran."""

    told: str
    signature: str
    fits: Callable[[Scenario], bool]
    ended: Callable[[Ran], bool] = lambda _: True

    def is_shown_by(self, ran: Ran) -> bool:
        """Whether the schedule broke in this way."""
        broken = ran.violation is not None and ran.violation.signature == self.signature
        return broken and self.fits(ran.scenario) and self.ended(ran)

    @property
    def ignored(self) -> frozenset[str]:
        """The other promises that this way to fail may break before."""
        return ALSO_BROKEN | {STRICTLY, VISIBLE, FLIPPED, UNNEEDED} - {self.signature}


def _starts(scenario: Scenario) -> list[Start]:
    return [role for role in scenario.roles.values() if isinstance(role, Start)]


def _plans(scenario: Scenario) -> int:
    return len({(start.files, start.recipe) for start in _starts(scenario)})


def _is_new(scenario: Scenario) -> bool:
    """No plan of today was ever worked on before."""
    return not {start.files for start in _starts(scenario)} & {past.start.files for past in scenario.past}


def _undisturbed(scenario: Scenario) -> bool:
    """No fault, no clean-up, no operator, and all rights."""
    return not scenario.faults and scenario.may_delete and not _has(scenario, CleanUp) and not scenario.is_damaged


def _has(scenario: Scenario, kind: type) -> bool:
    return any(isinstance(role, kind) for role in scenario.roles.values())


def _codes(ran: Ran) -> list[int]:
    return [code for _, code in ran.ends]


SITUATIONS: Final = (
    Situation(
        "1: A pauses after its _SUCCESS, B replaces it and tidies up, A copies again and exits 0: rows twice",
        STRICTLY,
        lambda scenario: _undisturbed(scenario) and _plans(scenario) > 1,
        lambda ran: set(_codes(ran)) == {0},
    ),
    Situation(
        "2: A is sealed, B publishes first, A copies before its swap: exit 6, but its rows stay visible",
        VISIBLE,
        lambda scenario: _undisturbed(scenario) and not scenario.past and not any(s.replace for s in _starts(scenario)),
        lambda ran: sorted(_codes(ran)) == [0, 6],
    ),
    Situation(
        "3: A replaces P with Q, B flips back to P while A's delete request travels: files of P are lost",
        "I1 a start took a named file",
        _undisturbed,
    ),
    Situation(
        "4: the same flip without any request held up: _SUCCESS names missing files",
        FLIPPED,
        lambda scenario: _undisturbed(scenario) and _plans(scenario) > 1,
    ),
    Situation(
        "5: a clean-up has listed a forsaken run, which is resumed and published: named files are deleted",
        "I1 a clean-up took a named file",
        lambda scenario: _has(scenario, CleanUp) and not scenario.faults and not _has(scenario, ClockJump),
    ),
    Situation(
        "6: a published part is gone, and the same command exits 0",
        "I4 exit 0 with a file missing",
        lambda scenario: _has(scenario, Damage) and not scenario.faults,
    ),
    Situation(
        "6b: a published part is gone, and --replace with other files ends with 5",
        "I3 exit 5 after damage that a start can mend",
        lambda scenario: _has(scenario, Damage) and not scenario.faults and not _has(scenario, CleanUp),
    ),
    Situation(
        "7: two drivers of one plan, one slow at a listing: it ends with 5",
        UNNEEDED,
        lambda scenario: _undisturbed(scenario) and not scenario.past and _plans(scenario) == 1,
    ),
    Situation(
        "8: a first start counts on old units, a clean-up passes before its plan.json: it ends with 5",
        UNNEEDED,
        lambda scenario: (
            _has(scenario, CleanUp)
            and not scenario.faults
            and len(_starts(scenario)) == 1
            and _is_new(scenario)
            and not _has(scenario, ClockJump)
        ),
    ),
)


def find_situations(asked: Asked, seconds: float) -> int:
    """1 if one of them is not found among the seeds."""
    protocol, missed = protocol_named(asked.protocol), 0
    for situation in SITUATIONS:
        found = _first_shown(situation, asked, protocol)
        print(f"\n{situation.told}\nfirst seed {found.scenario.seed if found else 'none'}", flush=True)
        if found is None:
            missed = 1
            continue
        small = shrunk(found, protocol, is_same=situation.is_shown_by, ignored=situation.ignored, seconds=seconds)
        chooser = RecordedChooser(small.decisions)
        print(table.to_text(run_schedule(small.scenario, chooser, protocol, ignored=situation.ignored, is_told=True)))
    return missed


def _first_shown(situation: Situation, asked: Asked, protocol: ProtocolUnderTest) -> Ran | None:
    for seed in range(asked.first, asked.first + asked.seeds):
        scenario = drawn(seed)
        if situation.fits(scenario):
            ran = run_schedule(scenario, DrawnChooser(scenario), protocol, ignored=situation.ignored)
            if situation.is_shown_by(ran):
                return ran
    return None
