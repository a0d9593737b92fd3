"""The protocol as it was at commit e19594b, to make its figures again: run this from a worktree of that commit.

Composed as `run._from_where_it_stands` was, without Ray, settings and report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from albert_infer.config import LabelSettings
from albert_infer.errors import InfrastructureError, IntegrityError, ObjectMissingError, SupersededError
from albert_infer.operations import cleaning
from albert_infer.output import commit, publish, sealing
from albert_infer.output.publish import Standing
from albert_infer.read.planning import Plan, canonical_json
from albert_infer.storage import Folder, InputObjects, StoredObject, check_conditional
from simulation import units
from simulation.labelling import label
from simulation.protocol import Machine
from simulation.scenario import Start

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_start(start: Start, output: Folder, machine: Machine) -> None:
    """One start of the labelling job, to its end. Raises AlbertInferError."""
    vars(publish).update(datetime=_Clock(machine.now))
    output = _OldFolder(output)
    plan = units.plan_of(start.files, start.recipe)
    now = publish.standing(output)
    ours = now is not None and now.plan_id == plan.plan_id
    if now is not None and ours and not (start.retry_quarantined and now.quarantined):
        publish.remove_leftovers(output, plan.plan_id)
        return
    if now is not None and not ours and not start.replace:
        raise SupersededError(f"publish plan {plan.plan_id}", f"plan {now.plan_id} is published there", "--replace")
    publish.refuse_foreign_files(output)
    try:
        _label_and_publish(start, plan, output, now)
    except Exception:
        _write_report(plan, output)
        raise
    _write_report(plan, output)


def run_clean_up(output: Folder, limit: datetime, machine: Machine) -> None:
    """One clean-up that deletes what is older than `limit`. Raises AlbertInferError."""
    found = cleaning._cleaned(_OldFolder(output), limit, delete=True)
    if found.failure:
        raise found.failure


def _label_and_publish(start: Start, plan: Plan, output: Folder, now: Standing | None) -> None:
    publish.mark_begun(plan.plan_id, output)
    manifest = sealing.sealed(plan, output)
    if manifest is None or (start.retry_quarantined and manifest["quarantined"]["units"]):
        _label_missing(start, plan, output, now)
        after = publish.standing(output)
        if after != now:
            if after is None or after.plan_id != plan.plan_id:
                raise SupersededError(f"publish plan {plan.plan_id}", "another was published since", "look")
            publish.remove_leftovers(output, plan.plan_id)
            return
        manifest = sealing.account(plan, _input(plan, output), output, now)
        sealing.seal(manifest, output, _settings())
    publish.publish(manifest, output, now)


def _label_missing(start: Start, plan: Plan, output: Folder, now: Standing | None) -> None:
    finished = publish.finished_units(plan, output, now)
    done = finished.labelled if start.retry_quarantined else finished.units
    missing = [unit.unit_id for unit in plan.units if unit.unit_id not in done]
    _keep_plan(plan, output)
    label(missing, start, output)


def _keep_plan(plan: Plan, output: Folder) -> None:
    name = f"{publish.run_folder(plan.plan_id)}plan.json"
    ours = _plan_json(plan.plan_id, plan)
    if output.put_if_absent(name, ours):
        check_conditional(output, name, ours)
    elif json.loads(output.read(name))["plan_id"] != plan.plan_id:
        raise IntegrityError(f"read {name}", "it is not this plan", "move it away and run it again")


def _write_report(plan: Plan, output: Folder) -> None:
    name = f"{publish.run_folder(plan.plan_id)}report.json"
    output.replace(name, b"{}", output.stat(name))


def _input(plan: Plan, output: Folder) -> InputObjects:
    return InputObjects(output.uri, output, tuple(file.pin for file in plan.files))


@cache
def _settings() -> LabelSettings:
    return LabelSettings(input="in", output="out", max_bad_files=100, max_rejected_share=1)


_PLANS: dict[str, bytes] = {}


def _plan_json(plan_id: str, plan: Plan) -> bytes:
    if plan_id not in _PLANS:
        _PLANS[plan_id] = canonical_json(plan.to_json())
    return _PLANS[plan_id]


class _OldFolder:
    """A folder with the methods that have changed since: a listing without pins, a copy without a condition."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def stored(self, prefix: str = "") -> list[StoredObject]:
        return [StoredObject(name, len(file.data), file.modified) for name, file in self._folder._listed(prefix)]

    def copy(self, source: str, target: str) -> None:
        folder = self._folder
        if not folder.store.is_disk:
            folder._ask("copy", target, lambda: folder.store.put(target, folder._file(source).data))
            return
        if folder.stat(source) is None:
            raise ObjectMissingError(f"copying {source}", "it is not there", "start the run again")
        file = folder._ask("hard link", source, lambda: folder.store.contents.get(source))
        if file is None:
            raise InfrastructureError(f"writing {target}", "No such file or directory", "repair it")
        folder._ask("rename", target, lambda: folder.store.link(target, file))


class _Clock:
    """The part of `datetime` that the marks need, by the simulated clock."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    def now(self, _: object) -> datetime:
        return self._clock()


def _each(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """In this thread: a greenlet cannot be left from another one."""
    return [work(item) for item in items]


def _make_quick() -> None:
    """No threads, no indents, which take half of a schedule's time, and each footer read once: the objects are few."""
    for module in (publish, sealing):
        vars(module).update(each=_each, to_json=canonical_json)
    commit.read_summary = lru_cache(commit.read_summary)
    commit.rows_held = lru_cache(commit.rows_held)


_make_quick()
