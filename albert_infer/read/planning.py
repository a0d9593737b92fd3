"""Inputs to a plan: which objects are read, in which units, and which units are there already.

Footers only; no row is decoded here. A plan names its units by what decides their labels, so that a resume, a late
file and a re-run are one thing: label the units that are not there yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import pyarrow as pa

from albert_infer.config import LabelSettings
from albert_infer.errors import InputError
from albert_infer.read import footers as reading
from albert_infer.read import selection
from albert_infer.read.class_names import ClassNames, class_names
from albert_infer.read.columns import ColumnSettings, FileColumns, run_columns
from albert_infer.read.fitness import unfit
from albert_infer.read.footers import Footer, RowRange, UnreadableError
from albert_infer.schema import PairColumns
from albert_infer.storage import AccessError, DeadLinkError, Folder, InputObjects, ObjectPin

# Raised when a change of the code may change a label, so that finished units of the old code are not taken for done.
LABELS_VERSION: Final = 3
# Footers are waits, not work.
FOOTER_THREADS: Final = 16


@dataclass(frozen=True)
class InputFile:
    """A readable input object, pinned, with the rows of each of its row groups.

    `classes` are the carried columns whose numbers the file names, each with its names.
    """

    pin: ObjectPin
    row_groups: tuple[int, ...]
    classes: tuple[tuple[str, ClassNames], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class BadFile:
    """An input object that cannot be read, and why. `rows` is None where it has no readable footer."""

    uri: str
    size: int
    version: str
    reason: str
    detail: str
    rows: int | None


@dataclass(frozen=True)
class Survey:
    """The input as found: every object is in exactly one of `files`, `bad` and `ignored`."""

    folder: Folder
    columns: PairColumns
    files: tuple[InputFile, ...]
    bad: tuple[BadFile, ...]
    # Names of objects that are no input by rule, and the rule.
    ignored: dict[str, str]
    # The columns of the first file that has a footer, and those of the run that no file has.
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    # Columns that were asked for with all others, and that only the paths of the files hold.
    in_paths: tuple[str, ...] = ()

    def refuse_unreadable(self, settings: ColumnSettings) -> None:
        """Raise InputError if no row of the files can be read: nothing would be published, whatever limits allow."""
        if not self.bad or any(file.rows for file in self.files):
            return
        files, first = len(self.bad), self.bad[0]
        if self.absent:
            flags = {
                settings.premise_column: "--premise-column",
                settings.hypothesis_column: "--hypothesis-column",
                settings.id_column: "--id-column",
            }
            named = [flags.get(name, "--carry") for name in self.absent]
            asked = ", ".join(f"{flag} {name}" for flag, name in zip(named, self.absent, strict=True))
            has = f"none of {files:,} files has it; the columns of the first are {reading.some(self.names)}"
            raise InputError(asked, has, f"name the columns of the input with {' and '.join(dict.fromkeys(named))}")
        found = f"none of its {files:,} files can be read, first {first.uri}: {first.reason} ({first.detail})"
        raise InputError(f"the input {self.folder.uri}", found, "mend or replace the files; only Parquet is read")

    def refuse_mixed_classes(self) -> None:
        """Raise InputError where two files give the numbers of a carried column other names: the output has one."""
        first: dict[str, tuple[InputFile, ClassNames]] = {}
        for file in self.files:
            for name, names in file.classes:
                other, before = first.setdefault(name, (file, names))
                if names != before:
                    one, two = (self.folder.uri_of(entry.pin.name) for entry in (other, file))
                    told = [reading.clean(", ".join(order)) for order in (before, names)]
                    found = f"{one} calls its numbers {told[0]}, and {two} calls them {told[1]}"
                    remedy = "do not carry it, or write its labels as text in every file"
                    raise InputError(f"--carry {reading.clean(name)}", found, remedy)


@dataclass(frozen=True)
class Unit:
    """The slice of one file that is labelled and committed as one."""

    unit_id: str
    pin: ObjectPin
    range: RowRange


@dataclass(frozen=True)
class Plan:
    """The pinned inputs and their units, in input order; `recipe` is what else decides the labels."""

    plan_id: str
    input_uri: str
    files: tuple[InputFile, ...]
    bad: tuple[BadFile, ...]
    ignored: dict[str, str]
    units: tuple[Unit, ...]
    recipe: dict[str, Any]
    max_batch_tokens: int

    @property
    def rows_in(self) -> int:
        """Rows of all readable footers."""
        return sum(file.rows for file in self.files) + sum(bad.rows or 0 for bad in self.bad)

    def to_json(self) -> dict[str, Any]:
        """The plan as it is written into the run's folder."""
        return {"format": 1, "rows_in": self.rows_in, **asdict(self)}


def survey_input(found: InputObjects, settings: ColumnSettings) -> Survey:
    """Read every footer and decide which columns the run has, of one type for all its files.

    Raises NoInputError if there is nothing, InputError if all of it is left out or there is no right to read it,
    SettingsError for a carried column that is not there or clashes.
    """
    folder = found.folder
    try:
        candidates, ignored = selection.select(found)
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            footers = list(threads.map(lambda pin: _footer(folder, pin), candidates))
    except (AccessError, DeadLinkError) as error:
        raise InputError(error.asked, error.found, error.remedy) from error
    if not candidates:
        raise selection.no_input(found, ignored)
    readable = {
        pin: FileColumns(folder.uri_of(pin.name), footer.schema)
        for pin, footer in zip(candidates, footers, strict=True)
        if isinstance(footer, Footer)
    }
    # A file without rows does not decide, unless no file has any.
    full = [readable[pin] for pin, footer in zip(candidates, footers, strict=True) if _rows(footer)]
    found_columns = run_columns(full or [*readable.values()], [pin.name for pin in candidates], settings)
    columns = found_columns.columns
    files, bad = [], []
    for pin, footer in zip(candidates, footers, strict=True):
        trouble = unfit(footer, columns, found_columns.origins) if isinstance(footer, Footer) else footer
        if trouble is None and isinstance(footer, Footer):
            carried = (field.name for field in columns.carried)
            classes = tuple(class_names(footer.schema, carried).items()) if _rows(footer) else ()
            files.append(InputFile(pin, footer.row_groups, classes))
        elif trouble is not None:
            bad.append(
                BadFile(
                    folder.uri_of(pin.name), pin.size, pin.version, str(trouble.reason), trouble.detail, _rows(footer)
                )
            )
    columns = replace(columns, classes=_classes_of_all(files, columns))
    names = tuple(next(iter(readable.values())).schema.names) if readable else ()
    there = {name for file in readable.values() for name in file.schema.names}
    absent = tuple(name for name in columns.input_names if readable and name not in there)
    return Survey(folder, columns, tuple(files), tuple(bad), ignored, names, absent, found_columns.in_paths)


def make_plan(survey: Survey, settings: LabelSettings, recipe: dict[str, Any], max_batch_tokens: int) -> Plan:
    """Cut every file into units and name them. `recipe` is what decides labels beside the rows: model, precision, cut.

    The names follow from each file, the recipe and `unit_rows` alone: another file changes nothing for them, unless it
    widens a type of the run's columns, and so every row of the output.
    """
    recipe = {"labels_version": LABELS_VERSION, **recipe, **_column_recipe(survey.columns)}
    units = tuple(
        Unit(_digest({"file": _pinned(survey.folder, file.pin), "rows": asdict(cut), **recipe}), file.pin, cut)
        for file in survey.files
        for cut in unit_ranges(file.row_groups, settings.unit_rows)
    )
    bad = [[file.uri, file.size, file.version] for file in survey.bad]
    empty = [_pinned(survey.folder, file.pin) for file in survey.files if file.rows == 0]
    plan_id = _digest({"units": sorted(unit.unit_id for unit in units), "bad": bad, "empty": empty, "recipe": recipe})
    return Plan(
        plan_id=plan_id,
        input_uri=survey.folder.uri,
        files=survey.files,
        bad=survey.bad,
        ignored=survey.ignored,
        units=units,
        recipe=recipe,
        max_batch_tokens=max_batch_tokens,
    )


def late_inputs(plan: Plan, found: InputObjects) -> tuple[str, ...]:
    """URIs of what has become input since the plan was made; the next run labels it."""
    uri_of = found.folder.uri_of
    planned = {uri_of(file.pin.name) for file in plan.files} | {bad.uri for bad in plan.bad}
    new = (pin for pin in found.pins if uri_of(pin.name) not in planned and pin.name not in plan.ignored)
    late, _ = selection.select(replace(found, pins=tuple(new)))
    return tuple(uri_of(pin.name) for pin in late)


def unit_ranges(row_groups: Sequence[int], unit_rows: int) -> Iterator[RowRange]:
    """Every row of a file once, in order: consecutive row groups up to `unit_rows`, or a range of a huge one."""
    first_row = 0
    group = 0
    while group < len(row_groups):
        if row_groups[group] > unit_rows:
            for skip in range(0, row_groups[group], unit_rows):
                rows = min(unit_rows, row_groups[group] - skip)
                yield RowRange(first_row + skip, rows, group, group, skip)
            first_row, group = first_row + row_groups[group], group + 1
            continue
        last, rows = group, row_groups[group]
        while last + 1 < len(row_groups) and rows + row_groups[last + 1] <= unit_rows:
            last += 1
            rows += row_groups[last]
        if rows:
            yield RowRange(first_row, rows, group, last, 0)
        first_row, group = first_row + rows, last + 1


def _footer(folder: Folder, pin: ObjectPin) -> Footer | UnreadableError:
    try:
        return reading.read_footer(folder, pin)
    except UnreadableError as error:
        return error


def _rows(footer: Footer | UnreadableError) -> int | None:
    return footer.rows if isinstance(footer, Footer) else None


def _classes_of_all(files: Sequence[InputFile], columns: PairColumns) -> tuple[tuple[str, ClassNames], ...]:
    """The carried columns of whole numbers that all files with rows give the same names."""
    told = [dict(file.classes) for file in files if file.rows]
    whole = [field.name for field in columns.carried if pa.types.is_integer(field.type)]
    names = {name: {classes.get(name, ()) for classes in told} for name in whole}
    return tuple((name, next(iter(found))) for name, found in names.items() if len(found) == 1 and found != {()})


def _column_recipe(columns: PairColumns) -> dict[str, Any]:
    return {
        "columns": columns.input_names,
        "types": [str(field.type) for field in columns.pair_fields],
        "with_source": columns.with_source,
        # Only where they are asked for, so that units of runs without them keep their names.
        **({} if columns.review_below is None else {"review_below": columns.review_below}),
        **({"long_premise": "window"} if columns.with_windows else {}),
    }


def _pinned(folder: Folder, pin: ObjectPin) -> dict[str, Any]:
    return {"uri": folder.uri_of(pin.name), "size": pin.size, "version": pin.version}


def canonical_json(value: Any) -> bytes:
    """One byte string for one value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
