"""Seal and publish: the check that every row is accounted for, and the one step that makes a run visible.

Counts what is durable, never what was meant to be written. Rolls forward: each step may be repeated after a crash at
any point. Knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from albert_infer import commit
from albert_infer.commit import UnitSummary
from albert_infer.config import LabelSettings
from albert_infer.errors import IntegrityError, LimitError, ObjectChangedError, SupersededError
from albert_infer.planning import Plan, Unit
from albert_infer.storage import Folder, ObjectPin

MANIFEST_FORMAT: Final = 1
# Reads and copies are waits on the store; each holds one unit's bytes at most.
STORE_THREADS: Final = 8

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
        return {entry["path"]: entry for entry in [*self.manifest["files"], *self.manifest["rejected_files"]]}

    @property
    def quarantined(self) -> dict[str, dict[str, Any]]:
        """Units that were published as unreadable, by id."""
        return {entry["unit_id"]: entry for entry in self.manifest["quarantined"]["units"]}


@dataclass(frozen=True)
class SealedUnit:
    """One unit as it stands: its files and counts, or why it has none."""

    unit: Unit
    files: tuple[dict[str, Any], ...] = ()
    rejected_files: tuple[dict[str, Any], ...] = ()
    summary: UnitSummary | None = None
    quarantine: dict[str, Any] | None = None


def standing(output: Folder) -> Standing | None:
    """What is published at `output`, None if nothing is. Raises IntegrityError for a `_SUCCESS` that is not ours."""
    pin = output.stat(commit.SUCCESS)
    if pin is None:
        return None
    try:
        manifest = json.loads(output.read(commit.SUCCESS))
        found = Standing(manifest, pin)
        if manifest["format"] == MANIFEST_FORMAT and found.plan_id:
            return found
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign_success(output) from error
    raise _foreign_success(output)


def _foreign_success(output: Folder) -> IntegrityError:
    uri = output.uri_of(commit.SUCCESS)
    return IntegrityError(f"read {uri}", "it is not a manifest of ours", "give another --output, or move it away")


def finished_units(plan: Plan, output: Folder, now: Standing | None) -> set[str]:
    """The units that need no labelling: their object is staged, or named by the published manifest."""
    staged = {pin.name for pin in output.objects(commit.UNITS)}
    named = now.files if now else {}
    quarantined = now.quarantined if now else {}
    return {
        unit.unit_id
        for unit in plan.units
        if commit.staged_name(unit.unit_id) in staged
        or commit.quarantine_name(unit.unit_id) in staged
        or commit.published_name(unit.unit_id) in named
        or unit.unit_id in quarantined
    }


def seal(plan: Plan, source: Folder, output: Folder, now: Standing | None, settings: LabelSettings) -> dict[str, Any]:
    """The manifest of a complete run, from what is durable, and the proof that it is complete: `sealed.json`.

    Raises IntegrityError if a unit is missing, doubled or does not add up, LimitError if a limit is not held,
    ObjectChangedError if an input is not what was planned.
    """
    _refuse_changed_inputs(plan, source)
    staged = {pin.name for pin in output.objects(commit.UNITS)}
    units = _each(plan.units, lambda unit: _sealed_unit(unit, source, output, staged, now))
    manifest = _manifest(plan, units, now)
    _refuse_lost_rows(plan, manifest)
    refuse_bad_files(manifest["quarantined"], settings.max_bad_files)
    _refuse_rejected_share(manifest, settings.max_rejected_share)
    name = f"{run_folder(plan.plan_id)}sealed.json"
    # Replaced, not put once: a plan that comes back after another one was published is sealed anew.
    if not output.replace(name, _json(manifest), output.stat(name)):
        raise SupersededError(f"seal plan {plan.plan_id}", "another driver sealed it just now", "run it again")
    return manifest


def sealed(plan: Plan, output: Folder, now: Standing | None) -> dict[str, Any] | None:
    """The manifest that an earlier start sealed for this plan against what is published now; None if there is none."""
    name = f"{run_folder(plan.plan_id)}sealed.json"
    if output.stat(name) is None:
        return None
    manifest: dict[str, Any] = json.loads(output.read(name))
    return manifest if manifest["replaces_plan"] == (now.plan_id if now else None) else None


def publish(manifest: dict[str, Any], output: Folder, now: Standing | None) -> None:
    """Make the sealed run visible: every unit under its final name, then `_SUCCESS`, then the leftovers go.

    Raises SupersededError if something else was published since `now` was read, IntegrityError if a file that was
    sealed is gone.
    """
    staged = {pin.name for pin in output.objects(commit.UNITS)}
    copies = [(name, final) for name, final in _copies(manifest) if name in staged]
    _each(copies, lambda pair: output.copy(*pair))
    _refuse_missing_files(manifest, output)
    if not output.replace(commit.SUCCESS, _json(manifest), now.pin if now else None):
        winner = standing(output)
        if winner is None or winner.plan_id != manifest["plan_id"]:
            found = f"plan {winner.plan_id if winner else 'none'} was published meanwhile"
            raise SupersededError(f"publish plan {manifest['plan_id']}", found, "look at who else writes here")
    remove_leftovers(manifest, output)


def remove_leftovers(manifest: dict[str, Any], output: Folder) -> None:
    """Delete what a published run no longer needs: its staged copies, and the files that it replaced."""
    staged = {pin.name for pin in output.objects(commit.UNITS)}
    ours = {name for name, _ in _copies(manifest)}
    ours |= {commit.quarantine_name(unit["unit_id"]) for unit in manifest["quarantined"]["units"]}
    output.delete(sorted(staged & ours) + manifest["replaces"])


def run_folder(plan_id: str) -> str:
    """Where a run keeps its plan, seal and report."""
    return f"_runs/{plan_id}/"


def _each(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    with ThreadPoolExecutor(STORE_THREADS) as threads:
        return list(threads.map(work, items))


def _refuse_missing_files(manifest: dict[str, Any], output: Folder) -> None:
    there = {pin.name: pin.size for prefix in ("part-", commit.REJECTED) for pin in output.objects(prefix)}
    for entry in [*manifest["files"], *manifest["rejected_files"]]:
        if there.get(entry["path"]) != entry["bytes"]:
            found = "it is gone, or not the file that was sealed"
            remedy = f"remove {output.uri_of(run_folder(manifest['plan_id']) + 'sealed.json')} and run it again"
            raise IntegrityError(f"publish {output.uri_of(entry['path'])}", found, remedy)


def _copies(manifest: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Staged and final name of each file of the run."""
    for entry in manifest["files"]:
        yield commit.staged_name(entry["unit_id"]), entry["path"]
    for entry in manifest["rejected_files"]:
        yield commit.staged_rejected_name(entry["unit_id"]), entry["path"]


def _sealed_unit(unit: Unit, source: Folder, output: Folder, staged: set[str], now: Standing | None) -> SealedUnit:
    """Find the one place where the unit stands, and read it."""
    unit_id = unit.unit_id
    part, quarantine = commit.staged_name(unit_id) in staged, commit.quarantine_name(unit_id) in staged
    if part and quarantine:
        found = "it is both labelled and quarantined"
        raise IntegrityError(f"seal unit {unit_id}", found, f"look at {output.uri_of(commit.quarantine_name(unit_id))}")
    if part:
        rejected = commit.staged_rejected_name(unit_id)
        return _read_unit(unit, output, commit.staged_name(unit_id), rejected)
    if quarantine:
        return SealedUnit(unit, quarantine=_read_quarantine(unit, output))
    if now and unit_id in now.quarantined:
        return SealedUnit(unit, quarantine=now.quarantined[unit_id])
    if now and commit.published_name(unit_id) in now.files:
        return _read_unit(unit, output, commit.published_name(unit_id), commit.published_rejected_name(unit_id))
    found = f"it is neither in {commit.UNITS} nor published"
    raise IntegrityError(f"seal unit {unit_id} of {source.uri_of(unit.pin.name)}", found, "run it again")


def _read_unit(unit: Unit, output: Folder, part: str, rejected: str) -> SealedUnit:
    """The unit's files with their checksums, and what they say they hold, agreed among them and with the plan."""
    data = output.read(part)
    summary = commit.read_summary(data)
    told = (unit.unit_id, unit.range.rows)
    if summary is None or (summary.unit_id, summary.rows_in) != told or commit.rows_held(data) != summary.labelled:
        raise _foreign_object(part, output)
    files = (_entry(unit, commit.published_name(unit.unit_id), data, summary.labelled),)
    if not summary.rejected_rows:
        return SealedUnit(unit, files, (), summary)
    data = output.read(rejected) if output.stat(rejected) else b""
    same = summary.tells_of_the_same_rows(commit.read_summary(data))
    if not same or commit.rows_held(data) != summary.rejected_rows:
        raise _foreign_object(rejected, output)
    name = commit.published_rejected_name(unit.unit_id)
    return SealedUnit(unit, files, (_entry(unit, name, data, summary.rejected_rows),), summary)


def _read_quarantine(unit: Unit, output: Folder) -> dict[str, Any]:
    name = commit.quarantine_name(unit.unit_id)
    try:
        told: dict[str, Any] = json.loads(output.read(name))
        if told["unit_id"] == unit.unit_id:
            return told
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign_object(name, output) from error
    raise _foreign_object(name, output)


def _foreign_object(name: str, output: Folder) -> IntegrityError:
    found = "it is missing, or not the unit that the plan has there"
    remedy = "move the unit's objects away and run it again"
    return IntegrityError(f"seal {output.uri_of(name)}", found, remedy)


def _entry(unit: Unit, path: str, data: bytes, rows: int) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"path": path, "unit_id": unit.unit_id, "rows": rows, "bytes": len(data), "sha256": digest}


def _manifest(plan: Plan, units: Sequence[SealedUnit], now: Standing | None) -> dict[str, Any]:
    files = [entry for unit in units for entry in unit.files]
    rejected_files = [entry for unit in units for entry in unit.rejected_files]
    ours = {entry["path"] for entry in [*files, *rejected_files]}
    summaries = [unit.summary for unit in units if unit.summary]
    quarantined = [unit for unit in units if unit.quarantine]
    return {
        "format": MANIFEST_FORMAT,
        "plan_id": plan.plan_id,
        "rows_in": plan.rows_in,
        "labelled": sum(summary.labelled for summary in summaries),
        "rejected": _added(summary.rejected for summary in summaries),
        "labels": _added(summary.labels for summary in summaries),
        "tokens": sum(summary.tokens for summary in summaries),
        "truncated": sum(summary.truncated for summary in summaries),
        "quarantined": {
            "files": [asdict(bad) for bad in plan.bad],
            "units": [unit.quarantine for unit in quarantined],
            "rows_known": sum(unit.unit.range.rows for unit in quarantined),
        },
        "files": files,
        "rejected_files": rejected_files,
        "replaces_plan": now.plan_id if now else None,
        "replaces": sorted(set(now.files) - ours) if now else [],
        "inputs": [{**asdict(file.pin), "rows": file.rows} for file in plan.files],
        "model": plan.recipe["model"],
    }


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for name, rows in count.items():
            total[name] = total.get(name, 0) + rows
    return dict(sorted(total.items()))


def _refuse_changed_inputs(plan: Plan, source: Folder) -> None:
    pins = [file.pin for file in plan.files]
    for pin, found in zip(pins, _each(pins, lambda pin: source.stat(pin.name)), strict=True):
        if found != pin:
            state = "it is gone" if found is None else "it was changed while the run went on"
            raise ObjectChangedError(f"seal with input {source.uri_of(pin.name)}", state, "run it again")


def _refuse_lost_rows(plan: Plan, manifest: dict[str, Any]) -> None:
    rejected, quarantined = sum(manifest["rejected"].values()), manifest["quarantined"]["rows_known"]
    if plan.rows_in != manifest["labelled"] + rejected + quarantined:
        found = f"{manifest['labelled']} labelled + {rejected} rejected + {quarantined} quarantined"
        raise IntegrityError(f"seal {plan.rows_in} rows", found, "report this: rows are missing")


def refuse_bad_files(quarantined: dict[str, Any], max_bad_files: int) -> None:
    """Raises LimitError if more files are unreadable, whole or in part, than the operator accepts."""
    entries = {entry.get("name", entry.get("uri")): entry for entry in quarantined["files"] + quarantined["units"]}
    if len(entries) > max_bad_files:
        name, first = next(iter(entries.items()))
        found = f"{len(entries)} files are unreadable, first {name}: {first['reason']} ({first['detail']})"
        raise LimitError(f"--max-bad-files {max_bad_files}", found, "mend or remove them, or raise --max-bad-files")


def _refuse_rejected_share(manifest: dict[str, Any], max_rejected_share: float) -> None:
    rejected = sum(manifest["rejected"].values())
    if rejected > max_rejected_share * manifest["rows_in"]:
        found = f"{rejected} of {manifest['rows_in']} rows have no label {manifest['rejected']}"
        remedy = "look at the report, mend the input, or raise --max-rejected-share"
        raise LimitError(f"--max-rejected-share {max_rejected_share}", found, remedy)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
