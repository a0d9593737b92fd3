"""Lists the objects that finished and abandoned runs have left, and deletes them if asked to.

A clean-up deletes no file that a `_SUCCESS` names, and nothing from an output with an invalid `_SUCCESS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from textwrap import wrap
from typing import Final

from albert_infer import storage
from albert_infer.common import failpoints
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import CleanSettings
from albert_infer.errors import AlbertInferError, InputError, IntegrityError, ObjectChangedError
from albert_infer.operations.leftovers import Kind, RunObject, leftovers, outputs_of
from albert_infer.output import layout, publish
from albert_infer.output.inspection import Snapshot
from albert_infer.output.manifest import published_at
from albert_infer.output.publication import random_id
from albert_infer.storage import AccessError, Folder, S3Access, StoredObject

# Objects deleted before the output is checked again: one request to S3, well under a second.
BATCH: Final = 500
# A narrower terminal wraps lines itself.
LEAST_WIDTH: Final = 40
INDENT: Final = " " * 6
# In the report, for one object and for several.
KIND_NAMES: Final = {
    Kind.SUCCESS: ("manifest", "manifests"),
    Kind.STAGED: ("staged object", "staged objects"),
    Kind.RUN: ("file of a run", "files of runs"),
    Kind.FILE: ("file of labels", "files of labels"),
}


@dataclass(frozen=True)
class Leftovers:
    """The objects of one output that nobody needs, or the error that prevented the search."""

    uri: str
    objects: tuple[RunObject, ...] = ()
    failure: AlbertInferError | None = None

    @property
    def size(self) -> int:
        """Bytes of all these objects."""
        return sum(entry.size for entry in self.objects)

    def lines(self, width: int | None) -> Iterable[str]:
        """A line for each object with its URI, then a line for the output.

        A terminal of `width` columns shows the output first, then the names below it, each with its facts underneath.
        """
        if width is not None:
            yield from _in_width(self.uri, self._summary(), width)
        for entry in self.objects:
            facts = f"{how_many(entry.size, 'byte')}, {entry.modified:%Y-%m-%d}, {KIND_NAMES[entry.kind][0]}"
            yield from _in_width(f"  {entry.name if width else f'{self.uri}/{entry.name}'}", facts, width)
        if width is None:
            yield from _in_width(self.uri, self._summary(), width)

    def _summary(self) -> str:
        if self.failure:
            return f"not cleaned: {self.failure}"
        counts = Counter(entry.kind for entry in self.objects)
        names = [how_many(counts[kind], *KIND_NAMES[kind]) for kind in Kind if counts[kind]]
        return ", ".join([*names, how_many(self.size, "byte")]) if names else "nothing to delete"


@dataclass(frozen=True)
class Cleaning:
    """The leftovers of every output below the root."""

    outputs: tuple[Leftovers, ...]
    deleted: bool

    def to_text(self, *, width: int | None = None) -> PrintableText:
        """The report for a person; it fits a terminal of `width` columns."""
        objects = sum(len(output.objects) for output in self.outputs)
        outputs, size = how_many(len(self.outputs), "output"), sum(output.size for output in self.outputs)
        total = f"nothing to delete in {outputs}"
        if objects:
            end = "deleted" if self.deleted else "not deleted; --delete deletes them"
            total = f"{how_many(objects, 'object')} of {outputs}, {how_many(size, 'byte')}: {end}"
        lines = (line for output in self.outputs for line in output.lines(width))
        return text_of([*lines, *(wrap(total, width) if width else [total])])

    def refuse_failures(self) -> None:
        """Raise the failure with the largest exit code; if there are several, the first of them."""
        failures = [output.failure for output in self.outputs if output.failure]
        if failures:
            raise max(failures, key=lambda failure: failure.exit_code)


def _in_width(name: str, facts: str, width: int | None) -> list[str]:
    """A name with facts on one line; if the line is longer than `width`, the facts follow below the name."""
    if width is None or len(name) + 2 + len(facts) <= width:
        return [f"{name}  {facts}"]
    return [name, *wrap(facts, max(width, LEAST_WIDTH), initial_indent=INDENT, subsequent_indent=INDENT)]


def clean_runs(settings: CleanSettings, now: datetime | None = None) -> Cleaning:
    """List the objects below the root that no output needs, and delete them if the settings say so.

    An output that cannot be checked is not cleaned; the result has the failure, and the other outputs are cleaned.
    Raises InputError if there is no output.
    """
    access = S3Access(settings.s3_endpoint, bucket_owner=settings.output_bucket_owner)
    root = storage.open_folder(settings.output_root, access)
    limit = (now or datetime.now(UTC)) - timedelta(days=settings.keep_days)
    with storage.refused(InputError):
        names = sorted(outputs_of(root.stored()))
    if not names:
        raise InputError(f"--output-root {root.uri}", "no run has left anything there", "correct the location")
    outputs = []
    for below in names:
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
    """Find the objects of one output that nobody needs, with the age `limit`; `delete` deletes them in batches."""
    try:
        snapshot, objects = _looked(output)
        unneeded = leftovers(output, objects, snapshot, limit)
        failpoints.reach("leftovers_listed")
        if delete:
            _delete(output, unneeded, snapshot, new_id, batch)
    except AlbertInferError as error:
        return Leftovers(output.uri, failure=error)
    return Leftovers(output.uri, tuple(unneeded))


def _looked(output: Folder) -> tuple[Snapshot, list[RunObject]]:
    """Take a snapshot of the output. Raises IntegrityError if a published file is missing or has another size.

    No file of labels is read: a clean-up may have no right to read labels.
    """
    published = published_at(output)
    snapshot = Snapshot(published, {entry.name: entry for entry in output.stored()})
    for name, entry in published.files.items() if published else ():
        stored = snapshot.stored.get(name) or output.stat(name)  # the listings of some S3 servers lag
        if stored is None or stored.size != entry.bytes:
            _refuse_change(output, snapshot)
            problem = f"{layout.SUCCESS} names {name}, which is missing or has another size"
            remedy = "run the job again: it labels what is missing; or look at it with albert-infer verify"
            raise IntegrityError(f"clean {output.uri}", problem, remedy)
    return snapshot, outputs_of(snapshot.stored.values()).get("", [])


def _delete(
    output: Folder, unneeded: Sequence[RunObject], snapshot: Snapshot, new_id: Callable[[], str], batch: int
) -> None:
    """Delete in batches; stop with ObjectChangedError once another run has begun or was published.

    Plans are deleted last: they say which run the other objects belong to, if a clean-up stops half-way.
    """
    marks = _marks(snapshot.stored.values())
    abandoned = {entry.name for entry in unneeded if entry.kind is Kind.FILE} - {*snapshot.dead}
    if abandoned:
        with suppress(AccessError):
            snapshot, abandoned = _without_seals(output, snapshot, new_id), set()
    ordered = sorted(unneeded, key=lambda entry: entry.kind is Kind.RUN)
    # Without the right to write `_SUCCESS`, abandoned files stay until something is published.
    names = [entry.name for entry in ordered if entry.name not in abandoned]
    for first in range(0, len(names), batch):
        _refuse_change(output, snapshot, marks)
        output.delete(names[first : first + batch])
    if names:
        _refuse_change(output, snapshot)


def _without_seals(output: Folder, snapshot: Snapshot, new_id: Callable[[], str]) -> Snapshot:
    """Make all seals void, so that no sealed run can be published later: see `publish.advanced`."""
    if snapshot.published is None:
        return snapshot
    advanced = publish.advanced(snapshot.published, snapshot, new_id())
    publish.put_success(advanced, snapshot, output)
    published = published_at(output)
    if published is None or published.id != advanced.publication.id:
        raise _changed(output)
    return replace(snapshot, published=published)


def _refuse_change(output: Folder, snapshot: Snapshot, marks: Mapping[str, StoredObject] | None = None) -> None:
    """Raises ObjectChangedError if something was published since the snapshot, or, with `marks`, if a run has begun.

    A start writes a mark before it uses objects of earlier starts; a start without such objects writes its plan.
    """
    has_begun = marks is not None and not _marks(output.stored(layout.RUNS)).items() <= marks.items()
    if has_begun or output.stat(layout.SUCCESS) != (snapshot.published.pin if snapshot.published else None):
        raise _changed(output)


def _changed(output: Folder) -> ObjectChangedError:
    problem = "a run has begun or was published there meanwhile"
    return ObjectChangedError(f"clean {output.uri}", problem, "run this again")


def _marks(stored: Iterable[StoredObject]) -> dict[str, StoredObject]:
    """The objects in the folders of runs, with their times: a plan that is written again has the same ETag."""
    return {entry.name: entry for entry in stored if layout.RUN.fullmatch(entry.name)}
