"""The actors and events of a scenario, and what each of them does when its turn comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from albert_infer.errors import AlbertInferError, ObjectMissingError
from albert_infer.storage import Folder
from simulation import units
from simulation.actors import Actor, Entity, Event
from simulation.folders import Rights, folder_on
from simulation.in_use import CleanUpAtWork, StartAtWork
from simulation.oracle import SUCCESS, Oracle
from simulation.protocol import ProtocolUnderTest
from simulation.requests import Asker
from simulation.scenario import CleanUp, ClockJump, Damage, Role, Scenario, Start
from simulation.store import NS_PER_DAY, Store, sha256


@dataclass(frozen=True)
class Cast:
    """Makes the entities of one schedule."""

    scenario: Scenario
    store: Store
    oracle: Oracle
    protocol: ProtocolUnderTest

    def entity(self, name: str, role: Role) -> Entity:
        """Whoever plays the role, under that name."""
        match role:
            case ClockJump():
                return Event(name, partial(self._jump, role))
            case Damage():
                return Event(name, partial(self._damage, role))
            case Start():
                return Actor(name, partial(self._start, role))
            case CleanUp():
                return Actor(name, partial(self._clean_up, role))
            case _:
                return Actor(name, self._read)

    def start_alone(self, name: str, role: Start, asker: Asker) -> int:
        """Run a start with all rights and nobody beside it, judged as any other; its exit code."""
        self.oracle.began(self._at_work(name, role))
        code = _code(lambda: self.protocol.run_start(role, folder_on(self.store, asker, Rights()), self.store))
        if code == 0:
            self.oracle.ended(name, code)
        self.oracle.died(name)
        return code

    def _folder(self, asker: Asker) -> Folder:
        scenario = self.scenario
        rights = Rights(scenario.page_names, scenario.stale_effects, scenario.may_delete)
        return folder_on(self.store, asker, rights)

    def _at_work(self, name: str, role: Start) -> StartAtWork:
        plan = units.plan_of(role.files, role.recipe)
        return StartAtWork(name, plan.plan_id, frozenset(unit.unit_id for unit in plan.units), self.store.clock_ns)

    def _start(self, role: Start, actor: Actor) -> int:
        self.oracle.counts["starts"] += 1
        self.oracle.began(self._at_work(actor.name, role))
        return _code(lambda: self.protocol.run_start(role, self._folder(actor), self.store))

    def _clean_up(self, role: CleanUp, actor: Actor) -> int:
        self.oracle.counts["clean-ups"] += 1
        days = role.clock_ahead_days - role.keep_days
        limit = self.store.now() + timedelta(days=days)
        limit_ns = self.store.clock_ns + int(days * NS_PER_DAY)
        self.oracle.clean_ups[actor.name] = CleanUpAtWork(limit_ns)
        folder = folder_on(self.store, actor, Rights(self.scenario.page_names, self.scenario.stale_effects))
        return _code(lambda: self.protocol.run_clean_up(folder, limit, self.store))

    def _read(self, actor: Actor) -> int:
        return _code(lambda: self._read_all(self._folder(actor)))

    def _read_all(self, folder: Folder) -> None:
        """Read what `_SUCCESS` names; each file must be there unless `_SUCCESS` is another one meanwhile."""
        try:
            data = folder.read(SUCCESS)
        except ObjectMissingError:
            return
        standing = self.store.contents.get(SUCCESS)
        if standing is None or standing.data != data:
            return
        told = json.loads(data)
        for entry in [*told["files"], *told["rejected_files"]]:
            try:
                digest = sha256(folder.read(entry["path"]))
            except ObjectMissingError:
                digest = "missing"
            # A start may have mended it since it was read.
            was_damaged = entry["path"] in self.oracle.ever_damaged
            if digest != entry["sha256"] and self.store.contents.get(SUCCESS) is standing and not was_damaged:
                self.oracle.violated("I1 a reader misses a file", f"{entry['path']}: {digest}")
        self.oracle.counts["reads"] += 1

    def _jump(self, role: ClockJump) -> str:
        self.oracle.counts["clock jumps"] += 1
        self.store.clock_ns += int(role.days * NS_PER_DAY)
        return f"{role.days} days pass"

    def _damage(self, role: Damage) -> str:
        prefix = ("part-", "_rejected/") if role.target == "published" else ("_units/",)
        names = sorted(name for name in self.store.contents if name.startswith(prefix))
        if not names:
            return "nothing is there"
        name = names[role.choice % len(names)]
        file = self.store.contents[name]
        same = self.store.names_of(file) if role.action == "overwrite" else [name]
        is_staged = any(each.startswith("_units/") for each in same)
        self.oracle.damage(same, for_a_person=role.action != "remove" and is_staged)
        other = b"\0" * len(file.data)
        match role.action:
            case "remove":
                self.store.remove(name)
            case "alter":
                self.store.put(name, other, file.modified_ns)
            case "overwrite":
                self.store.overwrite(name, other)
        return f"{role.action}: {name}"


def _code(run: Callable[[], None]) -> int:
    """The exit code of what runs."""
    try:
        run()
    except AlbertInferError as error:
        return error.exit_code
    return 0
