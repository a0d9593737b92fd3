"""One start of a plan at an output, from whatever lies there to published.

`docs/explanation/publishing.md` has the protocol.

Looks, does one step, and looks again, until the plan is published or another one is. Nothing that a look found is
trusted across a step, except what can never change. Knows nothing of Ray.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from albert_infer.common import failpoints, logs
from albert_infer.common.printable import how_many
from albert_infer.config import LabelSettings
from albert_infer.errors import InfrastructureError, ObjectChangedError, ObjectMissingError, SupersededError
from albert_infer.output import layout, limits, publish, sealing, standing
from albert_infer.output.manifest import Publication, Seal, Standing
from albert_infer.output.publish import Leftovers
from albert_infer.output.standing import Published, Sealed, Seen, Superseded, ToLabel
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, InputObjects

# Undisturbed it takes four. Each further one needs another driver that got in between.
MAX_ROUNDS: Final = 30


class Steps(Protocol):
    """What a start does beside publishing; each may raise AlbertInferError, which ends the start."""

    def begin(self, replaced_plan: str | None) -> None:
        """There is something to do; nothing is written yet. `replaced_plan` is published here and makes way."""
        ...

    def label(self, missing: Sequence[Unit], done: int) -> None:
        """Make the objects of the missing units durable; `done` of the plan's units are so already."""
        ...

    def input_now(self) -> InputObjects:
        """The input as it is by now."""
        ...

    def accounted(self, seal: Seal, found: InputObjects) -> None:
        """Every row is accounted for; no limit is checked yet."""
        ...

    def keep_plan(self) -> None:
        """Make sure that the plan is in its folder."""
        ...


@dataclass(frozen=True)
class End:
    """How a start ended that did not fail: `now` is its plan, published.

    `leftovers` could not be deleted. `publishing_seconds` is 0 where an earlier start had published it all.
    """

    now: Standing
    leftovers: Leftovers
    publishing_seconds: float


def random_id() -> str:
    """Eight hexadecimal digits that no other publication has."""
    return secrets.token_hex(4)


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def to_published(
    plan: Plan,
    output: Folder,
    settings: LabelSettings,
    steps: Steps,
    new_id: Callable[[], str] = random_id,
    first: Seen | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> End:
    """Take the plan to published. Raises AlbertInferError, and whatever `steps` raise.

    `first` is a look at the output that this start has taken already. Nothing depends on the `clock`: its time is
    written for people.

    SupersededError: another plan is published here, or was published meanwhile. IntegrityError: an object is there that
    no run makes. LimitError: a limit was not held.
    """
    seen = first or standing.look(output)
    start = _Start(
        plan,
        output,
        settings,
        steps,
        new_id,
        clock,
        retry_quarantined=settings.retry_quarantined,
        may_replace=frozenset({seen.now.plan_id} if settings.replace and seen.now else ()),
    )
    for _ in range(MAX_ROUNDS):
        end = start.step(seen)
        if end is not None:
            return end
        seen = standing.look(output)
    found, remedy = "other drivers got in between each time", "look at who writes here, then run it again"
    raise InfrastructureError(f"publish plan {plan.plan_id} at {output.uri}", found, remedy)


@dataclass
class _Start:
    """What one start remembers between its looks; all else it looks up."""

    plan: Plan
    output: Folder
    settings: LabelSettings
    steps: Steps
    new_id: Callable[[], str]
    clock: Callable[[], datetime]
    retry_quarantined: bool
    # The plan that was published at the first look, if it may be replaced. None once this start has published: it does
    # not fight for its place.
    may_replace: frozenset[str]
    has_begun: bool = False
    has_labelled: bool = False
    has_advanced: bool = False
    # Units whose objects went between a listing and the seal.
    again: frozenset[str] = frozenset()
    # Published units that no look finds damaged, but the seal did.
    damaged: frozenset[str] = frozenset()
    # The new files of every seal that it began to copy.
    copied: set[str] = field(default_factory=set)
    publishing_seconds: float = 0.0

    def step(self, seen: Seen) -> End | None:
        """Do what is next; the end once nothing is."""
        seen = seen.with_damaged(self.damaged)
        state = standing.state_of(
            self.plan,
            seen,
            self.output,
            may_replace=self.may_replace,
            retry_quarantined=self.retry_quarantined,
            again=self.again,
        )
        match state:
            case Superseded(now):
                self._withdraw(now, seen)
            case Published(now):
                return self._finish(now, seen)
            case _ if not self.has_begun and self._begin(seen):
                pass
            case Sealed(seal):
                self._publish(seal, seen)
            case ToLabel(missing, done) if missing or not self.has_labelled:
                self._label(missing, done)
            case ToLabel():
                self._seal(seen)
        return None

    def _begin(self, seen: Seen) -> bool:
        """Whether a mark was written: then what was seen before it must not be counted on."""
        now = seen.now
        standing.refuse_foreign_files(seen, self.output)
        self.has_begun = True
        self.steps.begin(now.plan_id if now and now.plan_id != self.plan.plan_id else None)
        if seen.damaged:
            found = f"{how_many(len(seen.damaged), 'unit')} with a file that is lost or has other bytes"
            logs.warn("published_files_damaged", f"{self.output.uri}: {found}; labelled again")
        if not standing.counts_on_earlier_starts(self.plan, seen):
            return False
        publish.mark_begun(self.plan.plan_id, seen, self.output, self.clock())
        return True

    def _label(self, missing: Sequence[Unit], done: int) -> None:
        self.steps.label(missing, done)
        self.has_labelled, self.retry_quarantined, self.again = True, False, frozenset()
        failpoints.reach("labelled")

    def _seal(self, seen: Seen) -> None:
        found, now = self.steps.input_now(), seen.now
        units = sealing.account(self.plan, found, seen, self.output)
        self.again = frozenset(unit.unit.unit_id for unit in units if unit.is_gone)
        self.damaged |= frozenset(unit.unit.unit_id for unit in units if unit.is_damaged)
        if self.again:
            return
        number, base = (now.number + 1, now.id) if now else (1, None)
        seal = sealing.seal_of(self.plan, units, Publication(number=number, id=self.new_id(), base=base))
        self.steps.accounted(seal, found)
        failpoints.reach("accounted")
        limits.refuse_limits(seal, self.settings)
        if publish.seal_put(seal, seen, self.output):
            self._publish(seal, seen)

    def _publish(self, seal: Seal, seen: Seen) -> None:
        failpoints.reach("sealed")
        begun = time.monotonic()
        self.copied |= seal.sources.keys()
        try:
            manifest = publish.manifest_of(seal, publish.copied(seal, seen, self.output), seen)
        except (ObjectMissingError, ObjectChangedError):
            return  # a source has gone, or was labelled again: the next look tells which
        if publish.success_put(manifest, seen, self.output):
            self.may_replace = self.damaged = frozenset()
        self.publishing_seconds += time.monotonic() - begun
        failpoints.reach("success_put")

    def _finish(self, now: Standing, seen: Seen) -> End | None:
        """Take away what nobody needs any more; the end, unless something else is published by then."""
        if not self.has_advanced and any(final.number > now.number for final in seen.unnamed.values()):
            # Files of a run that died while it published, or that is about to: either way this plan was asked for.
            self.has_advanced = True
            publish.success_put(publish.advanced(now, seen, self.new_id()), seen, self.output)
            return None
        if layout.plan_name(self.plan.plan_id) not in seen.pins:
            self.steps.keep_plan()
        leftovers = publish.deleted(publish.needless(now, seen), self.output)
        if self.output.stat(layout.SUCCESS) != now.pin:
            return None
        return End(now, leftovers, self.publishing_seconds)

    def _withdraw(self, now: Standing, seen: Seen) -> None:
        """Take this start's own files away again, and end: another plan is published."""
        own = self.copied - now.files.keys()
        publish.deleted(sorted(own.union(seen.dead)), self.output)
        asked = f"publish plan {self.plan.plan_id} at {self.output.uri}"
        if self.has_begun:
            found = f"plan {now.plan_id} is published there since this start"
            raise SupersededError(asked, found, "look at who else writes here")
        remedy = "give another --output, or --replace to publish over it; units that both share are kept"
        raise SupersededError(asked, f"plan {now.plan_id} is published there", remedy)
