"""Finds the objects of an output that nobody needs. `cleaning` deletes them.

This module reads plans and no file of labels: a clean-up may have no right to read labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.output import layout
from albert_infer.output.inspection import Snapshot
from albert_infer.storage import Folder, ObjectPin, StoredObject


class Kind(StrEnum):
    """The kind of a run's object, by its name."""

    SUCCESS = "success"
    STAGED = "staged"
    RUN = "run"
    FILE = "file"


@dataclass(frozen=True)
class RunObject:
    """One object of a run: its name below the output, and the unit or plan that owns it."""

    name: str
    kind: Kind
    owner: str | None
    pin: ObjectPin
    modified: datetime

    @property
    def size(self) -> int:
        """Bytes."""
        return self.pin.size

    @classmethod
    def of(cls, stored: StoredObject, name: str) -> RunObject:
        """The object with this name below the output."""
        if staged := layout.STAGED.fullmatch(name):
            return cls(name, Kind.STAGED, staged["unit"], stored.pin, stored.modified)
        if run := layout.RUN.fullmatch(name):
            return cls(name, Kind.RUN, run["plan"], stored.pin, stored.modified)
        if final := layout.parsed_final(name):
            return cls(name, Kind.FILE, final.unit_id, stored.pin, stored.modified)
        return cls(name, Kind.SUCCESS, None, stored.pin, stored.modified)


def outputs_of(stored: Iterable[StoredObject]) -> Mapping[str, list[RunObject]]:
    """Group the objects of runs by their output: a folder below the root that ends in `/`, or "" for the root."""
    by_output: dict[str, list[RunObject]] = defaultdict(list)
    for entry in stored:
        below = _output_of(entry.name)
        if below is not None:
            by_output[below].append(RunObject.of(entry, entry.name.removeprefix(below)))
    return by_output


def _output_of(name: str) -> str | None:
    """The shortest folder that can be the output of an object; None for a name that no run gives."""
    *folders, last = name.split("/")
    for depth in range(len(folders) + 1):
        if layout.is_ours("/".join([*folders[depth:], last])):
            return "".join(f"{folder}/" for folder in folders[:depth])
    return None


def leftovers(output: Folder, objects: Sequence[RunObject], snapshot: Snapshot, limit: datetime) -> list[RunObject]:
    """The objects that nobody reads and that no run will use.

    Files of labels that no publication will ever name belong to them at any age, other objects once they are older than
    `limit`. Raises IntegrityError if a plan cannot be read.
    """
    needed = _needed_to_resume(output, objects, snapshot, limit)
    # Without files of version 1: a start of version 1 copies files before it checks the publication.
    dead = {name for name in snapshot.dead if snapshot.unnamed[name].number}

    def is_needed(entry: RunObject) -> bool:
        match entry.kind:
            case Kind.SUCCESS:
                return True
            case Kind.RUN:
                return entry.modified >= limit or entry.owner in needed.plans
            case Kind.STAGED:
                return entry.modified >= limit or needed.every_unit or entry.owner in needed.units
            case Kind.FILE:
                # If nothing is published, these files may be the only copy of the labels.
                if snapshot.published is None:
                    return True
                is_used = entry.modified >= limit or entry.owner in needed.units
                return entry.name not in dead and (is_used or entry.name not in snapshot.unnamed)

    return [entry for entry in objects if not is_needed(entry)]


@dataclass(frozen=True)
class _Resumable:
    """The plans that may be resumed, and their units; `every_unit` is True if the units of such a plan are unknown."""

    plans: set[str]
    units: set[str]
    every_unit: bool = False


def _needed_to_resume(output: Folder, objects: Sequence[RunObject], snapshot: Snapshot, limit: datetime) -> _Resumable:
    """The plans with an object younger than `limit`, and the sealed plans if nothing is published."""
    modified: dict[tuple[Kind, str | None], list[datetime]] = defaultdict(list)
    for entry in objects:
        modified[entry.kind, entry.owner].append(entry.modified)
    plans, units, every_unit = set(), set(), False
    for plan in {entry.owner for entry in objects if entry.kind is Kind.RUN and entry.owner}:
        of_plan = _units(output, plan, snapshot)
        owners = [(Kind.RUN, plan), *((Kind.STAGED, unit) for unit in of_plan or ())]
        is_young = max(moment for owner in owners for moment in modified[owner]) >= limit
        is_sealed = layout.sealed_name(plan) in snapshot.stored
        if is_young or (is_sealed and snapshot.published is None):
            plans.add(plan)
            every_unit |= of_plan is None and layout.begun_name(plan) in snapshot.stored
            # A published run needs only the units that a retry may still label: the others have final names.
            is_published = snapshot.published is not None and snapshot.published.plan_id == plan
            units |= (of_plan or set()) - (snapshot.listed_whole if is_published else set())
    if snapshot.published:
        plans.add(snapshot.published.plan_id)
    return _Resumable(plans, units, every_unit)


class _PlannedUnit(BaseModel):
    unit_id: str


class _PlannedUnits(BaseModel):
    """The part of `plan.json` that a clean-up reads."""

    model_config = ConfigDict(strict=True)

    units: tuple[_PlannedUnit, ...]


def _units(output: Folder, plan: str, snapshot: Snapshot) -> set[str] | None:
    """The units of a plan; None if the plan was never written."""
    name = layout.plan_name(plan)
    if name not in snapshot.stored:
        return None
    try:
        return {unit.unit_id for unit in _PlannedUnits.model_validate_json(output.read(name)).units}
    except ObjectMissingError:
        return None
    except ValidationError as error:
        problem = "it is not a plan of albert-infer"
        raise IntegrityError(f"read {output.uri_of(name)}", problem, "move it away and run it again") from error
