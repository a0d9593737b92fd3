"""The seal: the check that durable objects account for every row of a plan.

The check counts written rows only. This module knows nothing about Ray.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from albert_infer.errors import IntegrityError, ObjectChangedError, ObjectMissingError
from albert_infer.output import commit, layout
from albert_infer.output.commit import UnitSummary
from albert_infer.output.inspection import Snapshot
from albert_infer.output.manifest import (
    MANIFEST_FORMAT,
    InputFile,
    Publication,
    PublishedFile,
    Quarantined,
    QuarantinedFile,
    QuarantinedUnit,
    Seal,
    Staged,
)
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, InputObjects, ObjectPin, each

_QUARANTINE: Final = TypeAdapter(QuarantinedUnit)


@dataclass(frozen=True)
class UnitFile:
    """One file of a unit; `source` is the staged or published object with its bytes."""

    source: ObjectPin
    rows: int
    sha256: str


@dataclass(frozen=True)
class AccountedUnit:
    """One unit with its files and counts, or with its quarantine; if it `is_gone`, it must be labelled again."""

    unit: Unit
    part: UnitFile | None = None
    rejected: UnitFile | None = None
    # Only in runs that publish pairs and scores.
    pairs: UnitFile | None = None
    summary: UnitSummary | None = None
    quarantine: QuarantinedUnit | None = None
    # A published file of the unit has other bytes than the manifest says.
    is_damaged: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether the unit's objects are damaged, or were deleted since they were listed."""
        return self.summary is None and self.quarantine is None


def account(plan: Plan, input_objects: InputObjects, snapshot: Snapshot, output: Folder) -> list[AccountedUnit]:
    """Account for every unit of the plan; every object that is not published is read back and checked.

    `input_objects` is the current input. Raises IntegrityError for an object that is not the planned unit, and
    ObjectChangedError or ObjectMissingError if an input file is not the planned one.
    """
    _refuse_changed_inputs(plan, input_objects)
    tables = _Tables.of(plan)
    return each(output, plan.units, lambda unit: _accounted(unit, tables, snapshot, output))


def seal_of(plan: Plan, units: Sequence[AccountedUnit], publication: Publication) -> Seal:
    """Make the seal of a complete run. Raises IntegrityError if its rows do not add up."""
    named = _Names(units, publication)
    quarantined = quarantined_of(plan, units)
    summaries = [unit.summary for unit in units if unit.summary]
    seal = Seal(
        format=MANIFEST_FORMAT,
        plan_id=plan.plan_id,
        publication=publication,
        rows_in=plan.rows_in,
        labelled=sum(each.labelled for each in summaries),
        rejected=_added(each.rejected for each in summaries),
        labels=_added(each.labels for each in summaries),
        tokens=sum(each.tokens for each in summaries),
        truncated=sum(each.truncated for each in summaries),
        null_ids=sum(each.null_ids for each in summaries),
        duplicate_ids=sum(each.duplicate_ids for each in summaries),
        needs_review=sum(each.needs_review for each in summaries),
        windowed=sum(each.windowed for each in summaries),
        pairs=sum(each.pairs for each in summaries),
        quarantined=quarantined,
        files=tuple(named.part(unit) for unit in units if unit.part),
        rejected_files=tuple(named.rejected(unit) for unit in units if unit.rejected),
        pair_files=tuple(named.pairs(unit) for unit in units if unit.pairs),
        replaces=(),
        inputs=tuple(InputFile(**asdict(file.pin), rows=file.rows) for file in plan.files),
        model=plan.recipe["model"],
        sources=named.sources,
    )
    if plan.rows_in != seal.labelled + seal.rejected_rows + quarantined.rows_known:
        problem = f"{seal.labelled} labelled + {seal.rejected_rows} rejected + {quarantined.rows_known} quarantined"
        raise IntegrityError(f"seal {plan.rows_in} rows", problem, "report this: rows are missing")
    return seal


class _Names:
    """Gives the files of a seal their final names, and collects the source of each new file in `sources`.

    A file that is already published under a name of its unit keeps this name.
    """

    def __init__(self, units: Sequence[AccountedUnit], publication: Publication) -> None:
        self.sources: dict[str, Staged] = {}
        self._keys = layout.source_keys(unit.unit.pin.name for unit in units)
        self._publication = publication

    def part(self, accounted: AccountedUnit) -> PublishedFile:
        assert accounted.part is not None  # noqa: S101  (for the type checker: all callers check)
        return self._named(accounted, accounted.part, "", accounted.summary)

    def rejected(self, accounted: AccountedUnit) -> PublishedFile:
        assert accounted.rejected is not None  # noqa: S101
        return self._named(accounted, accounted.rejected, layout.REJECTED, None)

    def pairs(self, accounted: AccountedUnit) -> PublishedFile:
        assert accounted.pairs is not None  # noqa: S101
        return self._named(accounted, accounted.pairs, layout.PAIRS, None)

    def _named(
        self, accounted: AccountedUnit, file: UnitFile, folder: str, summary: UnitSummary | None
    ) -> PublishedFile:
        unit = accounted.unit
        stem = folder + layout.stem(self._keys[unit.pin.name], unit.range.first_row, unit.unit_id)
        path = file.source.name
        keeps_its_name = path.startswith(f"{stem},")
        if not keeps_its_name:
            path = layout.final_name(stem, self._publication.number, self._publication.id)
            self.sources[path] = Staged(**asdict(file.source))
        return PublishedFile(
            path=path,
            unit_id=unit.unit_id,
            rows=file.rows,
            bytes=file.source.size,
            sha256=file.sha256,
            version=file.source.version if keeps_its_name else None,
            summary=summary,
        )


@dataclass(frozen=True)
class _Tables:
    """The tables of a run: whether its labels are pairs of rows, and whether it has a table of pairs in addition."""

    labels_are_pairs: bool
    with_pairs: bool

    @classmethod
    def of(cls, plan: Plan) -> _Tables:
        published = plan.recipe["expansion"]["publish"] if "expansion" in plan.recipe else None
        return cls(published == "pairs", published == "both")

    def label_rows(self, summary: UnitSummary) -> int:
        """The rows of a unit's file of labels."""
        return summary.pairs if self.labels_are_pairs else summary.labelled


def _accounted(unit: Unit, tables: _Tables, snapshot: Snapshot, output: Folder) -> AccountedUnit:
    """Find the unit's objects, published or staged. A unit with labels and a quarantine counts as labelled."""
    unit_id = unit.unit_id
    try:
        if unit_id in snapshot.intact:
            return _as_published(unit, snapshot.intact[unit_id], snapshot, output)
        if layout.staged_name(unit_id) in snapshot.pins:
            return _read_unit(unit, tables, output)
        if layout.quarantine_name(unit_id) in snapshot.pins:
            return AccountedUnit(unit, quarantine=_read_quarantine(unit, output))
    except ObjectMissingError:
        # Listed, and deleted since: by another driver that published the unit, or by a clean-up.
        return AccountedUnit(unit)
    return AccountedUnit(unit, quarantine=snapshot.published.quarantined.get(unit_id) if snapshot.published else None)


def _as_published(unit: Unit, files: Sequence[PublishedFile], snapshot: Snapshot, output: Folder) -> AccountedUnit:
    """Account for a published unit. Published files never change, so they are not read again.

    The exception are files of version 1, which get new names: their manifests have no versions to compare.
    """
    own = [_unit_file(entry, snapshot, output) for entry in files]
    if any(file is None for file in own):
        return AccountedUnit(unit, is_damaged=True)
    by_folder = {entry.path.rpartition("/")[0]: file for entry, file in zip(files, own, strict=True)}
    rejected, pairs = (by_folder.get(folder.rstrip("/")) for folder in (layout.REJECTED, layout.PAIRS))
    return AccountedUnit(unit, by_folder[""], rejected, pairs, files[0].summary)


def _unit_file(entry: PublishedFile, snapshot: Snapshot, output: Folder) -> UnitFile | None:
    if entry.version is not None:
        return UnitFile(snapshot.pins[entry.path], entry.rows, entry.sha256)
    pin, data = output.pinned_read(entry.path)
    return UnitFile(pin, entry.rows, entry.sha256) if _sha256(data) == entry.sha256 else None


def _read_unit(unit: Unit, tables: _Tables, output: Folder) -> AccountedUnit:
    """Read the unit's staged files; check that their summaries agree with each other, the rows and the plan."""
    name = layout.staged_name(unit.unit_id)
    pin, data = output.pinned_read(name)
    summary = commit.read_summary(data)
    expected = (unit.unit_id, unit.range.rows)
    if summary is None or (summary.unit_id, summary.rows_in) != expected:
        raise _foreign_object(name, output)
    rows = tables.label_rows(summary)
    if commit.row_count(data) != rows:
        raise _foreign_object(name, output)
    part, rejected, pairs = UnitFile(pin, rows, _sha256(data)), None, None
    if summary.rejected_rows:
        rejected = _beside(layout.staged_rejected_name(unit.unit_id), summary, summary.rejected_rows, output)
    if tables.with_pairs:
        pairs = _beside(layout.staged_pairs_name(unit.unit_id), summary, summary.pairs, output)
    return AccountedUnit(unit, part, rejected, pairs, summary)


def _beside(name: str, summary: UnitSummary, rows: int, output: Folder) -> UnitFile:
    """Another staged file of the unit with this summary. Raises IntegrityError for one of other rows."""
    pin, data = output.pinned_read(name)
    if not summary.describes_same_rows(commit.read_summary(data)) or commit.row_count(data) != rows:
        raise _foreign_object(name, output)
    return UnitFile(pin, rows, _sha256(data))


def _read_quarantine(unit: Unit, output: Folder) -> QuarantinedUnit:
    name = layout.quarantine_name(unit.unit_id)
    _, data = output.pinned_read(name)
    try:
        quarantine = _QUARANTINE.validate_json(data)
    except ValidationError as error:
        raise _foreign_object(name, output) from error
    if quarantine.unit_id != unit.unit_id:
        raise _foreign_object(name, output)
    return quarantine


def _foreign_object(name: str, output: Folder) -> IntegrityError:
    remedy = "move the unit's objects away and run it again"
    return IntegrityError(f"seal {output.uri_of(name)}", "it is not the unit that the plan has there", remedy)


def quarantined_of(plan: Plan, units: Sequence[AccountedUnit] = ()) -> Quarantined:
    """All that could not be read: the plan's bad files, and the quarantined ones of the `units`."""
    given_up = [unit for unit in units if unit.quarantine]
    return Quarantined(
        files=tuple(QuarantinedFile(**asdict(bad)) for bad in plan.bad),
        units=tuple(unit.quarantine for unit in units if unit.quarantine),
        rows_known=sum(bad.rows or 0 for bad in plan.bad) + sum(unit.unit.range.rows for unit in given_up),
    )


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for name, rows in count.items():
            total[name] = total.get(name, 0) + rows
    return dict(sorted(total.items()))


def _refuse_changed_inputs(plan: Plan, input_objects: InputObjects) -> None:
    """Compare the current input with the plan, unreadable files included: a mended file must be labelled."""
    uri_of = input_objects.folder.uri_of
    current = {uri_of(pin.name): (pin.size, pin.version) for pin in input_objects.pins}
    planned = {uri_of(file.pin.name): (file.pin.size, file.pin.version) for file in plan.files}
    planned |= {bad.uri: (bad.size, bad.version) for bad in plan.bad}
    for uri, pin in planned.items():
        if uri not in current:
            raise ObjectMissingError(f"seal with input {uri}", "it is gone", "put it back, then run it again")
        if current[uri] != pin:
            raise ObjectChangedError(f"seal with input {uri}", "it was changed during the run", "run it again")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
