"""The seal: the check that every row of a plan is accounted for, from what is durable.

Counts what was written, never what was meant to be written. Knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from albert_infer import commit
from albert_infer.commit import UnitSummary
from albert_infer.config import LabelSettings
from albert_infer.errors import IntegrityError, LimitError, ObjectChangedError, ObjectMissingError, SupersededError
from albert_infer.planning import Plan, Unit
from albert_infer.publish import (
    MANIFEST_FORMAT,
    Standing,
    each,
    missing_files,
    names,
    read_manifest,
    run_folder,
    to_json,
)
from albert_infer.storage import Folder, InputObjects


@dataclass(frozen=True)
class AccountedUnit:
    """One unit as it stands: its files and counts, or why it has none."""

    unit: Unit
    files: tuple[dict[str, Any], ...] = ()
    rejected_files: tuple[dict[str, Any], ...] = ()
    summary: UnitSummary | None = None
    quarantine: dict[str, Any] | None = None


def sealed(plan: Plan, output: Folder) -> dict[str, Any] | None:
    """The manifest that an earlier start sealed for this plan; None if there is none, or if its files are gone.

    They go when another plan is published after it: then this one is labelled and sealed anew.
    """
    name = _sealed_name(plan.plan_id)
    if output.stat(name) is None:
        return None
    manifest = read_manifest(output, name)
    return None if missing_files(manifest, output) else manifest


def account(plan: Plan, found: InputObjects, output: Folder, now: Standing | None) -> dict[str, Any]:
    """The manifest of a complete run. Every object that is not published already is read back and checked.

    `found` is the input as it is by now. Raises IntegrityError if a unit is missing, doubled or does not add up,
    ObjectChangedError if an input is not what was planned.
    """
    source = found.folder
    _refuse_changed_inputs(plan, found)
    staged = names(output, commit.UNITS)
    units = each(plan.units, lambda unit: _accounted(unit, source, output, staged, now))
    manifest = _manifest(plan, units)
    rejected, quarantined = sum(manifest["rejected"].values()), manifest["quarantined"]["rows_known"]
    if plan.rows_in != manifest["labelled"] + rejected + quarantined:
        told = f"{manifest['labelled']} labelled + {rejected} rejected + {quarantined} quarantined"
        raise IntegrityError(f"seal {plan.rows_in} rows", told, "report this: rows are missing")
    return manifest


def seal(manifest: dict[str, Any], output: Folder, settings: LabelSettings) -> None:
    """Write `sealed.json`, if the limits are held; else raise LimitError."""
    refuse_bad_files(manifest["quarantined"], settings.max_bad_files)
    rejected = sum(manifest["rejected"].values())
    if rejected > settings.max_rejected_share * manifest["rows_in"]:
        found = f"{rejected} of {manifest['rows_in']} rows have no label {manifest['rejected']}"
        remedy = "look at _units/*.rejected.parquet, mend the input, or raise --max-rejected-share"
        raise LimitError(f"--max-rejected-share {settings.max_rejected_share}", found, remedy)
    name = _sealed_name(manifest["plan_id"])
    # Swapped, not put once: a plan that comes back after another one was published is sealed anew.
    if not output.replace(name, to_json(manifest), output.stat(name)):
        found = "another driver sealed it just now"
        raise SupersededError(f"seal plan {manifest['plan_id']}", found, "let it finish, then run this again")


def refuse_too_many_rows(rows_in: int, max_rows: int | None) -> None:
    """Raises LimitError if the plan has more rows than the operator wants to pay for."""
    if max_rows is not None and rows_in > max_rows:
        found = f"the input has {rows_in} rows"
        raise LimitError(
            f"--max-rows {max_rows}", found, "look for files that should not be there, or raise --max-rows"
        )


def refuse_bad_files(quarantined: dict[str, Any], max_bad_files: int) -> None:
    """Raises LimitError if more files are unreadable, whole or in part, than the operator accepts."""
    entries = {entry["uri"]: entry for entry in quarantined["files"] + quarantined["units"]}
    if len(entries) > max_bad_files:
        uri, first = next(iter(entries.items()))
        found = f"{len(entries)} files are unreadable, first {uri}: {first['reason']} ({first['detail']})"
        raise LimitError(f"--max-bad-files {max_bad_files}", found, "mend or remove them, or raise --max-bad-files")


def _sealed_name(plan_id: str) -> str:
    return f"{run_folder(plan_id)}sealed.json"


def _accounted(unit: Unit, source: Folder, output: Folder, staged: set[str], now: Standing | None) -> AccountedUnit:
    """Find where the unit stands: published, or staged. One that was given up and labelled after all is labelled."""
    unit_id = unit.unit_id
    if now and commit.published_name(unit_id) in now.files:
        return _as_published(unit, now)
    if commit.staged_name(unit_id) in staged:
        return _read_unit(unit, output)
    if commit.quarantine_name(unit_id) in staged:
        return AccountedUnit(unit, quarantine=_read_quarantine(unit, output))
    if now and unit_id in now.quarantined:
        return AccountedUnit(unit, quarantine=now.quarantined[unit_id])
    found = f"it is neither in {commit.UNITS} nor published"
    raise IntegrityError(f"seal unit {unit_id} of {source.uri_of(unit.pin.name)}", found, "run it again")


def _as_published(unit: Unit, now: Standing) -> AccountedUnit:
    """The unit as the standing manifest has it: published files never change, so they are not read again."""
    part = now.files[commit.published_name(unit.unit_id)]
    rejected = now.files.get(commit.published_rejected_name(unit.unit_id))
    return AccountedUnit(unit, (part,), (rejected,) if rejected else (), UnitSummary(**part["summary"]))


def _read_unit(unit: Unit, output: Folder) -> AccountedUnit:
    """The unit's files with their checksums, and what they say they hold, agreed among them and with the plan."""
    name = commit.staged_name(unit.unit_id)
    data = output.read(name)
    summary = commit.read_summary(data)
    told = (unit.unit_id, unit.range.rows)
    if summary is None or (summary.unit_id, summary.rows_in) != told or commit.rows_held(data) != summary.labelled:
        raise _foreign_object(name, output)
    part = {**_entry(commit.published_name(unit.unit_id), data, summary, summary.labelled), "summary": asdict(summary)}
    if not summary.rejected_rows:
        return AccountedUnit(unit, (part,), (), summary)
    name = commit.staged_rejected_name(unit.unit_id)
    data = output.read(name) if output.stat(name) else b""
    same = summary.tells_of_the_same_rows(commit.read_summary(data))
    if not same or commit.rows_held(data) != summary.rejected_rows:
        raise _foreign_object(name, output)
    rejected = _entry(commit.published_rejected_name(unit.unit_id), data, summary, summary.rejected_rows)
    return AccountedUnit(unit, (part,), (rejected,), summary)


def _entry(path: str, data: bytes, summary: UnitSummary, rows: int) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"path": path, "unit_id": summary.unit_id, "rows": rows, "bytes": len(data), "sha256": digest}


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


def _manifest(plan: Plan, units: Sequence[AccountedUnit]) -> dict[str, Any]:
    summaries = [unit.summary for unit in units if unit.summary]
    quarantined = [unit for unit in units if unit.quarantine]
    rows_unread = sum(unit.unit.range.rows for unit in quarantined)
    return {
        "format": MANIFEST_FORMAT,
        "plan_id": plan.plan_id,
        "rows_in": plan.rows_in,
        "labelled": sum(summary.labelled for summary in summaries),
        "rejected": _added(summary.rejected for summary in summaries),
        "labels": _added(summary.labels for summary in summaries),
        "tokens": sum(summary.tokens for summary in summaries),
        "truncated": sum(summary.truncated for summary in summaries),
        "null_ids": sum(summary.null_ids for summary in summaries),
        "duplicate_ids": sum(summary.duplicate_ids for summary in summaries),
        "needs_review": sum(summary.needs_review for summary in summaries),
        "windowed": sum(summary.windowed for summary in summaries),
        "quarantined": {**plan.quarantined, "units": [unit.quarantine for unit in quarantined]}
        | {"rows_known": plan.quarantined["rows_known"] + rows_unread},
        "files": [entry for unit in units for entry in unit.files],
        "rejected_files": [entry for unit in units for entry in unit.rejected_files],
        "replaces": [],
        "inputs": [{**asdict(file.pin), "rows": file.rows} for file in plan.files],
        "model": plan.recipe["model"],
    }


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
