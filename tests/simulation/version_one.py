"""An output as version 1 of the protocol left it: files named by their unit alone, manifests without a number.

Written down from its outputs, not by its code.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from simulation import units
from simulation.scenario import Start
from simulation.store import Store, sha256
from simulation.units import Made, PlannedUnit

# How far a start came before it was killed: plan, objects, seal, half of the files, all of them, manifest.
STAGES: Final = 6


def leave(store: Store, start: Start, killed_after: float | None) -> None:
    """Put there what one start of version 1 left, killed after that share of its work, or None: it came to its end."""
    stage = STAGES if killed_after is None else int(killed_after * STAGES)
    plan = units.plan_of(start.files, start.recipe)
    planned = [units.unit_of(unit.unit_id) for unit in plan.units]
    folder = f"_runs/{plan.plan_id}"
    _once(store, f"{folder}/plan.json", json.dumps(plan.to_json()).encode())
    if stage >= 1:
        _stage(store, start, planned[: len(planned) // 2] if stage == 1 else planned)
    if stage >= 2:
        store.put(f"{folder}/sealed.json", _manifest(store, start))
    copies = [(f"_units/{_staged(made)}", _final(made)) for made in _made(start, planned)]
    for staged, final in copies[: len(copies) // 2 if stage == 3 else len(copies) if stage > 3 else 0]:
        if final not in store.contents:
            store.link(final, store.contents[staged] if store.is_disk else store.new_file(store.contents[staged].data))
    if stage >= 5:
        replaced = _files(store) - {final for _, final in copies}
        store.put("_SUCCESS", _manifest(store, start, sorted(replaced)))
        for name in replaced:
            store.remove(name)
    if stage == STAGES:
        for name in [name for name in store.contents if name.startswith("_units/")]:
            store.remove(name)


def _stage(store: Store, start: Start, planned: list[PlannedUnit]) -> None:
    for made in _made(start, planned):
        _once(store, f"_units/{_staged(made)}", made.data)
    for unit in planned:
        if _is_given_up(unit, start):
            _once(store, f"_units/{unit.unit.unit_id}.quarantine.json", json.dumps(_quarantine(unit)).encode())


def _made(start: Start, planned: list[PlannedUnit]) -> list[Made]:
    return [made for unit in planned if not _is_given_up(unit, start) for made in unit.made[start.device]]


def _is_given_up(unit: PlannedUnit, start: Start) -> bool:
    return unit.is_poisoned and start.kills_workers


def _manifest(store: Store, start: Start, replaces: list[str] | None = None) -> bytes:
    plan = units.plan_of(start.files, start.recipe)
    planned = [units.unit_of(unit.unit_id) for unit in plan.units]
    made = _made(start, planned)
    given_up = [_quarantine(unit) for unit in planned if _is_given_up(unit, start)]
    entries = [(made, _entry(store, made)) for made in made]
    rejected = sum(entry["rows"] for made, entry in entries if made.is_rejected)
    labelled = sum(entry["rows"] for made, entry in entries if not made.is_rejected)
    told: dict[str, Any] = {
        "format": 1,
        "plan_id": plan.plan_id,
        "rows_in": plan.rows_in,
        "labelled": labelled,
        "rejected": {"null_text": rejected} if rejected else {},
        "labels": {"neutral": labelled},
        "tokens": labelled,
        "truncated": 0,
        "quarantined": {"files": [], "units": given_up, "rows_known": sum(unit["rows"] for unit in given_up)},
        "files": [entry for made, entry in entries if not made.is_rejected],
        "rejected_files": [entry for made, entry in entries if made.is_rejected],
        "replaces": replaces or [],
        "inputs": [{**asdict(file.pin), "rows": file.rows} for file in plan.files],
        "model": plan.recipe["model"],
    }
    return json.dumps(told).encode()


def _entry(store: Store, made: Made) -> dict[str, Any]:
    """What the manifest says of a file: of the one that an earlier start published, where there is one."""
    there = store.contents.get(_final(made))
    data = there.data if there else made.data
    entry = {
        "path": _final(made),
        "unit_id": made.unit_id,
        "rows": len(made.rows),
        "bytes": len(data),
        "sha256": sha256(data),
    }
    return entry if made.is_rejected else {**entry, "summary": asdict(made.summary)}


def _quarantine(unit: PlannedUnit) -> dict[str, Any]:
    cut = unit.unit.range
    where = {"uri": "sim://input", "first_row": cut.first_row, "rows": cut.rows}
    return {"unit_id": unit.unit.unit_id, "reason": "poison", "detail": "by version 1", **where}


def _staged(made: Made) -> str:
    return f"{made.unit_id}.rejected.parquet" if made.is_rejected else f"{made.unit_id}.parquet"


def _final(made: Made) -> str:
    return f"_rejected/part-{made.unit_id}.parquet" if made.is_rejected else f"part-{made.unit_id}.parquet"


def _files(store: Store) -> set[str]:
    return {name for name in store.contents if name.startswith(("part-", "_rejected/"))}


def _once(store: Store, name: str, data: bytes) -> None:
    if name not in store.contents:
        store.put(name, data)
