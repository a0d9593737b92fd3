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
from typing import Any, Final, Literal, Protocol

import pyarrow as pa

from albert_infer import reading, schema
from albert_infer.config import LabelSettings
from albert_infer.errors import InputError, NoInputError, SettingsError
from albert_infer.printable import how_many
from albert_infer.reading import Footer, RowRange, UnreadableError
from albert_infer.schema import PairColumns
from albert_infer.storage import AccessError, Folder, InputObjects, ObjectPin

# Raised when a change of the code may change a label, so that finished units of the old code are not taken for done.
LABELS_VERSION: Final = 3
PARQUET_NAMES: Final = (".parquet", ".pq")
# Footers are waits, not work.
FOOTER_THREADS: Final = 16


class ColumnSettings(Protocol):
    """Which columns of an input make its pairs, and which are kept: `LabelSettings`, or a gold set's."""

    @property
    def premise_column(self) -> str: ...  # noqa: D102  (each as the setting of its name)

    @property
    def hypothesis_column(self) -> str: ...  # noqa: D102

    @property
    def id_column(self) -> str | None: ...  # noqa: D102

    @property
    def carry(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def carry_source(self) -> bool: ...  # noqa: D102

    @property
    def review_below(self) -> float | None: ...  # noqa: D102

    @property
    def long_premise(self) -> Literal["truncate", "window"]: ...  # noqa: D102

    @property
    def reserved_names(self) -> frozenset[str]:
        """What a kept column must not be called."""
        ...


@dataclass(frozen=True)
class InputFile:
    """A readable input object, pinned, with the rows of each of its row groups."""

    pin: ObjectPin
    row_groups: tuple[int, ...]

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
    """Read every footer and decide which columns the run has: those of the first readable file, in order of names.

    Raises NoInputError if there is nothing to read, InputError if there is no right to, SettingsError for a carried
    column that is not there or clashes.
    """
    folder = found.folder
    try:
        candidates, ignored = _candidates(found)
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            footers = list(threads.map(lambda pin: _footer(folder, pin), candidates))
    except AccessError as error:
        raise InputError(error.asked, error.found, error.remedy) from error
    if not candidates:
        remedy = "point --input at a folder with .parquet files, or at one file"
        raise NoInputError(
            f"the input {found.uri}", f"no Parquet file among {how_many(len(found.pins), 'object')}", remedy
        )
    readable = [footer.schema for footer in footers if isinstance(footer, Footer)]
    columns = _columns(readable, settings)
    files, bad = [], []
    for pin, footer in zip(candidates, footers, strict=True):
        trouble = footer if isinstance(footer, UnreadableError) else reading.unfit(footer, columns)
        if trouble is None and isinstance(footer, Footer):
            files.append(InputFile(pin, footer.row_groups))
        elif trouble is not None:
            rows = sum(footer.row_groups) if isinstance(footer, Footer) else None
            bad.append(
                BadFile(folder.uri_of(pin.name), pin.size, pin.version, str(trouble.reason), trouble.detail, rows)
            )
    return Survey(folder, columns, tuple(files), tuple(bad), ignored)


def make_plan(survey: Survey, settings: LabelSettings, recipe: dict[str, Any], max_batch_tokens: int) -> Plan:
    """Cut every file into units and name them. `recipe` is what decides labels beside the rows: model, precision, cut.

    The names follow from each file, the recipe and `unit_rows` alone: another file changes nothing for them.
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
    late, _ = _candidates(replace(found, pins=tuple(new)))
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


def _candidates(found: InputObjects) -> tuple[list[ObjectPin], dict[str, str]]:
    """The objects that are input, and the others with the rule that says so. A file that was named is input."""
    if found.uri != found.folder.uri:
        return list(found.pins), {}
    candidates, ignored = [], {}
    for pin in found.pins:
        if any(segment.startswith(("_", ".")) for segment in pin.name.split("/")):
            ignored[pin.name] = "hidden"
        elif pin.name.endswith(PARQUET_NAMES) or reading.begins_as_parquet(found.folder, pin):
            candidates.append(pin)
        else:
            ignored[pin.name] = "not_parquet"
    return candidates, ignored


def _footer(folder: Folder, pin: ObjectPin) -> Footer | UnreadableError:
    try:
        return reading.read_footer(folder, pin)
    except UnreadableError as error:
        return error


def _columns(schemas: Sequence[pa.Schema], settings: ColumnSettings) -> PairColumns:
    columns = PairColumns(
        settings.premise_column,
        settings.hypothesis_column,
        with_source=settings.carry_source,
        review_below=settings.review_below,
        with_windows=settings.long_premise == "window",
    )
    fit = [found for found in schemas if reading.unfit_column(found, columns) is None]
    if not fit:
        return columns
    name = settings.id_column or schema.PAIR_ID
    id_types = [reading.id_type(_first(found, name).type) for found in fit if name in found.names]
    pair_id = name if id_types or settings.id_column else None
    return replace(
        columns,
        pair_id=pair_id,
        # Without any id that could be one, strings: each file is then told apart by its own schema.
        id_type=next((kind for kind in id_types if kind is not None), pa.string()),
        carried=_carried(_first_to_carry(fit, settings), settings, pair_id),
    )


def _first_to_carry(fit: Sequence[pa.Schema], settings: ColumnSettings) -> pa.Schema:
    """The first schema whose columns to carry are no extensions; a file where one is must not decide their types."""
    if settings.carry == ("all",):
        return fit[0]
    safe = (
        found
        for found in fit
        if not any(field.name in settings.carry and reading.holds_extension(field.type) for field in found)
    )
    return next(safe, fit[0])


def _carried(found: pa.Schema, settings: ColumnSettings, pair_id: str | None) -> tuple[pa.Field, ...]:
    taken = {settings.premise_column, settings.hypothesis_column, pair_id}
    there = list(dict.fromkeys(found.names))
    names = settings.carry if settings.carry != ("all",) else [name for name in there if name not in taken]
    clash = [name for name in names if name in settings.reserved_names]
    if clash:
        remedy = "rename it in the input, or name the columns that you want"
        raise SettingsError(f"--carry {','.join(settings.carry)}", f"`{clash[0]}` is a column of ours", remedy)
    missing = [name for name in names if name not in found.names]
    if missing:
        has = f"the first readable file has no `{missing[0]}`, but {', '.join(found.names)}"
        raise SettingsError(f"--carry {','.join(settings.carry)}", has, "name columns of the input")
    return tuple(pa.field(name, _first(found, name).type) for name in names)


def _first(found: pa.Schema, name: str) -> pa.Field:
    """The column of that name; of several the first, and `unfit_column` says that there are several."""
    return found.field(found.names.index(name))


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
