"""Which objects of an output nobody needs any more. Deletes nothing; `cleaning` does.

Reads plans, and no file of labels: who cleans may have no right to.
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
from albert_infer.output.standing import Seen
from albert_infer.storage import Folder, ObjectPin, StoredObject


class Kind(StrEnum):
    """What an object of a run is, by its name."""

    SUCCESS = "success"
    STAGED = "staged"
    RUN = "run"
    FILE = "file"


@dataclass(frozen=True)
class RunObject:
    """One object that a run has left: its name below the output, and the unit or the plan that it belongs to."""

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
        """The object that a run names `name`."""
        if staged := layout.STAGED.fullmatch(name):
            return cls(name, Kind.STAGED, staged["unit"], stored.pin, stored.modified)
        if run := layout.RUN.fullmatch(name):
            return cls(name, Kind.RUN, run["plan"], stored.pin, stored.modified)
        if final := layout.parsed_final(name):
            return cls(name, Kind.FILE, final.unit_id, stored.pin, stored.modified)
        return cls(name, Kind.SUCCESS, None, stored.pin, stored.modified)


def outputs_of(stored: Iterable[StoredObject]) -> Mapping[str, list[RunObject]]:
    """The objects of runs, by the output that they lie in (a name below the root that ends in `/`, or nothing)."""
    found: dict[str, list[RunObject]] = defaultdict(list)
    for entry in stored:
        below = _output_of(entry.name)
        if below is not None:
            found[below].append(RunObject.of(entry, entry.name.removeprefix(below)))
    return found


def _output_of(name: str) -> str | None:
    """The shortest folder that can be the output of an object; None for what no run names: it is somebody else's."""
    *folders, last = name.split("/")
    for depth in range(len(folders) + 1):
        if layout.is_ours("/".join([*folders[depth:], last])):
            return "".join(f"{folder}/" for folder in folders[:depth])
    return None


def leftovers(output: Folder, objects: Sequence[RunObject], seen: Seen, limit: datetime) -> list[RunObject]:
    """Those of the objects that nobody reads and that no run may come back to.

    Files of labels that no publication will ever name are such whatever their age, all else once it is older than
    `limit`. Raises IntegrityError if a plan cannot be read.
    """
    kept = _to_be_resumed(output, objects, seen, limit)
    # Not those of version 1, which gives its files their names before it looks who is published.
    dead = {name for name in seen.dead if seen.unnamed[name].number}

    def is_kept(found: RunObject) -> bool:
        match found.kind:
            case Kind.SUCCESS:
                return True
            case Kind.RUN:
                return found.modified >= limit or found.owner in kept.plans
            case Kind.STAGED:
                return found.modified >= limit or kept.every_unit or found.owner in kept.units
            case Kind.FILE:
                # Where nothing is published they may be all that is left of labels.
                young = found.modified >= limit or found.owner in kept.units
                return seen.now is None or (found.name not in dead and (young or found.name not in seen.unnamed))

    return [found for found in objects if not is_kept(found)]


@dataclass(frozen=True)
class _Resumable:
    """The plans that may go on and the units that they may count on: `every_unit` where a plan is not known yet."""

    plans: set[str]
    units: set[str]
    every_unit: bool = False


def _to_be_resumed(output: Folder, objects: Sequence[RunObject], seen: Seen, limit: datetime) -> _Resumable:
    """Those with a young object, or sealed where nothing is published."""
    written: dict[tuple[Kind, str | None], list[datetime]] = defaultdict(list)
    for found in objects:
        written[found.kind, found.owner].append(found.modified)
    plans, units, every_unit = set(), set(), False
    for plan in {found.owner for found in objects if found.kind is Kind.RUN and found.owner}:
        of_plan = _units(output, plan, seen)
        owners = [(Kind.RUN, plan), *((Kind.STAGED, unit) for unit in of_plan or ())]
        is_young = max(moment for owner in owners for moment in written[owner]) >= limit
        is_sealed = layout.sealed_name(plan) in seen.stored
        if is_young or (is_sealed and seen.now is None):
            plans.add(plan)
            every_unit |= of_plan is None and layout.begun_name(plan) in seen.stored
            # Of a run that is published already, only what a retry may still bring: the rest is under its final name.
            is_published = seen.now is not None and seen.now.plan_id == plan
            units |= (of_plan or set()) - (seen.listed_whole if is_published else set())
    if seen.now:
        plans.add(seen.now.plan_id)
    return _Resumable(plans, units, every_unit)


class _PlannedUnit(BaseModel):
    unit_id: str


class _PlannedUnits(BaseModel):
    """What a clean-up reads of `plan.json`."""

    model_config = ConfigDict(strict=True)

    units: tuple[_PlannedUnit, ...]


def _units(output: Folder, plan: str, seen: Seen) -> set[str] | None:
    """The units of a plan; None where it was never written."""
    name = layout.plan_name(plan)
    if name not in seen.stored:
        return None
    try:
        return {unit.unit_id for unit in _PlannedUnits.model_validate_json(output.read(name)).units}
    except ObjectMissingError:
        return None
    except ValidationError as error:
        found = "it is not a plan of ours"
        raise IntegrityError(f"read {output.uri_of(name)}", found, "move it away and run it again") from error
