"""One schedule: the actors of a scenario at work on one store, step by step, each step chosen; then the last look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from simulation import units
from simulation.actors import Actor, Entity, Event, LateRequest
from simulation.cast import Cast
from simulation.choosing import FAULTS, Chooser, Decision, Fault
from simulation.manifests import ViolationError
from simulation.oracle import Oracle
from simulation.past import Alone, past_store
from simulation.protocol import ProtocolUnderTest
from simulation.scenario import Scenario, Start

# Far more than any schedule takes whose actors all end.
MAX_STEPS: Final = 20_000


@dataclass(frozen=True)
class Step:
    """One line of the table."""

    number: int
    who: str
    operation: str
    name: str
    effect: str


@dataclass
class Ran:
    """A schedule that has run: how, and what was broken, if anything."""

    scenario: Scenario
    decisions: list[Decision] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    # Exit codes of the starts that came to an end, in the order of their ends.
    ends: list[tuple[str, int]] = field(default_factory=list)
    violation: ViolationError | None = None


def run_schedule(
    scenario: Scenario,
    chooser: Chooser,
    protocol: ProtocolUnderTest,
    *,
    ignored: frozenset[str] = frozenset(),
    is_told: bool = False,
) -> Ran:
    """Run the scenario to its end or to the first violation; with `is_told` every step is kept for the table."""
    ran = Ran(scenario)
    try:
        schedule = _Schedule(ran, protocol, ignored, is_told)
        schedule.run(chooser)
        schedule.judge_the_end()
    except ViolationError as violation:
        ran.violation = violation
    return ran


class _Schedule:
    def __init__(self, ran: Ran, protocol: ProtocolUnderTest, ignored: frozenset[str], is_told: bool) -> None:
        self._ran, self._scenario, self._is_told = ran, ran.scenario, is_told
        scenario = ran.scenario
        self._store = past_store(scenario.is_disk, scenario.fresh_etags, scenario.past, protocol)
        self._oracle = Oracle(self._store, ignored, is_stale=scenario.stale_effects > 0)
        self._counts = ran.counts = self._oracle.counts
        self._cast = Cast(scenario, self._store, self._oracle, protocol)
        self._step = 0
        self._late = 0
        self._restarts = {name: role.restarts for name, role in scenario.roles.items() if isinstance(role, Start)}
        self._entities: list[Entity] = [self._cast.entity(name, role) for name, role in scenario.roles.items()]

    def run(self, chooser: Chooser) -> None:
        """Let one entity after the other take a step until all are over."""
        while ready := self._ready():
            self._step = self._oracle.step = self._step + 1
            if self._step > MAX_STEPS:
                self._oracle.violated("I3 no end", f"{[entity.name for entity in ready]} after {self._step} steps")
                return
            entity, fault = chooser.next(ready, self._step)
            self._ran.decisions.append(Decision(entity.name, fault))
            self._oracle.is_late = isinstance(entity, LateRequest)
            self._store.actor = entity.sender if isinstance(entity, LateRequest) else entity.name
            self._store.tick()
            if fault and isinstance(entity, Actor):
                self._befall(entity, fault)
            else:
                self._take(entity)
            if entity.is_over:
                self._entities.remove(entity)
        if self._entities:
            self._oracle.violated("I3 stuck", str([entity.name for entity in self._entities]))

    def judge_the_end(self) -> None:
        """I2: nobody is at work any more; one more start of the standing plan leaves exactly its rows."""
        self._counts["steps"] = self._step
        oracle = self._oracle
        if not self._is_disturbed() and oracle.visible_rows() != oracle.named_rows():
            oracle.violated("I2 other rows are visible though nothing failed", f"ends {self._ran.ends}")
        plan = self._plan_to_finish()
        if plan is None:
            return
        self._store.actor = "the last start"
        changes = len(self._store.changes)
        last = replace(plan, replace=True, retry_quarantined=False, kills_workers=True)
        code = self._cast.start_alone("the last start", last, Alone(self._store))
        unit_ids = [unit.unit_id for unit in units.plan_of(plan.files, plan.recipe).units]
        if code == 3 and units.are_unreadable(unit_ids):
            return
        if code != 0 and not oracle.may_need_a_person:
            oracle.violated(f"I2 the last start ends with {code}", f"a further start of {plan.files}")
        if code == 0 and oracle.visible_rows() != oracle.named_rows() and not oracle.is_unseen_damage():
            wrong = (oracle.visible_rows() - oracle.named_rows()) or "rows are missing"
            oracle.violated("I2 other rows are visible", f"after a further start: {wrong}")
        if code == 0 and oracle.published and f"_runs/{oracle.published.plan_id}/plan.json" not in self._store.contents:
            oracle.violated("I2 the plan is gone", "after a further start")
        self._counts["mended by the last start"] += len(self._store.changes) > changes

    def _ready(self) -> Sequence[Entity]:
        # On S3 nobody ever waits for a lock.
        return [entity for entity in self._entities if entity.is_ready] if self._store.is_disk else self._entities

    def _is_disturbed(self) -> bool:
        """Whether anything happened after which a further start may be needed to put things right."""
        clean = self._scenario.may_delete and not self._scenario.past and self._oracle.published is not None
        faults = sum(self._counts[fault] for fault in FAULTS)
        return not clean or bool(faults) or self._oracle.was_damaged or self._counts["exit 0"] == 0

    def _plan_to_finish(self) -> Start | None:
        """A start of the standing plan; of any plan if none stands; None if nobody has ever started."""
        starts = [role for role in self._scenario.roles.values() if isinstance(role, Start)]
        starts += [past.start for past in self._scenario.past]
        published = self._oracle.published
        fitting = (
            start
            for start in starts
            if published is None or units.plan_of(start.files, start.recipe).plan_id == published.plan_id
        )
        return next(fitting, None)

    def _take(self, entity: Entity) -> None:
        if isinstance(entity, Actor) and entity.request and not entity.request.done and entity.request.parts:
            self._oracle.asked(entity.name, entity.request)
        if not isinstance(entity, Event) and entity.request:
            self._oracle.sent_at = entity.request.sent_at
        shown = _shown(entity) if self._is_told else None
        changes = len(self._store.changes)
        try:
            entity.step()
        finally:
            # Also the step that breaks a promise, which raises.
            if shown:
                done = "done" if len(self._store.changes) > changes else ""
                self._tell(*shown, entity.told if isinstance(entity, Event) else done)
        if isinstance(entity, Actor) and entity.request and not entity.request.sent_at:
            entity.request.sent_at = self._step
        if isinstance(entity, Actor) and entity.is_over:
            self._ended(entity)
        elif isinstance(entity, LateRequest) and entity.is_over:
            self._counts["late requests landed"] += 1

    def _befall(self, actor: Actor, fault: Fault) -> None:
        self._counts[fault] += 1
        if actor.request:
            self._tell(actor.name, fault.upper(), "", f"waits for its {actor.request.kind} {actor.request.name}")
        match fault:
            case "again":
                left = actor.send_again()
            case "give up":
                left = actor.give_up()
                self._oracle.gave_up.add(actor.name)
            case _:
                left = actor.kill()
                self._store.release_locks(actor)
                self._oracle.died(actor.name)
                if fault == "crash":
                    self._start_again(actor.name)
        if left and not self._store.is_disk:
            self._late += 1
            self._entities.append(LateRequest(f"late{self._late}", actor.name, left))

    def _start_again(self, name: str) -> None:
        role_name = name.partition(".")[0]
        role = self._scenario.roles[role_name]
        if isinstance(role, Start) and self._restarts[role_name] > 0:
            self._restarts[role_name] -= 1
            again = f"{role_name}.{role.restarts - self._restarts[role_name]}"
            self._entities.append(self._cast.entity(again, role))

    def _ended(self, actor: Actor) -> None:
        if isinstance(actor.failure, ViolationError):
            raise actor.failure
        if actor.failure is not None or actor.code is None:
            kind = type(actor.failure).__name__
            self._oracle.violated(f"I3 {kind} was raised", f"in {actor.name}: {actor.failure!r}")
            self._oracle.died(actor.name)
            return
        self._tell(actor.name, "ends", "", f"exit {actor.code}")
        if actor.name in self._oracle.starts:
            self._counts[f"exit {actor.code}"] += 1
            self._ran.ends.append((actor.name, actor.code))
            self._oracle.ended(actor.name, actor.code)
            if actor.code == 4:
                self._start_again(actor.name)
        elif actor.name in self._oracle.clean_ups:
            self._counts[f"clean-ups exit {actor.code}"] += 1
            self._oracle.cleaned(actor.name, actor.code)

    def _tell(self, who: str, operation: str, name: str, effect: str) -> None:
        if self._is_told:
            self._ran.steps.append(Step(self._step, who, operation, name, effect))


def _shown(entity: Entity) -> tuple[str, str, str] | None:
    """Who does what to which name with the next step; None if that only brings a reply."""
    if isinstance(entity, Event):
        return entity.name, "acts", ""
    request = entity.request
    if request is None or request.is_over:
        return None
    who = f"{entity.sender}, late" if isinstance(entity, LateRequest) else entity.name
    name = request.name.split()[request.done] if request.kind == "delete" else request.name
    return who, request.kind, name
