"""The seal: the check that every row of a plan is accounted for, from what is durable.

Counts what was written, never what was meant to be written. Knows nothing of Ray.
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
from albert_infer.output.standing import Seen
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, InputObjects, ObjectPin, each

_QUARANTINE: Final = TypeAdapter(QuarantinedUnit)


@dataclass(frozen=True)
class HeldFile:
    """One finished file of a unit, and the object that has its bytes now, staged or published."""

    source: ObjectPin
    rows: int
    sha256: str


@dataclass(frozen=True)
class AccountedUnit:
    """One unit as it stands: its files and counts, or why it has none; it `is_gone` where it must be labelled again."""

    unit: Unit
    part: HeldFile | None = None
    rejected: HeldFile | None = None
    summary: UnitSummary | None = None
    quarantine: QuarantinedUnit | None = None
    # A published file of it has other bytes than its manifest says.
    is_damaged: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether its objects are damaged, or were deleted since they were listed."""
        return self.summary is None and self.quarantine is None


def account(plan: Plan, found: InputObjects, seen: Seen, output: Folder) -> list[AccountedUnit]:
    """Every unit of the plan as it stands; every object that is not published already is read back and checked.

    `found` is the input as it is by now. Raises IntegrityError for an object that is not the planned unit, and
    ObjectChangedError or ObjectMissingError if an input is not what was planned.
    """
    _refuse_changed_inputs(plan, found)
    return each(output, plan.units, lambda unit: _accounted(unit, seen, output))


def seal_of(plan: Plan, units: Sequence[AccountedUnit], publication: Publication) -> Seal:
    """The seal of a complete run. Raises IntegrityError if its rows do not add up."""
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
        quarantined=quarantined,
        files=tuple(named.part(unit) for unit in units if unit.part),
        rejected_files=tuple(named.rejected(unit) for unit in units if unit.rejected),
        replaces=(),
        inputs=tuple(InputFile(**asdict(file.pin), rows=file.rows) for file in plan.files),
        model=plan.recipe["model"],
        sources=named.sources,
    )
    if plan.rows_in != seal.labelled + seal.rejected_rows + quarantined.rows_known:
        found = f"{seal.labelled} labelled + {seal.rejected_rows} rejected + {quarantined.rows_known} quarantined"
        raise IntegrityError(f"seal {plan.rows_in} rows", found, "report this: rows are missing")
    return seal


class _Names:
    """Gives the files of a seal their final names, and notes in `sources` what each new one is copied from.

    A file that is published under its unit's own name keeps it.
    """

    def __init__(self, units: Sequence[AccountedUnit], publication: Publication) -> None:
        self.sources: dict[str, Staged] = {}
        self._keys = layout.source_keys(unit.unit.pin.name for unit in units)
        self._publication = publication

    def part(self, accounted: AccountedUnit) -> PublishedFile:
        assert accounted.part is not None  # noqa: S101  (for the type checker: the caller asks for no other)
        return self._named(accounted, accounted.part, "", accounted.summary)

    def rejected(self, accounted: AccountedUnit) -> PublishedFile:
        assert accounted.rejected is not None  # noqa: S101
        return self._named(accounted, accounted.rejected, layout.REJECTED, None)

    def _named(
        self, accounted: AccountedUnit, held: HeldFile, folder: str, summary: UnitSummary | None
    ) -> PublishedFile:
        unit = accounted.unit
        stem = folder + layout.stem(self._keys[unit.pin.name], unit.range.first_row, unit.unit_id)
        path = held.source.name
        keeps_its_name = path.startswith(f"{stem},")
        if not keeps_its_name:
            path = layout.final_name(stem, self._publication.number, self._publication.id)
            self.sources[path] = Staged(**asdict(held.source))
        return PublishedFile(
            path=path,
            unit_id=unit.unit_id,
            rows=held.rows,
            bytes=held.source.size,
            sha256=held.sha256,
            version=held.source.version if keeps_its_name else None,
            summary=summary,
        )


def _accounted(unit: Unit, seen: Seen, output: Folder) -> AccountedUnit:
    """Find where the unit stands: published, or staged. One that was given up and labelled after all is labelled."""
    unit_id = unit.unit_id
    try:
        if unit_id in seen.intact:
            return _as_published(unit, seen.intact[unit_id], seen, output)
        if layout.staged_name(unit_id) in seen.pins:
            return _read_unit(unit, output)
        if layout.quarantine_name(unit_id) in seen.pins:
            return AccountedUnit(unit, quarantine=_read_quarantine(unit, output))
    except ObjectMissingError:
        # Listed, and deleted since: by another driver that published the unit, or by a clean-up.
        return AccountedUnit(unit)
    return AccountedUnit(unit, quarantine=seen.now.quarantined.get(unit_id) if seen.now else None)


def _as_published(unit: Unit, files: Sequence[PublishedFile], seen: Seen, output: Folder) -> AccountedUnit:
    """The unit as the publication has it: published files never change, so they are not read again.

    But for those of version 1, which get new names here: their manifests tell no versions to compare.
    """
    held = [_held(entry, seen, output) for entry in files]
    if any(file is None for file in held):
        return AccountedUnit(unit, is_damaged=True)
    return AccountedUnit(unit, held[0], held[1] if len(held) > 1 else None, files[0].summary)


def _held(entry: PublishedFile, seen: Seen, output: Folder) -> HeldFile | None:
    if entry.version is not None:
        return HeldFile(seen.pins[entry.path], entry.rows, entry.sha256)
    pin, data = output.pinned_read(entry.path)
    return HeldFile(pin, entry.rows, entry.sha256) if _sha256(data) == entry.sha256 else None


def _read_unit(unit: Unit, output: Folder) -> AccountedUnit:
    """The unit's files with their checksums, and what they say they hold, agreed among them and with the plan."""
    name = layout.staged_name(unit.unit_id)
    pin, data = output.pinned_read(name)
    summary = commit.read_summary(data)
    expected = (unit.unit_id, unit.range.rows)
    if summary is None or (summary.unit_id, summary.rows_in) != expected or commit.rows_held(data) != summary.labelled:
        raise _foreign_object(name, output)
    part = HeldFile(pin, summary.labelled, _sha256(data))
    if not summary.rejected_rows:
        return AccountedUnit(unit, part, None, summary)
    name = layout.staged_rejected_name(unit.unit_id)
    pin, data = output.pinned_read(name)
    same = summary.tells_of_the_same_rows(commit.read_summary(data))
    if not same or commit.rows_held(data) != summary.rejected_rows:
        raise _foreign_object(name, output)
    return AccountedUnit(unit, part, HeldFile(pin, summary.rejected_rows, _sha256(data)), summary)


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
    """What could not be read: the files that planning found, and those of the `units` that were given up."""
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


def _refuse_changed_inputs(plan: Plan, found: InputObjects) -> None:
    """Compare what is there with what was planned, unreadable files included: a mended one is to be labelled."""
    uri_of = found.folder.uri_of
    there = {uri_of(pin.name): (pin.size, pin.version) for pin in found.pins}
    planned = {uri_of(file.pin.name): (file.pin.size, file.pin.version) for file in plan.files}
    planned |= {bad.uri: (bad.size, bad.version) for bad in plan.bad}
    for uri, pin in planned.items():
        if uri not in there:
            raise ObjectMissingError(f"seal with input {uri}", "it is gone", "put it back, then run it again")
        if there[uri] != pin:
            raise ObjectChangedError(f"seal with input {uri}", "it was changed while the run went on", "run it again")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
