"""Inspects an output: its objects, and the state of a plan there (published, sealed, to be labelled, or superseded).

This module writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from albert_infer.common import failpoints
from albert_infer.errors import InfrastructureError, IntegrityError, ObjectMissingError
from albert_infer.output import layout, manifest
from albert_infer.output.layout import FinalName
from albert_infer.output.manifest import PublishedFile, PublishedRun, Seal
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, ObjectPin, StoredObject, each

# A look is repeated if another driver publishes during it. This many publications in a row are no accident.
MAX_LOOKS: Final = 10


@dataclass(frozen=True)
class Snapshot:
    """The content of an output at one moment: the published run, and every object by its name.

    `damaged` are the published units with a file that is gone or has other bytes. `checked_pins` are pins of published
    files for which the listing was wrong.
    """

    published: PublishedRun | None
    stored: Mapping[str, StoredObject]
    damaged: frozenset[str] = frozenset()
    checked_pins: Mapping[str, ObjectPin] = field(default_factory=dict)

    def with_damaged(self, units: frozenset[str]) -> Snapshot:
        """A copy in which these units are damaged too."""
        return self if units <= self.damaged else replace(self, damaged=self.damaged | units)

    @cached_property
    def pins(self) -> Mapping[str, ObjectPin]:
        """The pin of every object."""
        return {**{name: entry.pin for name, entry in self.stored.items()}, **self.checked_pins}

    @cached_property
    def unnamed(self) -> dict[str, FinalName]:
        """Every file with a final name that the published manifest does not name."""
        named = self.published.files if self.published else {}
        parsed = ((name, layout.parsed_final(name)) for name in self.pins if name not in named)
        return {name: final for name, final in parsed if final is not None}

    @cached_property
    def dead(self) -> list[str]:
        """Files that no manifest names or will ever name; they may be deleted at any time.

        A manifest names files of its base, and new files with its own number. So no later manifest names a file that
        is unnamed now and whose number is not above the published one.
        """
        number = self.published.number if self.published else -1
        return sorted(name for name, final in self.unnamed.items() if final.number <= number)

    @cached_property
    def staged(self) -> Set[str]:
        """Units with staged labels."""
        return self._staged_as(layout.staged_name)

    @cached_property
    def given_up(self) -> Set[str]:
        """Units that could not be read, in the staged objects or in the published run."""
        return self._staged_as(layout.quarantine_name) | (
            self.published.quarantined.keys() if self.published else set()
        )

    def _staged_as(self, name_of: Callable[[str], str]) -> Set[str]:
        matches = (layout.STAGED.fullmatch(name) for name in self.pins)
        return {match["unit"] for match in matches if match and name_of(match["unit"]) == match[0]}

    @cached_property
    def is_unsealed(self) -> bool:
        """Whether nothing is published and no run is sealed: then no plan is ready to be published."""
        return self.published is None and not any(map(layout.is_seal, self.pins))

    @cached_property
    def intact(self) -> Mapping[str, list[PublishedFile]]:
        """The files of each published unit without damage."""
        units = self.published.units if self.published else {}
        return {unit_id: files for unit_id, files in units.items() if unit_id not in self.damaged}

    @cached_property
    def listed_whole(self) -> Set[str]:
        """Published units whose files are listed with their published versions. The others may be damaged."""
        units = self.published.units.items() if self.published else ()
        return {
            unit_id
            for unit_id, files in units
            if all(_is_as_published(entry, self.stored.get(entry.path)) for entry in files)
        }


@dataclass(frozen=True)
class Published:
    """The plan is published, and all its files are there."""

    published: PublishedRun


@dataclass(frozen=True)
class Superseded:
    """Another plan is published, and this start may not replace it."""

    published: PublishedRun


@dataclass(frozen=True)
class Sealed:
    """The plan has a seal on the base of the published run, and every source of the seal is there."""

    seal: Seal


@dataclass(frozen=True)
class ToLabel:
    """The plan is not sealed. `missing` units have no labels; `done` is the number of units with labels."""

    missing: tuple[Unit, ...]
    done: int


State = Published | Superseded | Sealed | ToLabel


def look(output: Folder) -> Snapshot:
    """Take a snapshot of the output. Raises IntegrityError for a foreign `_SUCCESS`."""
    for _ in range(MAX_LOOKS):
        published = manifest.published_at(output)
        stored = {entry.name: entry for entry in output.stored()}
        failpoints.reach("looked")
        named = published.manifest.all_files if published else ()
        suspects = [entry for entry in named if not _is_as_published(entry, stored.get(entry.path))]
        pins = each(output, suspects, lambda entry: _intact_pin(entry, output))
        damaged = frozenset(entry.unit_id for entry, pin in zip(suspects, pins, strict=True) if not pin)
        # Files also go missing when another driver publishes between the two requests.
        if not damaged or (published and output.stat(layout.SUCCESS) == published.pin):
            return Snapshot(published, stored, damaged, {pin.name: pin for pin in pins if pin})
    problem, remedy = f"something else was published during each of {MAX_LOOKS} looks", "look at who writes here"
    raise InfrastructureError(f"look at {output.uri}", problem, remedy)


def state_of(
    plan: Plan, snapshot: Snapshot, output: Folder, *, may_replace: Set[str], retry_quarantined: bool, again: Set[str]
) -> State:
    """The state of the plan. `may_replace` are the plans that this start may replace.

    With `retry_quarantined`, units that could not be read count as missing. Units in `again` always do. Raises
    IntegrityError for a foreign seal.
    """
    published = snapshot.published
    if published and published.plan_id == plan.plan_id:
        quarantined = published.quarantined.keys()
        to_retry = quarantined if retry_quarantined else quarantined & snapshot.staged
        if not (snapshot.damaged or to_retry):
            return Published(published)
    elif published and published.plan_id not in may_replace:
        return Superseded(published)
    seal = _usable_seal(plan, snapshot, output)
    if seal and not again and not (retry_quarantined and seal.quarantined.units):
        return Sealed(seal)
    done = snapshot.intact.keys() | snapshot.staged | (set() if retry_quarantined else snapshot.given_up)
    done -= again - snapshot.intact.keys()
    missing = tuple(unit for unit in plan.units if unit.unit_id not in done)
    return ToLabel(missing, done=len(plan.units) - len(missing))


def has_dead_run(output: Folder) -> bool:
    """Whether a start stored its plan and was killed: no start of that plan wrote a report or labelled all units."""
    names = {entry.name for entry in output.stored(layout.RUNS)}
    plans = filter(None, map(layout.plan_of, names))
    return any(names.isdisjoint({layout.sealed_name(plan), layout.report_name(plan)}) for plan in plans)


def refuse_foreign_files(snapshot: Snapshot, output: Folder) -> None:
    """Raises IntegrityError if readers of the output would see a file that no run of ours made."""
    for name in sorted(snapshot.pins):
        if not layout.is_hidden(name) and layout.parsed_final(name) is None:
            problem = f"no run made {name}, and readers would take it for labels"
            raise IntegrityError(f"label into {output.uri}", problem, "move it away")


def uses_earlier_objects(plan: Plan, snapshot: Snapshot) -> bool:
    """Whether this start can use objects of earlier starts, of this plan or of others."""
    folder = layout.run_folder(plan.plan_id)
    units = {unit.unit_id for unit in plan.units}
    has_run_folder = any(name.startswith(folder) for name in snapshot.pins)
    return has_run_folder or not units.isdisjoint(snapshot.staged | snapshot.given_up)


def _usable_seal(plan: Plan, snapshot: Snapshot, output: Folder) -> Seal | None:
    """The seal of an earlier start, if its base is the published run and all its sources are there."""
    name = layout.sealed_name(plan.plan_id)
    if name not in snapshot.pins:
        return None
    try:
        seal = manifest.parsed(output.read(name), Seal, output.uri_of(name))
    except ObjectMissingError:
        return None
    base = snapshot.published.id if snapshot.published else None
    if not seal.publication.id or seal.plan_id != plan.plan_id or seal.publication.base != base:
        return None
    intact = {entry.path for files in snapshot.intact.values() for entry in files}
    for entry in seal.all_files:
        source = seal.sources.get(entry.path)
        if source is None:
            usable = entry.path in intact
        else:
            usable = snapshot.pins.get(source.name) == source.pin or is_copied(snapshot, entry, source.pin)
        if not usable:
            return None
    return seal


def is_copied(snapshot: Snapshot, entry: PublishedFile, source: ObjectPin) -> bool:
    """Whether the file exists under its final name with the bytes of `source`."""
    pin = snapshot.pins.get(entry.path)
    return pin is not None and (pin.size, pin.version) == (source.size, source.version)


def _is_as_published(entry: PublishedFile, stored: StoredObject | None) -> bool:
    return stored is not None and _has_its_pin(entry, stored.pin)


def _has_its_pin(entry: PublishedFile, pin: ObjectPin) -> bool:
    # Manifests of version 1 have no versions: only the size is compared.
    return pin.size == entry.bytes and entry.version in (None, pin.version)


def _intact_pin(entry: PublishedFile, output: Folder) -> ObjectPin | None:
    """Check a file that is listed otherwise: listings lag, and a copied output has the same bytes in other versions."""
    pin = output.stat(entry.path)
    if pin is None or pin.size != entry.bytes:
        return None
    if _has_its_pin(entry, pin):
        return pin
    try:
        pin, data = output.pinned_read(entry.path)
    except ObjectMissingError:
        return None
    return pin if hashlib.sha256(data).hexdigest() == entry.sha256 else None
