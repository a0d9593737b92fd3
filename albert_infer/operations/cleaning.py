"""What finished and forsaken runs leave behind: listed output by output, and deleted if asked to.

Deletes no name that a `_SUCCESS` tells of, and nothing at all of an output whose `_SUCCESS` is not as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from albert_infer import storage
from albert_infer.common import failpoints
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import CleanSettings
from albert_infer.errors import AlbertInferError, InputError, IntegrityError, ObjectChangedError
from albert_infer.operations.leftovers import Kind, RunObject, leftovers, outputs_of
from albert_infer.output import layout, publish
from albert_infer.output.manifest import published_at
from albert_infer.output.publication import random_id
from albert_infer.output.standing import Seen
from albert_infer.storage import AccessError, Folder, S3Access, StoredObject

# How many go before the output is looked at again: one request to S3, well under a second.
BATCH: Final = 500


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
        outputs.append(cleaned(output, limit, delete=settings.delete))
    return Cleaning(tuple(outputs), settings.delete)


def cleaned(
    output: Folder,
    limit: datetime,
    *,
    delete: bool,
    new_id: Callable[[], str] = random_id,
    batch: int = BATCH,
) -> Leftovers:
    """What of one output is older than `limit` and not needed any more, deleted by the `batch` if asked to."""
    try:
        seen, objects = _looked(output)
        found = leftovers(output, objects, seen, limit)
        failpoints.reach("leftovers_listed")
        if delete:
            _delete(output, found, seen, new_id, batch)
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
            remedy = "run the job again: it labels what is missing; or look at it with albert-infer verify"
            raise IntegrityError(f"clean {output.uri}", found, remedy)
    return seen, outputs_of(seen.stored.values()).get("", [])


def _delete(output: Folder, found: Sequence[RunObject], seen: Seen, new_id: Callable[[], str], batch: int) -> None:
    """Delete in batches, none of them after something was published or a run has begun.

    Plans go last: they say what the other objects belong to, should this end half-way.
    """
    marks = _marks(seen.stored.values())
    forsaken = {entry.name for entry in found if entry.kind is Kind.FILE} - {*seen.dead}
    if forsaken:
        with suppress(AccessError):
            seen, forsaken = _without_seals(output, seen, new_id), set()
    going = sorted(found, key=lambda entry: entry.kind is Kind.RUN)
    # Without the right to write `_SUCCESS` they stay until something is published.
    doomed = [entry.name for entry in going if entry.name not in forsaken]
    for first in range(0, len(doomed), batch):
        _refuse_change(output, seen, marks)
        output.delete(doomed[first : first + batch])
    if doomed:
        _refuse_change(output, seen)


def _without_seals(output: Folder, seen: Seen, new_id: Callable[[], str]) -> Seen:
    """Make sure that no run that was sealed and never published is published from here on: see `publish.advanced`."""
    if seen.now is None:
        return seen
    advanced = publish.advanced(seen.now, seen, new_id())
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
