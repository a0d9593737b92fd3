"""What lies at an output, and where a plan stands there: published, sealed, still to be labelled, or superseded.

Looks only; nothing is written here.
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
from albert_infer.output.manifest import PublishedFile, Seal, Standing
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, ObjectPin, StoredObject, each

# A look is repeated while other drivers publish during it; so many publications within one look are no accident.
MAX_LOOKS: Final = 10


@dataclass(frozen=True)
class Seen:
    """What one look found at an output: the publication, and every object by its name.

    `damaged` are units that the publication names and of which a file is gone or has other bytes. `closer` are pins of
    published files that the listing did not show as they are.
    """

    now: Standing | None
    stored: Mapping[str, StoredObject]
    damaged: frozenset[str] = frozenset()
    closer: Mapping[str, ObjectPin] = field(default_factory=dict)

    def with_damaged(self, units: frozenset[str]) -> Seen:
        """The same, with these units damaged too."""
        return self if units <= self.damaged else replace(self, damaged=self.damaged | units)

    @cached_property
    def pins(self) -> Mapping[str, ObjectPin]:
        """The pin of every object."""
        return {**{name: entry.pin for name, entry in self.stored.items()}, **self.closer}

    @cached_property
    def unnamed(self) -> dict[str, FinalName]:
        """Every file under a final name that the publication does not name."""
        named = self.now.files if self.now else {}
        parsed = ((name, layout.parsed_final(name)) for name in self.pins if name not in named)
        return {name: final for name, final in parsed if final is not None}

    @cached_property
    def dead(self) -> list[str]:
        """Files that no publication names, or will ever name, whatever happens from now on.

        A publication takes over files of the one before it and adds files with its own number. So a file whose number
        has been reached and that is not named now is never named again, and may be deleted at any time.
        """
        number = self.now.number if self.now else -1
        return sorted(name for name, final in self.unnamed.items() if final.number <= number)

    @cached_property
    def staged(self) -> Set[str]:
        """Units whose labels wait to be published."""
        return self._staged_as(layout.staged_name)

    @cached_property
    def given_up(self) -> Set[str]:
        """Units that could not be read, published or not."""
        return self._staged_as(layout.quarantine_name) | (self.now.quarantined.keys() if self.now else set())

    def _staged_as(self, name_of: Callable[[str], str]) -> Set[str]:
        found = (layout.STAGED.fullmatch(name) for name in self.pins)
        return {match["unit"] for match in found if match and name_of(match["unit"]) == match[0]}

    @cached_property
    def is_unsealed(self) -> bool:
        """Whether nothing is published and no run is sealed: then every plan is still to be labelled or checked."""
        return self.now is None and not any(map(layout.is_seal, self.pins))

    @cached_property
    def intact(self) -> Mapping[str, list[PublishedFile]]:
        """The files of each published unit that is whole."""
        units = self.now.units if self.now else {}
        return {unit_id: files for unit_id, files in units.items() if unit_id not in self.damaged}

    @cached_property
    def listed_whole(self) -> Set[str]:
        """Published units whose files are listed as they were published. The others may be damaged."""
        units = self.now.units.items() if self.now else ()
        return {
            unit_id
            for unit_id, files in units
            if all(_is_as_published(entry, self.stored.get(entry.path)) for entry in files)
        }


@dataclass(frozen=True)
class Published:
    """The plan is published, and all its files are there."""

    now: Standing


@dataclass(frozen=True)
class Superseded:
    """Another plan is published, and this start may not replace it."""

    now: Standing


@dataclass(frozen=True)
class Sealed:
    """Every row is accounted for, on the base of what is published now, and every file of the seal is there."""

    seal: Seal


@dataclass(frozen=True)
class ToLabel:
    """Not sealed; `missing` units have no labels yet, the `done` ones have."""

    missing: tuple[Unit, ...]
    done: int


State = Published | Superseded | Sealed | ToLabel


def look(output: Folder) -> Seen:
    """What lies at the output. Raises IntegrityError for a `_SUCCESS` that is not ours."""
    for _ in range(MAX_LOOKS):
        now = manifest.published_at(output)
        stored = {entry.name: entry for entry in output.stored()}
        failpoints.reach("looked")
        named = now.manifest.all_files if now else ()
        suspects = [entry for entry in named if not _is_as_published(entry, stored.get(entry.path))]
        pins = each(output, suspects, lambda entry: _intact_pin(entry, output))
        damaged = frozenset(entry.unit_id for entry, pin in zip(suspects, pins, strict=True) if not pin)
        # Files also go missing when another driver publishes between the two requests.
        if not damaged or (now and output.stat(layout.SUCCESS) == now.pin):
            return Seen(now, stored, damaged, {pin.name: pin for pin in pins if pin})
    found, remedy = f"something else was published during each of {MAX_LOOKS} looks", "look at who writes here"
    raise InfrastructureError(f"look at {output.uri}", found, remedy)


def state_of(
    plan: Plan, seen: Seen, output: Folder, *, may_replace: Set[str], retry_quarantined: bool, again: Set[str]
) -> State:
    """Where the plan stands. `may_replace` are the plans that this start may publish over.

    With `retry_quarantined` a unit that could not be read is to be labelled; units named in `again` are so anyway.
    Raises IntegrityError for a seal that is not ours.
    """
    now = seen.now
    if now and now.plan_id == plan.plan_id:
        to_retry = now.quarantined.keys() & (now.quarantined.keys() if retry_quarantined else seen.staged)
        if not (seen.damaged or to_retry):
            return Published(now)
    elif now and now.plan_id not in may_replace:
        return Superseded(now)
    seal = _usable_seal(plan, seen, output)
    if seal and not again and not (retry_quarantined and seal.quarantined.units):
        return Sealed(seal)
    done = seen.intact.keys() | seen.staged | (set() if retry_quarantined else seen.given_up)
    done -= again - seen.intact.keys()
    missing = tuple(unit for unit in plan.units if unit.unit_id not in done)
    return ToLabel(missing, done=len(plan.units) - len(missing))


def refuse_foreign_files(seen: Seen, output: Folder) -> None:
    """Raises IntegrityError if readers of the output would see a file that no run of ours made."""
    for name in sorted(seen.pins):
        if not layout.is_hidden(name) and layout.parsed_final(name) is None:
            found = "readers would take it for labels, and no run of ours made it"
            raise IntegrityError(f"label into {output.uri}", f"{name} is there: {found}", "move it away")


def counts_on_earlier_starts(plan: Plan, seen: Seen) -> bool:
    """Whether objects of earlier starts, of this plan or of others, would serve this one."""
    folder = layout.run_folder(plan.plan_id)
    mine = {unit.unit_id for unit in plan.units}
    began = any(name.startswith(folder) for name in seen.pins)
    return began or not mine.isdisjoint(seen.staged | seen.given_up)


def _usable_seal(plan: Plan, seen: Seen, output: Folder) -> Seal | None:
    """The seal of an earlier start, if it is for the base that is published now and all its files are there."""
    name = layout.sealed_name(plan.plan_id)
    if name not in seen.pins:
        return None
    try:
        seal = manifest.parsed(output.read(name), Seal, output.uri_of(name))
    except ObjectMissingError:
        return None
    base = seen.now.id if seen.now else None
    if not seal.publication.id or seal.plan_id != plan.plan_id or seal.publication.base != base:
        return None
    kept = {entry.path for files in seen.intact.values() for entry in files}
    for entry in seal.all_files:
        source = seal.sources.get(entry.path)
        if source is None:
            usable = entry.path in kept
        else:
            usable = seen.pins.get(source.name) == source.pin or is_copied(seen, entry, source.pin)
        if not usable:
            return None
    return seal


def is_copied(seen: Seen, entry: PublishedFile, source: ObjectPin) -> bool:
    """Whether the file has its final name already, with the bytes of `source`."""
    pin = seen.pins.get(entry.path)
    return pin is not None and (pin.size, pin.version) == (source.size, source.version)


def _is_as_published(entry: PublishedFile, found: StoredObject | None) -> bool:
    return found is not None and _has_its_pin(entry, found.pin)


def _has_its_pin(entry: PublishedFile, pin: ObjectPin) -> bool:
    # Manifests of version 1 have no versions: their files are held against the size alone.
    return pin.size == entry.bytes and entry.version in (None, pin.version)


def _intact_pin(entry: PublishedFile, output: Folder) -> ObjectPin | None:
    """Look closer: a listing may be behind, and in a copy of the output the same bytes have other versions."""
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
