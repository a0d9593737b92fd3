"""What the simulated runs label: a few tiny files, their units, the plans over them, and each unit's finished objects.

Built once a process, with the project's own Parquet writer. Two devices may label a unit differently in the last bits,
so each object has two variants; of some units these have the same size, of others not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa

from albert_infer.output import commit
from albert_infer.output.commit import UnitSummary
from albert_infer.read.footers import RowRange
from albert_infer.read.planning import LABELS_VERSION, Plan, Unit
from albert_infer.read.survey import InputFile
from albert_infer.schema import NliLabel
from albert_infer.storage import ObjectPin

DEVICES: Final = (0, 1)
# Per file: the rows of its units, as labelled + rejected.
FILES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "a": ((2, 0), (1, 0)),
    "b": ((2, 1),),
    "c": ((1, 0),),
    "d": ((0, 2),),
}
# Of this file's unit the workers may die.
POISONED: Final = "c"
RECIPES: Final = ("one", "other")
Row = tuple[str, int]


@dataclass(frozen=True)
class Made:
    """One finished object of a unit: the labelled rows, or the rejected ones."""

    unit_id: str
    is_rejected: bool
    data: bytes
    rows: tuple[Row, ...]
    summary: UnitSummary


@dataclass(frozen=True)
class PlannedUnit:
    """A unit with its objects of each device, in the order in which they are committed: the part last."""

    unit: Unit
    is_poisoned: bool
    made: tuple[tuple[Made, ...], ...]

    @property
    def rows(self) -> frozenset[Row]:
        """All rows of the unit."""
        return frozenset((self.unit.unit_id, index) for index in range(self.unit.range.rows))


@cache
def planned_units(file: str, recipe: str) -> tuple[PlannedUnit, ...]:
    """The units of one file under one recipe, in order."""
    planned, first_row = [], 0
    for number, (labelled, rejected) in enumerate(FILES[file]):
        unit_id = _digest(f"{file} {number} {recipe}")
        rows = labelled + rejected
        unit = Unit(unit_id, _input_pin(file), RowRange(first_row, rows, number, number, 0))
        made = tuple(_made(unit_id, labelled, rejected, device) for device in DEVICES)
        planned.append(PlannedUnit(unit, file == POISONED, made))
        first_row += rows
    return tuple(planned)


@cache
def unit_of(unit_id: str) -> PlannedUnit:
    """The unit of that id, of whatever plan. Raises KeyError if there is none."""
    return _all_units()[unit_id]


def are_unreadable(unit_ids: Iterable[str]) -> bool:
    """Whether workers may die of every one of the units: then nothing is published."""
    return all(unit_of(unit_id).is_poisoned for unit_id in unit_ids)


@cache
def made_of_digest(sha256: str) -> Made | None:
    """Which object of which unit these bytes are; None for bytes that no labelling makes."""
    return _all_made().get(sha256)


@cache
def plan_of(files: str, recipe: str) -> Plan:
    """The plan over these files, in order of their names."""
    units = tuple(planned.unit for file in files for planned in planned_units(file, recipe))
    inputs = tuple(
        InputFile(_input_pin(file), tuple(labelled + rejected for labelled, rejected in FILES[file])) for file in files
    )
    return Plan(
        plan_id=_digest(f"plan {files} {recipe}"),
        input_uri="sim://input",
        files=inputs,
        bad=(),
        ignored={},
        units=units,
        recipe={
            "labels_version": LABELS_VERSION,
            "model": {"digests": {"recipe": recipe}, "label_map": [*NliLabel]},
            "columns": [],
            "types": [],
            "with_source": False,
        },
        max_batch_tokens=4096,
    )


def _input_pin(file: str) -> ObjectPin:
    return ObjectPin(f"{file}.parquet", 100, _digest(file))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _all_units() -> dict[str, PlannedUnit]:
    every = [planned for file in FILES for recipe in RECIPES for planned in planned_units(file, recipe)]
    return {planned.unit.unit_id: planned for planned in every}


@cache
def _all_made() -> dict[str, Made]:
    every = [made for planned in _all_units().values() for made_of_device in planned.made for made in made_of_device]
    return {hashlib.sha256(made.data).hexdigest(): made for made in every}


def _made(unit_id: str, labelled: int, rejected: int, device: int) -> tuple[Made, ...]:
    reasons = {"null_text": rejected} if rejected else {}
    summary = UnitSummary(unit_id, labelled + rejected, labelled, reasons, {"neutral": labelled}, labelled, 0)
    part = _parquet(summary, labelled, device)
    rows = tuple((unit_id, index) for index in range(labelled + rejected))
    made = (Made(unit_id, is_rejected=False, data=part, rows=rows[:labelled], summary=summary),)
    if not rejected:
        return made
    data = _parquet(summary, rejected, device)
    return (Made(unit_id, is_rejected=True, data=data, rows=rows[labelled:], summary=summary), *made)


def _parquet(summary: UnitSummary, rows: int, device: int) -> bytes:
    """An object whose bytes follow from the device, and whose size too for every other unit."""
    same_size = int(summary.unit_id, 16) % 2 == 0
    noted = f"device {device}" if same_size else "device" * (1 + device)
    table = pa.table({"row": pa.array(range(rows), pa.int32())}).replace_schema_metadata({"device": noted})
    return commit.to_parquet([table], summary)
