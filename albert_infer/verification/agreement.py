"""Checks that the plan has every row once, and that `_SUCCESS` agrees with the plan.

No file of labels is opened here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from albert_infer.common.printable import how_many
from albert_infer.verification.claims import (
    SUCCESS,
    Manifest,
    Pin,
    Plan,
    PlannedFile,
    PlannedUnit,
    is_named_after,
    plan_name,
    sorts_as_input,
)
from albert_infer.verification.expansion import sha256_of
from albert_infer.verification.findings import Finding, differences


def plan_faults(plan: Plan) -> Iterator[Finding]:
    """Findings unless the plan has every row of its files in exactly one unit."""
    where = plan_name(plan.plan_id)
    yield from _doubled(where, "unit", (unit.unit_id for unit in plan.units))
    yield from _doubled(where, "file", (file.pin.name for file in plan.files))
    rows = sum(file.rows for file in plan.files) + sum(bad.rows or 0 for bad in plan.bad)
    yield from differences(where, [("rows_in", rows, plan.rows_in)])
    files = {file.pin: file for file in plan.files}
    units: dict[Pin, list[PlannedUnit]] = {file.pin: [] for file in plan.files}
    for unit in plan.units:
        if unit.pin in files:
            units[unit.pin].append(unit)
        else:
            yield Finding(f"unit {unit.unit_id}", "a file of the plan", f"rows of {unit.pin.name}")
    for pin, cut in units.items():
        yield from _coverage(files[pin], cut)
    yield from _hypothesis_faults(plan, where)


def _hypothesis_faults(plan: Plan, where: str) -> Iterator[Finding]:
    """Findings unless the plan has the hypotheses of its recipe, with different ids."""
    expansion = plan.recipe.expansion
    if expansion is not None and expansion.hypotheses is not None:
        digest = sha256_of(plan.hypotheses)
        yield from differences(where, [("the sha256 of hypotheses", expansion.hypotheses, digest)])
    yield from _doubled(where, "the hypothesis", (hypothesis_id for hypothesis_id, _ in plan.hypotheses))


def _coverage(file: PlannedFile, units: list[PlannedUnit]) -> Iterator[Finding]:
    stop = 0
    for unit in sorted(units, key=lambda unit: (unit.range.first_row, unit.range.stop)):
        if unit.range.first_row != stop:
            actual = f"unit {unit.unit_id} from row {unit.range.first_row} on"
            yield Finding(file.pin.name, f"a unit that begins at row {stop}, where the one before ends", actual)
        stop = max(stop, unit.range.stop)
    if stop != file.rows:
        yield Finding(file.pin.name, f"units of all its {how_many(file.rows, 'row')}", f"units up to row {stop}")


def manifest_faults(manifest: Manifest, plan: Plan) -> Iterator[Finding]:
    """Findings unless the manifest agrees with the plan."""
    yield from differences(SUCCESS, [("the plan_id of its plan", plan.plan_id, manifest.plan_id)])
    yield from differences(SUCCESS, [("rows_in", plan.rows_in, manifest.rows_in)])
    accounted = manifest.labelled + sum(manifest.rejected.values()) + manifest.quarantined.rows_known
    if accounted != manifest.rows_in:
        actual = f"{manifest.labelled} + {sum(manifest.rejected.values())} + {manifest.quarantined.rows_known}"
        yield Finding(SUCCESS, f"labelled + rejected + quarantined = {how_many(manifest.rows_in, 'row')}", actual)
    planned: set[tuple[object, ...]] = {(*_pinned(file.pin), file.rows) for file in plan.files}
    yield from _unlike("inputs", planned, [(*_pinned(file), file.rows) for file in manifest.inputs])
    bad = {tuple(file.model_dump().values()) for file in plan.bad}
    yield from _unlike(
        "quarantined files", bad, [tuple(file.model_dump().values()) for file in manifest.quarantined.files]
    )
    yield from _unit_faults(manifest, plan)


def _unit_faults(manifest: Manifest, plan: Plan) -> Iterator[Finding]:
    """Findings unless every unit is labelled or quarantined, once."""
    labelled = Counter(entry.unit_id for entry in manifest.files)
    rejected = Counter(entry.unit_id for entry in manifest.rejected_files)
    quarantined = Counter(entry.unit_id for entry in manifest.quarantined.units)
    planned = {unit.unit_id: unit for unit in plan.units}
    for unit_id in planned:
        if labelled[unit_id] + quarantined[unit_id] != 1 or rejected[unit_id] > labelled[unit_id]:
            times = labelled[unit_id], rejected[unit_id], quarantined[unit_id]
            actual = "{} times labelled, {} with rejected rows, {} quarantined".format(*times)
            yield Finding(f"unit {unit_id}", f"{SUCCESS} to name it once, labelled or quarantined", actual)
    for unit_id in (labelled | rejected | quarantined).keys() - planned.keys():
        yield Finding(f"unit {unit_id}", "no such unit: the plan has none", f"{SUCCESS} names it")
    lists = ((manifest.files, ""), (manifest.rejected_files, "_rejected/"), (manifest.pair_files, "_pairs/"))
    for entries, folder in lists:
        yield from _doubled(SUCCESS, "path", (entry.path for entry in entries))
        for entry in entries:
            if entry.unit_id in planned and not is_named_after(entry.path, planned[entry.unit_id], folder):
                row = planned[entry.unit_id].range.first_row
                yield Finding(
                    SUCCESS, f"a path in {folder or 'its folder'} after row {row}, {entry.unit_id}", entry.path
                )
        if not sorts_as_input([entry.path for entry in entries]):
            yield Finding(SUCCESS, "paths that sort in the order of the input", "another order")
        named = {entry.unit_id for entry in entries}
        order = [unit_id for unit_id in planned if unit_id in named]
        if order != [entry.unit_id for entry in entries if entry.unit_id in planned]:
            yield Finding(SUCCESS, "files in the order of the input", "another order")
    yield from _quarantine_faults(manifest, plan, planned)
    yield from _pair_faults(manifest, plan, labelled)


def _pair_faults(manifest: Manifest, plan: Plan, labelled: Counter[str]) -> Iterator[Finding]:
    """Findings unless each labelled unit has a file of pairs in runs that publish both tables, and in no other."""
    expansion = plan.recipe.expansion
    expected = labelled.keys() if expansion is not None and expansion.publish == "both" else set()
    counts = Counter(entry.unit_id for entry in manifest.pair_files)
    for unit_id in sorted(counts.keys() | expected):
        times = int(unit_id in expected)
        if counts[unit_id] != times:
            where = f"unit {unit_id}"
            yield Finding(where, f"{how_many(times, 'file')} of pairs in {SUCCESS}", f"{counts[unit_id]}")


def _quarantine_faults(manifest: Manifest, plan: Plan, planned: dict[str, PlannedUnit]) -> Iterator[Finding]:
    rows = sum(bad.rows or 0 for bad in plan.bad)
    for entry in manifest.quarantined.units:
        if unit := planned.get(entry.unit_id):
            rows += unit.range.rows
            expected = (plan.source_uri(unit.pin.name), unit.range.first_row, unit.range.rows)
            actual = (entry.uri, entry.first_row, entry.rows)
            where = f"quarantined unit {entry.unit_id}"
            yield from differences(where, zip(("file", "first row", "rows"), expected, actual, strict=True))
    yield from differences(SUCCESS, [("quarantined rows_known", rows, manifest.quarantined.rows_known)])


def _unlike(name: str, expected: set[tuple[object, ...]], actual: list[tuple[object, ...]]) -> Iterator[Finding]:
    """A finding for each missing, foreign or doubled entry of a list in the manifest."""
    yield from _doubled(SUCCESS, name, (str(entry[0]) for entry in actual))
    for entry in sorted(expected - set(actual), key=str):
        yield Finding(SUCCESS, f"{name} with {' '.join(map(str, entry))}, as planned", "no such entry")
    for entry in sorted(set(actual) - expected, key=str):
        yield Finding(SUCCESS, f"{name} as planned", f"{' '.join(map(str, entry))}")


def _doubled(where: str, name: str, values: Iterator[str]) -> Iterator[Finding]:
    for value, times in Counter(values).items():
        if times > 1:
            yield Finding(where, f"{name} {value} once", f"{times} times")


def _pinned(pin: Pin) -> tuple[str, int, str]:
    return pin.name, pin.size, pin.version
