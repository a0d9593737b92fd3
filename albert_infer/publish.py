"""What is published at an output, and the one step that makes a sealed run visible.

Rolls forward: each step may be repeated after a crash at any point. Knows nothing of Ray.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from albert_infer import commit, failpoints
from albert_infer.errors import IntegrityError, SupersededError
from albert_infer.planning import Plan
from albert_infer.storage import AccessError, Folder, ObjectPin

MANIFEST_FORMAT: Final = 1
# Reads and copies are waits on the store; each holds one unit's bytes at most.
STORE_THREADS: Final = 8
# The names of `commit.published_name` and `commit.published_rejected_name`.
_PUBLISHED: Final = re.compile(r"(_rejected/)?part-[0-9a-f]{16}\.parquet")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Standing:
    """What is published at the output now: the manifest, and the pin to compare with when it is replaced."""

    manifest: dict[str, Any]
    pin: ObjectPin

    @property
    def plan_id(self) -> str:
        """The plan that is published."""
        return str(self.manifest["plan_id"])

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Every file that readers are told of, by its name below the output."""
        return {entry["path"]: entry for entry in _entries(self.manifest)}

    @property
    def quarantined(self) -> dict[str, dict[str, Any]]:
        """Units that were published as unreadable, by id."""
        return {entry["unit_id"]: entry for entry in self.manifest["quarantined"]["units"]}


def standing(output: Folder) -> Standing | None:
    """What is published at `output`, None if nothing is. Raises IntegrityError for a `_SUCCESS` that is not ours."""
    pin = output.stat(commit.SUCCESS)
    if pin is None:
        return None
    return Standing(read_manifest(output, commit.SUCCESS), pin)


def read_manifest(output: Folder, name: str) -> dict[str, Any]:
    """The manifest that stands under `name`. Raises IntegrityError if it is not one of ours."""
    try:
        manifest: dict[str, Any] = json.loads(output.read(name))
        whole = manifest["format"] == MANIFEST_FORMAT and manifest["plan_id"] and isinstance(_entries(manifest), list)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        found = "it is not a manifest of ours"
        raise IntegrityError(f"read {output.uri_of(name)}", found, "give another --output, or move it away")
    return manifest


@dataclass(frozen=True)
class Finished:
    """Ids of the units of a plan that are done, by how they ended; each unit is in one of them at most."""

    labelled: frozenset[str]
    quarantined: frozenset[str]

    @property
    def units(self) -> frozenset[str]:
        """All of them."""
        return self.labelled | self.quarantined


def finished_units(plan: Plan, output: Folder, now: Standing | None) -> Finished:
    """The units whose object is staged, or named by the published manifest. Labels count more than a quarantine."""
    staged = names(output, commit.UNITS)
    named = now.files if now else {}
    unreadable = now.quarantined if now else {}
    ids = [unit.unit_id for unit in plan.units]
    labelled = frozenset(
        unit for unit in ids if commit.staged_name(unit) in staged or commit.published_name(unit) in named
    )
    quarantined = {unit for unit in ids if commit.quarantine_name(unit) in staged or unit in unreadable}
    return Finished(labelled, frozenset(quarantined - labelled))


def refuse_foreign_files(output: Folder) -> None:
    """Raises IntegrityError if readers of the output would see a file that no run of ours made."""
    for pin in output.objects():
        hidden = any(segment.startswith(("_", ".")) for segment in pin.name.split("/"))
        if not hidden and not _PUBLISHED.fullmatch(pin.name):
            found = "readers would take it for labels, and no run of ours made it"
            raise IntegrityError(f"label into {output.uri}", f"{pin.name} is there: {found}", "move it away")


def publish(manifest: dict[str, Any], output: Folder, now: Standing | None) -> int:
    """Make the sealed run visible: every unit under its final name, then `_SUCCESS`, then the leftovers go.

    Files that `now` names stay as they are. Returns how many leftovers could not be deleted. Raises SupersededError
    if something else was published since `now` was read, IntegrityError if a file that was sealed is gone.
    """
    _copy_missing(manifest, output)
    failpoints.reach("files_published")
    ours = {entry["path"] for entry in _entries(manifest)}
    # From what stands, not from an older manifest alone: a run that was killed while it published is named by none.
    manifest = {**manifest, "replaces": sorted(_published(output).keys() - ours)}
    if not output.replace(commit.SUCCESS, to_json(manifest), now.pin if now else None):
        winner = standing(output)
        if winner is None or winner.plan_id != manifest["plan_id"]:
            found = f"plan {winner.plan_id if winner else 'none'} was published meanwhile"
            raise SupersededError(f"publish plan {manifest['plan_id']}", found, "look at who else writes here")
    failpoints.reach("success_put")
    # Once more: a driver that had just published another plan may have tidied our files away before the swap.
    _copy_missing(manifest, output)
    return remove_leftovers(output, manifest["plan_id"])


def remove_leftovers(output: Folder, plan_id: str) -> int:
    """Delete what the published run no longer needs: its staged copies, and the files that it replaced.

    Does nothing unless `plan_id` is what is published at this moment. Without the right to delete they stay, harmless,
    for whoever has it. Returns how many stay.
    """
    now = standing(output)
    if now is None or now.plan_id != plan_id:
        return 0
    ours = {name for name, _ in _copies(now.manifest)}
    # Of every unit: one that was given up and labelled later has both.
    ours |= {commit.quarantine_name(entry["unit_id"]) for entry in now.manifest["files"]}
    ours |= {commit.quarantine_name(unit_id) for unit_id in now.quarantined}
    replaced = _published(output).keys() & set(now.manifest["replaces"])
    leftovers = sorted(names(output, commit.UNITS) & ours) + sorted(replaced)
    try:
        output.delete(leftovers)
    except AccessError:
        return len(leftovers)
    return 0


def mark_begun(plan_id: str, output: Folder) -> None:
    """Write that another start of the run has begun, so that no clean-up takes what older ones left for forsaken.

    Comes before the start counts on any of it; of two starts at once either mark will do. A first start leaves none: it
    counts on nothing, and writes nothing before the checkpoint is checked.
    """
    if not output.objects(run_folder(plan_id)):
        return
    name = f"{run_folder(plan_id)}begun.json"
    output.replace(name, to_json({"begun": datetime.now(UTC).isoformat()}), output.stat(name))


def missing_files(manifest: dict[str, Any], output: Folder) -> list[str]:
    """The manifest's files that are neither staged nor under their final name."""
    there, staged = _published(output), names(output, commit.UNITS)
    return [
        entry["path"]
        for entry, (name, final) in zip(_entries(manifest), _copies(manifest), strict=True)
        if there.get(final) != entry["bytes"] and name not in staged
    ]


def run_folder(plan_id: str) -> str:
    """Where a run keeps its plan, seal and report."""
    return f"_runs/{plan_id}/"


def names(output: Folder, prefix: str) -> set[str]:
    """The names of all objects that begin with `prefix`."""
    return {pin.name for pin in output.objects(prefix)}


def to_json(value: Any) -> bytes:
    """A manifest as it is stored."""
    return json.dumps(value, indent=1, sort_keys=True).encode()


def each(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """The result of `work` for each item, in order; several at a time, since they wait on the store."""
    with ThreadPoolExecutor(STORE_THREADS) as threads:
        return list(threads.map(work, items))


def _copy_missing(manifest: dict[str, Any], output: Folder) -> None:
    """Give every staged file its final name, unless it stands there already: published files never change."""
    there = _published(output)
    entries = zip(_entries(manifest), _copies(manifest), strict=True)
    copies = [copy for entry, copy in entries if there.get(entry["path"]) != entry["bytes"]]
    staged = names(output, commit.UNITS) if copies else set()
    for name, final in copies:
        if name not in staged:
            found = f"neither it nor {name} is there"
            raise IntegrityError(f"publish {output.uri_of(final)}", found, "run it again: it is labelled anew")
    each(copies, lambda copy: _copy(output, *copy))


def _copy(output: Folder, staged: str, final: str) -> None:
    output.copy(staged, final)
    failpoints.reach("file_published", final)


def _published(output: Folder) -> dict[str, int]:
    """The files under final names, and their bytes, whoever put them there."""
    pins = [*output.objects("part-"), *output.objects(commit.REJECTED)]
    return {pin.name: pin.size for pin in pins if _PUBLISHED.fullmatch(pin.name)}


def _entries(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [*manifest["files"], *manifest["rejected_files"]]


def _copies(manifest: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Staged and final name of each file of the run, as `_entries` has them."""
    for entry in manifest["files"]:
        yield commit.staged_name(entry["unit_id"]), entry["path"]
    for entry in manifest["rejected_files"]:
        yield commit.staged_rejected_name(entry["unit_id"]), entry["path"]
