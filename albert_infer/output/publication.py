"""One start of a plan at an output, from any state of the output to published.

`docs/explanation/publishing.md` describes the protocol. A start looks at the output, does one step, and looks again,
until its plan or another plan is published. After a step, a start trusts only facts that can never change. This module
knows nothing about Ray.
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
from albert_infer.output import inspection, layout, limits, publish, sealing
from albert_infer.output.inspection import Published, Sealed, Snapshot, Superseded, ToLabel
from albert_infer.output.manifest import Publication, PublishedRun, Seal
from albert_infer.output.publish import Leftovers
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, InputObjects

# A start without other drivers takes four rounds. Each further round needs a change by another driver.
MAX_ROUNDS: Final = 30


class Steps(Protocol):
    """The steps of a start outside the output; each may raise AlbertInferError, which ends the start."""

    def begin(self, replaced_plan: str | None) -> None:
        """Called before the first write. `replaced_plan` is the published plan that this start replaces, if any."""
        ...

    def label(self, missing: Sequence[Unit], done: int) -> None:
        """Label the missing units and write their objects; `done` is the number of the plan's other units."""
        ...

    def current_input(self) -> InputObjects:
        """List the input again."""
        ...

    def accounted(self, seal: Seal, input_objects: InputObjects) -> None:
        """Called when every row is accounted for, before any limit is checked."""
        ...

    def keep_plan(self) -> None:
        """Write the plan to its folder, if it is not there."""
        ...


@dataclass(frozen=True)
class End:
    """The end of a successful start: `published` is the run of its plan.

    `leftovers` could not be deleted. `publishing_seconds` is 0 if an earlier start has published the run.
    """

    published: PublishedRun
    leftovers: Leftovers
    publishing_seconds: float


def random_id() -> str:
    """Return eight random hexadecimal digits, the id of a new publication."""
    return secrets.token_hex(4)


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def to_published(
    plan: Plan,
    output: Folder,
    settings: LabelSettings,
    steps: Steps,
    new_id: Callable[[], str] = random_id,
    first: Snapshot | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> End:
    """Publish the plan. Raises AlbertInferError, and all errors of `steps`.

    `first` is a snapshot of the output, if this start has one already. The time of the `clock` is only written for
    people; nothing depends on it.

    SupersededError: another plan is published here, or was published meanwhile. IntegrityError: no run makes an object
    that is there. LimitError: a limit was exceeded.
    """
    snapshot = first or inspection.look(output)
    start = _Start(
        plan,
        output,
        settings,
        steps,
        new_id,
        clock,
        retry_quarantined=settings.retry_quarantined,
        may_replace=frozenset({snapshot.published.plan_id} if settings.replace and snapshot.published else ()),
    )
    for _ in range(MAX_ROUNDS):
        end = start.step(snapshot)
        if end is not None:
            return end
        snapshot = inspection.look(output)
    problem, remedy = "other drivers changed it each time", "look at who writes here, then run it again"
    raise InfrastructureError(f"publish plan {plan.plan_id} at {output.uri}", problem, remedy)


@dataclass
class _Start:
    """The state that one start keeps between its looks."""

    plan: Plan
    output: Folder
    settings: LabelSettings
    steps: Steps
    new_id: Callable[[], str]
    clock: Callable[[], datetime]
    retry_quarantined: bool
    # The plan that was published at the first look, if this start may replace it. Empty once this start has published:
    # if another start replaces the run then, this start does not publish again.
    may_replace: frozenset[str]
    has_begun: bool = False
    has_labelled: bool = False
    has_advanced: bool = False
    # Units whose objects disappeared between a listing and the seal.
    again: frozenset[str] = frozenset()
    # Published units whose damage no look finds, only the seal.
    damaged: frozenset[str] = frozenset()
    # The new files of every seal that this start began to copy.
    copied: set[str] = field(default_factory=set)
    publishing_seconds: float = 0.0

    def step(self, snapshot: Snapshot) -> End | None:
        """Do the next step; return the end once the plan is published."""
        snapshot = snapshot.with_damaged(self.damaged)
        state = inspection.state_of(
            self.plan,
            snapshot,
            self.output,
            may_replace=self.may_replace,
            retry_quarantined=self.retry_quarantined,
            again=self.again,
        )
        match state:
            case Superseded(published):
                self._withdraw(published, snapshot)
            case Published(published):
                return self._finish(published, snapshot)
            case _ if not self.has_begun and self._begin(snapshot):
                pass
            case Sealed(seal):
                self._publish(seal, snapshot)
            case ToLabel(missing, done) if missing or not self.has_labelled:
                self._label(missing, done)
            case ToLabel():
                self._seal(snapshot)
        return None

    def _begin(self, snapshot: Snapshot) -> bool:
        """Begin the work; True if a mark was written, so that the snapshot must be taken again."""
        published = snapshot.published
        inspection.refuse_foreign_files(snapshot, self.output)
        self.has_begun = True
        self.steps.begin(published.plan_id if published and published.plan_id != self.plan.plan_id else None)
        if snapshot.damaged:
            problem = f"{how_many(len(snapshot.damaged), 'unit')} with a file that is lost or has other bytes"
            logs.warn("published_files_damaged", f"{self.output.uri}: {problem}; labelled again")
        if not inspection.uses_earlier_objects(self.plan, snapshot):
            return False
        publish.mark_begun(self.plan.plan_id, snapshot, self.output, self.clock())
        return True

    def _label(self, missing: Sequence[Unit], done: int) -> None:
        self.steps.label(missing, done)
        self.has_labelled, self.retry_quarantined, self.again = True, False, frozenset()
        failpoints.reach("labelled")

    def _seal(self, snapshot: Snapshot) -> None:
        input_objects, published = self.steps.current_input(), snapshot.published
        units = sealing.account(self.plan, input_objects, snapshot, self.output)
        self.again = frozenset(unit.unit.unit_id for unit in units if unit.is_gone)
        self.damaged |= frozenset(unit.unit.unit_id for unit in units if unit.is_damaged)
        if self.again:
            return
        number, base = (published.number + 1, published.id) if published else (1, None)
        seal = sealing.seal_of(self.plan, units, Publication(number=number, id=self.new_id(), base=base))
        self.steps.accounted(seal, input_objects)
        failpoints.reach("accounted")
        limits.refuse_limits(seal, self.settings)
        if publish.put_seal(seal, snapshot, self.output):
            self._publish(seal, snapshot)

    def _publish(self, seal: Seal, snapshot: Snapshot) -> None:
        failpoints.reach("sealed")
        start = time.monotonic()
        self.copied |= seal.sources.keys()
        try:
            manifest = publish.manifest_of(seal, publish.copied(seal, snapshot, self.output), snapshot)
        except (ObjectMissingError, ObjectChangedError):
            return  # a source has gone, or was labelled again: the next look shows which
        if publish.put_success(manifest, snapshot, self.output):
            self.may_replace = self.damaged = frozenset()
        self.publishing_seconds += time.monotonic() - start
        failpoints.reach("success_put")

    def _finish(self, published: PublishedRun, snapshot: Snapshot) -> End | None:
        """Delete the objects that nobody needs; return the end, unless another run is published by then."""
        if not self.has_advanced and any(final.number > published.number for final in snapshot.unnamed.values()):
            # Files of a run that died while it published, or that publishes now. Both must not replace this plan.
            self.has_advanced = True
            publish.put_success(publish.advanced(published, snapshot, self.new_id()), snapshot, self.output)
            return None
        if layout.plan_name(self.plan.plan_id) not in snapshot.pins:
            self.steps.keep_plan()
        leftovers = publish.deleted(publish.needless(published, snapshot), self.output)
        if self.output.stat(layout.SUCCESS) != published.pin:
            return None
        return End(published, leftovers, self.publishing_seconds)

    def _withdraw(self, published: PublishedRun, snapshot: Snapshot) -> None:
        """Delete this start's own files, and raise SupersededError: another plan is published."""
        own = self.copied - published.files.keys()
        publish.deleted(sorted(own.union(snapshot.dead)), self.output)
        asked = f"publish plan {self.plan.plan_id} at {self.output.uri}"
        if self.has_begun:
            problem = f"plan {published.plan_id} is published there since this start"
            raise SupersededError(asked, problem, "look at who else writes here")
        remedy = f"{self.settings.to_replace}; units that both share are kept"
        raise SupersededError(asked, f"plan {published.plan_id} is published there", remedy)
