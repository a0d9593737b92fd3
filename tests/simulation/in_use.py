"""I5: what a start at work may count on, and what a clean-up must therefore leave.

Judged twice. By marks: what a start has marked before the last look of a clean-up stays. By work: a start labels no
unit again because a clean-up took its object, if the clean-up looked after the start did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from simulation.requests import Request

# The first request of a look at everything, and of one at the folders of runs, on S3 and on a disk.
LOOKS: Final = frozenset({("list", ""), ("scan", "./"), ("list", "_runs/"), ("scan", "_runs/")})
# The step of what has not happened.
NEVER: Final = -1


@dataclass
class StartAtWork:
    """What is known of a start between its begin and its end."""

    name: str
    plan_id: str
    unit_ids: frozenset[str]
    began_ns: int
    saw_published: bool = False
    saw_whole: bool = False
    saw_other: bool = False
    # How often it has published its plan in place of another one.
    replaced: int = 0
    # When each look ended that it counts on, those before its mark, and that of which it has made nothing yet.
    looks: list[int] = field(default_factory=list)
    before_mark: list[int] = field(default_factory=list)
    last_look: int | None = None

    def asks(self, request: Request, step: int) -> None:
        """Note what it looks at, and what it counts on."""
        if request.kind in {"list", "scan"}:
            self.last_look = step
        elif request.name.endswith("/begun.json"):
            self.before_mark, self.looks = self.looks, []
        elif request.name.startswith(("_units/", "_runs/")):
            if self.last_look is not None:
                self.looks.append(self.last_look)
            elif not self.looks:
                # It goes on without a look after its mark.
                self.looks = self.before_mark
            self.last_look = None


@dataclass
class CleanUpAtWork:
    """A clean-up: what it takes for old, and when each of its looks at the marks of starts began."""

    limit_ns: int
    looks: list[int] = field(default_factory=list)
    # When it listed everything: what it takes for published whole was so then.
    listed_at: int = NEVER

    def asks(self, request: Request, step: int) -> None:
        """Note its looks; after anything else that it asks for, it must look again before it deletes."""
        if self.listed_at == NEVER and (request.kind, request.name) in LOOKS:
            self.listed_at = step
        is_deleting = request.kind in {"delete", "unlink", "stat"}
        goes_on = request.kind in {"list", "scan"} and (request.kind, request.name) not in LOOKS
        if not (is_deleting or goes_on):
            self.looks.append(step)

    def looked_before(self, step: int) -> int:
        """When the last look began that came before this step."""
        return max((look for look in self.looks if look <= step), default=NEVER)


@dataclass(frozen=True)
class _Taken:
    """When the clean-up looked last that took an object, and what it takes for old."""

    looked_at: int
    limit_ns: int


@dataclass
class InUse:
    """Watches marks and staged objects; each method returns what was broken, or nothing."""

    # When each mark of a plan came, by the steps and by the clock, as long as one is there.
    marks: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _taken: dict[str, _Taken] = field(default_factory=dict)
    # When each unit was staged last.
    _staged_at: dict[str, int] = field(default_factory=dict)

    def mark_changed(self, plan_id: str, step: int, written_ns: int | None) -> None:
        """A mark came that was written at that time, or went."""
        marks = self.marks.setdefault(plan_id, [])
        if written_ns is None:
            marks.clear()
        else:
            marks.append((step, written_ns))

    def taken(
        self,
        unit_id: str,
        clean_up: CleanUpAtWork,
        sent_at: int,
        starts: Mapping[str, StartAtWork],
        *,
        is_whole: bool,
    ) -> str:
        """A clean-up has deleted an object of a unit that is not published; it `is_whole` if it has labels."""
        looked_at = clean_up.looked_before(sent_at)
        # Nobody has counted on what was staged after that look: the clean-up had listed an older object of that name.
        if is_whole and self._staged_at.get(unit_id, NEVER) <= looked_at:
            self._taken[unit_id] = _Taken(looked_at, clean_up.limit_ns)
        for start in starts.values():
            marks = self.marks.get(start.plan_id, ())
            is_marked = any(step < looked_at and at_ns >= clean_up.limit_ns for step, at_ns in marks)
            if is_marked and unit_id in start.unit_ids:
                return f"{unit_id} of {start.name}"
        return ""

    def staged(self, unit_id: str, start: StartAtWork | None, step: int) -> str:
        """An object of the unit was written, by that start or by somebody else."""
        self._staged_at[unit_id] = step
        taken = self._taken.pop(unit_id, None)
        if taken is None or start is None or start.began_ns < taken.limit_ns:
            return ""
        is_counted_on = any(look < taken.looked_at for look in start.looks)
        return f"{unit_id} by {start.name}" if is_counted_on else ""
