"""What finished and forsaken runs leave behind: found below a folder of outputs, listed, and deleted if asked to.

Deletes no name that a `_SUCCESS` tells of, and nothing at all of an output whose `_SUCCESS` is not as it should be.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from albert_infer import commit, publish, storage
from albert_infer.config import CleanSettings
from albert_infer.errors import AlbertInferError, InputError, IntegrityError, ObjectChangedError
from albert_infer.publish import Standing
from albert_infer.storage import Folder, S3Access, StoredObject

_ID: Final = "[0-9a-f]{16}"
# Every name that a run gives, in the shortest folder that can be its output. All other objects are somebody else's.
_NAME: Final = re.compile(
    rf"(?P<output>(?:[^/]+/)*?)"
    rf"(?:(?P<success>{commit.SUCCESS})"
    rf"|(?P<staged>{commit.UNITS}(?P<unit>{_ID})\.(?:parquet|rejected\.parquet|quarantine\.json))"
    rf"|(?P<run>_runs/(?P<plan>{_ID})/.+)"
    rf"|(?P<file>(?:{commit.REJECTED})?part-(?P<part>{_ID})\.parquet))"
)


# How many go before `_SUCCESS` is looked at again: one request to S3, well under a second.
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
    size: int
    modified: datetime


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
            yield f"  {self.uri}/{found.name}  {found.size:,} bytes, {found.modified:%Y-%m-%d}, {found.kind}"
        counts = ", ".join(f"{self._count(kind)} {kind}" for kind in Kind if self._count(kind)) or "nothing"
        yield (
            f"{self.uri}  left alone: {self.failure}" if self.failure else f"{self.uri}  {counts}, {self.size:,} bytes"
        )

    def _count(self, kind: Kind) -> int:
        return sum(found.kind is kind for found in self.objects)


@dataclass(frozen=True)
class Cleaning:
    """What was found below the root, output by output."""

    outputs: tuple[Leftovers, ...]
    deleted: bool

    def to_text(self) -> str:
        """What goes, or would go."""
        objects = sum(len(output.objects) for output in self.outputs)
        end = "deleted" if self.deleted else "to delete; --delete does"
        total = (
            f"{objects:,} objects of {len(self.outputs):,} outputs, {sum(o.size for o in self.outputs):,} bytes {end}"
        )
        return "\n".join([*(line for output in self.outputs for line in output.lines()), total])

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
        if match := _NAME.fullmatch(entry.name):
            kind = next(kind for kind in Kind if match[kind])
            owner = match["unit"] or match["plan"] or match["part"]
            name = entry.name.removeprefix(match["output"])
            found[match["output"]].append(RunObject(name, kind, owner, entry.size, entry.modified))
    return found


def leftovers(output: Folder, objects: Sequence[RunObject], now: Standing | None, limit: datetime) -> list[RunObject]:
    """Those of the objects that are older than `limit`, that nobody reads, and that no run may come back to.

    Raises IntegrityError if a file that `now` names is not there as it says, or a plan cannot be read.
    """
    _refuse_missing_files(output, objects, now)
    kept_plans, kept_units = _to_be_resumed(output, objects, now, limit)
    named = set(now.files) if now else set()
    if now:
        kept_plans.add(now.plan_id)

    def is_kept(found: RunObject) -> bool:
        match found.kind:
            case Kind.SUCCESS:
                return True
            case Kind.RUN:
                return found.owner in kept_plans
            case Kind.STAGED:
                return found.owner in kept_units
            case Kind.FILE:
                # Where nothing is published they may be all that is left of labels.
                return now is None or found.name in named or found.owner in kept_units

    return [found for found in objects if found.modified < limit and not is_kept(found)]


def _cleaned(output: Folder, limit: datetime, *, delete: bool) -> Leftovers:
    try:
        now = publish.standing(output)
        # Listed only now: a run that begins later marks itself, see `publish.mark_begun`.
        found = leftovers(output, outputs_of(output.stored()).get("", []), now, limit)
        if delete:
            _delete(output, found, now)
    except AlbertInferError as error:
        return Leftovers(output.uri, failure=error)
    return Leftovers(output.uri, tuple(found))


def _delete(output: Folder, found: Sequence[RunObject], now: Standing | None) -> None:
    """Delete in batches, none of them after something else was published.

    Plans go last: they say what the other objects belong to, should this end half-way.
    """
    doomed = [entry.name for entry in sorted(found, key=lambda entry: entry.kind is Kind.RUN)]
    for first in range(0, len(doomed), BATCH):
        _refuse_change(output, now)
        output.delete(doomed[first : first + BATCH])
    if doomed:
        _refuse_change(output, now)


def _refuse_change(output: Folder, now: Standing | None) -> None:
    if output.stat(commit.SUCCESS) != (now.pin if now else None):
        asked, published = f"clean {output.uri}", "something was published there meanwhile"
        raise ObjectChangedError(asked, published, "verify it with jobs/verify_labels.py, and run this again")


def _refuse_missing_files(output: Folder, objects: Iterable[RunObject], now: Standing | None) -> None:
    there = {found.name: found.size for found in objects}
    for name, entry in now.files.items() if now else ():
        if there.get(name) != entry["bytes"]:
            _refuse_change(output, now)
            found = f"{commit.SUCCESS} names {name}, which is not there as it says"
            raise IntegrityError(f"clean {output.uri}", found, "look at it with jobs/verify_labels.py")


def _to_be_resumed(
    output: Folder, objects: Sequence[RunObject], now: Standing | None, limit: datetime
) -> tuple[set[str], set[str]]:
    """The plans that may go on, and their units: those with a young object, or sealed where nothing is published."""
    written: dict[tuple[Kind, str | None], list[datetime]] = defaultdict(list)
    for found in objects:
        written[found.kind, found.owner].append(found.modified)
    names = {found.name for found in objects}
    published = {entry["unit_id"] for entry in now.manifest["files"]} if now else set()
    plans, units = set(), set()
    for plan in {found.owner for found in objects if found.kind is Kind.RUN and found.owner}:
        of_plan = _units(output, plan, names)
        owners = [(Kind.RUN, plan), *((Kind.STAGED, unit) for unit in of_plan)]
        is_young = max(moment for owner in owners for moment in written[owner]) >= limit
        is_sealed = f"{publish.run_folder(plan)}sealed.json" in names
        if is_young or (is_sealed and now is None):
            plans.add(plan)
            # Of a run that is published already, only what a retry may still bring: the rest is under its final name.
            is_published = now is not None and now.plan_id == plan
            units |= of_plan - (published if is_published else set())
    return plans, units


def _units(output: Folder, plan: str, names: set[str]) -> set[str]:
    """The units of a plan; none where it was never written."""
    name = f"{publish.run_folder(plan)}plan.json"
    if name not in names:
        return set()
    try:
        return {str(unit["unit_id"]) for unit in json.loads(output.read(name))["units"]}
    except (ValueError, KeyError, TypeError) as error:
        found = "it is not a plan of ours"
        raise IntegrityError(f"read {output.uri_of(name)}", found, "move it away and run it again") from error
