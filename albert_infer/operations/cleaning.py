"""What finished and forsaken runs leave behind: found below a folder of outputs, listed, and deleted if asked to.

Deletes no name that a `_SUCCESS` tells of, and nothing at all of an output whose `_SUCCESS` is not as it should be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from albert_infer import storage
from albert_infer.common import failpoints
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import CleanSettings
from albert_infer.errors import AlbertInferError, InputError, IntegrityError, ObjectChangedError, ObjectMissingError
from albert_infer.output import layout, publish
from albert_infer.output.manifest import published_at
from albert_infer.output.publication import random_id
from albert_infer.output.standing import Seen
from albert_infer.storage import AccessError, Folder, ObjectPin, S3Access, StoredObject

# How many go before the output is looked at again: one request to S3, well under a second.
BATCH: Final = 500


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


@dataclass(frozen=True)
class Leftovers:
    """What of one output is not needed any more, or why that could not be said."""

    uri: str
    objects: tuple[RunObject, ...] = ()
    failure: AlbertInferError | None = None

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(found.size for found in self.objects)

    def lines(self) -> Iterable[str]:
        """One for each object, and one for the output."""
        for found in self.objects:
            yield f"  {self.uri}/{found.name}  {how_many(found.size, 'byte')}, {found.modified:%Y-%m-%d}, {found.kind}"
        counts = ", ".join(f"{self._count(kind)} {kind}" for kind in Kind if self._count(kind)) or "nothing"
        yield (
            f"{self.uri}  left alone: {self.failure}"
            if self.failure
            else f"{self.uri}  {counts}, {how_many(self.size, 'byte')}"
        )

    def _count(self, kind: Kind) -> int:
        return sum(found.kind is kind for found in self.objects)


@dataclass(frozen=True)
class Cleaning:
    """What was found below the root, output by output."""

    outputs: tuple[Leftovers, ...]
    deleted: bool

    def to_text(self) -> PrintableText:
        """What goes, or would go."""
        objects = sum(len(output.objects) for output in self.outputs)
        end = "deleted" if self.deleted else "to delete; --delete does"
        total = (
            f"{how_many(objects, 'object')} of {how_many(len(self.outputs), 'output')}, "
            f"{how_many(sum(o.size for o in self.outputs), 'byte')} {end}"
        )
        return text_of([*(line for output in self.outputs for line in output.lines()), total])

    def refuse_failures(self) -> None:
        """Raise the failure of the largest exit code; of several the first."""
        failures = [output.failure for output in self.outputs if output.failure]
        if failures:
            raise max(failures, key=lambda failure: failure.exit_code)


def clean_runs(settings: CleanSettings, now: datetime | None = None) -> Cleaning:
    """List what no output below the root needs any more, and delete it if the settings say so.

    An output that cannot be judged is left alone, and is a failure in what comes back; the others are done. Raises
    InputError where there is no output.
    """
    access = S3Access(settings.s3_endpoint, bucket_owner=settings.output_bucket_owner)
    root = storage.open_folder(settings.output_root, access)
    limit = (now or datetime.now(UTC)) - timedelta(days=settings.keep_days)
    with storage.refused(InputError):
        places = sorted(outputs_of(root.stored()))
    if not places:
        raise InputError(f"--output-root {root.uri}", "no run has left anything there", "correct the location")
    outputs = []
    for below in places:
        output = storage.open_folder(storage.subfolder(root.uri, below.rstrip("/")), access) if below else root
        outputs.append(_cleaned(output, limit, delete=settings.delete))
    return Cleaning(tuple(outputs), settings.delete)


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


def _cleaned(output: Folder, limit: datetime, *, delete: bool) -> Leftovers:
    try:
        seen, objects = _looked(output)
        found = leftovers(output, objects, seen, limit)
        failpoints.reach("leftovers_listed")
        if delete:
            _delete(output, found, seen)
    except AlbertInferError as error:
        return Leftovers(output.uri, failure=error)
    return Leftovers(output.uri, tuple(found))


def _looked(output: Folder) -> tuple[Seen, list[RunObject]]:
    """What lies at the output. Raises IntegrityError if a file that is published is not listed with its size.

    Reads no file of labels: who cleans may have no right to.
    """
    now = published_at(output)
    seen = Seen(now, {entry.name: entry for entry in output.stored()})
    for name, entry in now.files.items() if now else ():
        there = seen.stored.get(name) or output.stat(name)  # the listing of some S3 servers is behind
        if there is None or there.size != entry.bytes:
            _refuse_change(output, seen)
            found = f"{layout.SUCCESS} names {name}, which is not there as it says"
            remedy = "run the job again: it labels what is missing; or look at it with jobs/verify_labels.py"
            raise IntegrityError(f"clean {output.uri}", found, remedy)
    return seen, outputs_of(seen.stored.values()).get("", [])


def _delete(output: Folder, found: Sequence[RunObject], seen: Seen) -> None:
    """Delete in batches, none of them after something was published or a run has begun.

    Plans go last: they say what the other objects belong to, should this end half-way.
    """
    marks = _marks(seen.stored.values())
    forsaken = {entry.name for entry in found if entry.kind is Kind.FILE} - {*seen.dead}
    if forsaken:
        with suppress(AccessError):
            seen, forsaken = _without_seals(output, seen), set()
    going = sorted(found, key=lambda entry: entry.kind is Kind.RUN)
    # Without the right to write `_SUCCESS` they stay until something is published.
    doomed = [entry.name for entry in going if entry.name not in forsaken]
    for first in range(0, len(doomed), BATCH):
        _refuse_change(output, seen, marks)
        output.delete(doomed[first : first + BATCH])
    if doomed:
        _refuse_change(output, seen)


def _without_seals(output: Folder, seen: Seen) -> Seen:
    """Make sure that no run that was sealed and never published is published from here on: see `publish.advanced`."""
    if seen.now is None:
        return seen
    advanced = publish.advanced(seen.now, seen, random_id())
    publish.success_put(advanced, seen, output)
    now = published_at(output)
    if now is None or now.id != advanced.publication.id:
        raise _changed(output)
    return replace(seen, now=now)


def _refuse_change(output: Folder, seen: Seen, marks: Mapping[str, StoredObject] | None = None) -> None:
    """Raises ObjectChangedError if something was published since, or, with `marks`, if a run has written into a folder.

    Before a start counts on anything it writes a mark there, or its plan if nothing is there to count on.
    """
    begun = marks is not None and not _marks(output.stored(layout.RUNS)).items() <= marks.items()
    if begun or output.stat(layout.SUCCESS) != (seen.now.pin if seen.now else None):
        raise _changed(output)


def _changed(output: Folder) -> ObjectChangedError:
    found = "a run has begun or was published there meanwhile"
    return ObjectChangedError(f"clean {output.uri}", found, "run this again")


def _marks(stored: Iterable[StoredObject]) -> dict[str, StoredObject]:
    """The objects in the folders of runs, with their times: a plan that is written anew has the same ETag."""
    return {entry.name: entry for entry in stored if layout.RUN.fullmatch(entry.name)}


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
