"""Turns a surveyed input into a plan: cuts the files into units, and gives each unit its id.

The id of a unit is a hash of everything that decides its labels. So a resume, a late file and a re-run are the same
task: label the units that do not exist yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from albert_infer.read import selection
from albert_infer.read.footers import RowRange
from albert_infer.read.survey import BadFile, InputFile, Survey
from albert_infer.schema import Expansion, ModelRecipe, PairColumns
from albert_infer.storage import Folder, InputObjects, ObjectPin

if TYPE_CHECKING:
    from albert_infer.config import LabelSettings  # which no worker loads

# Increased when a change of the code may change a label, so that units of the old code are labelled again.
LABELS_VERSION: Final = 3
# Of a unit whose rows become thousands of pairs each.
LEAST_UNIT_ROWS: Final = 16


@dataclass(frozen=True)
class Unit:
    """A slice of one file that is labelled and committed as one object."""

    unit_id: str
    pin: ObjectPin
    range: RowRange


class LabelRecipe(TypedDict, total=False):
    """Everything that decides labels, except the rows and the columns."""

    model: ModelRecipe
    precision: str
    truncation: str
    max_length: int


class ExpansionRecipe(TypedDict, total=False):
    """What decides the pairs of a row, and the tables of a run: only the keys that the run has."""

    # The sha256 of the ids and texts of the set.
    hypotheses: str
    split_premise: str
    split_hypothesis: str
    splitter: str
    fold: str
    publish: str
    top_k: int


class ColumnRecipe(TypedDict):
    """The facts of the columns that decide a unit's files.

    The last three keys exist only if the settings ask for them, so units of other runs keep their ids.
    """

    columns: list[str]
    types: list[str]
    with_source: bool
    review_below: NotRequired[float]
    long_premise: NotRequired[str]
    expansion: NotRequired[ExpansionRecipe]


class Recipe(LabelRecipe, ColumnRecipe):
    """Everything that decides a unit's files, except its rows."""

    labels_version: int


@dataclass(frozen=True)
class Plan:
    """The pinned inputs and their units, in input order. `recipe` has everything else that decides the labels."""

    plan_id: str
    input_uri: str
    files: tuple[InputFile, ...]
    bad: tuple[BadFile, ...]
    ignored: dict[str, str]
    units: tuple[Unit, ...]
    recipe: Recipe
    max_batch_tokens: int
    # The id and the text of each hypothesis of the set, for people and for `albert-infer verify`.
    hypotheses: tuple[tuple[str, str], ...] = ()

    @property
    def rows_in(self) -> int:
        """The rows of all files with a readable footer."""
        return sum(file.rows for file in self.files) + sum(bad.rows or 0 for bad in self.bad)

    def to_json(self) -> dict[str, object]:
        """The contents of `plan.json` in the run's folder."""
        plan = {"format": 1, "rows_in": self.rows_in, **asdict(self)}
        if not self.hypotheses:
            del plan["hypotheses"]
        return plan


def make_plan(survey: Survey, settings: LabelSettings, labels: LabelRecipe, max_batch_tokens: int) -> Plan:
    """Cut every file into units, and compute their ids. `labels` has the model, the precision and the truncation.

    An id depends on the file, the recipe and `unit_rows` alone. Another file does not change it, unless that file
    changes a type of the run's columns, and so every row of the output.
    """
    recipe: Recipe = {"labels_version": LABELS_VERSION, **labels, **_column_recipe(survey.columns)}
    units = tuple(
        Unit(_digest({"file": _pinned(survey.folder, file.pin), "rows": asdict(cut), **recipe}), file.pin, cut)
        for file, cut in _cut(survey, settings.unit_rows)
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
        hypotheses=_hypotheses(survey.columns.expansion),
    )


def has_one_unit(survey: Survey, settings: LabelSettings) -> bool:
    """Whether `make_plan` cuts the files into one unit at most."""
    return sum(1 for _ in islice(_cut(survey, settings.unit_rows), 2)) <= 1


def fits_one_unit(survey: Survey, settings: LabelSettings) -> bool:
    """Whether all files together have no more pairs than a unit may have."""
    return sum(file.rows * survey.pairs_per_row(file) for file in survey.files) <= settings.unit_rows


def _cut(survey: Survey, unit_rows: int) -> Iterator[tuple[InputFile, RowRange]]:
    for file in survey.files:
        for cut in unit_ranges(file.row_groups, _rows_per_unit(unit_rows, survey.pairs_per_row(file))):
            yield file, cut


def _rows_per_unit(unit_rows: int, pairs_per_row: int) -> int:
    """`unit_rows` pairs at most, or LEAST_UNIT_ROWS rows: each unit is an object, and a million rows need few."""
    return max(unit_rows // pairs_per_row, min(unit_rows, LEAST_UNIT_ROWS))


def late_inputs(plan: Plan, input_objects: InputObjects) -> tuple[str, ...]:
    """URIs of input objects that were added after planning. The next run labels them."""
    uri_of = input_objects.folder.uri_of
    planned = {uri_of(file.pin.name) for file in plan.files} | {bad.uri for bad in plan.bad}
    new = (pin for pin in input_objects.pins if uri_of(pin.name) not in planned and pin.name not in plan.ignored)
    late, _ = selection.select(replace(input_objects, pins=tuple(new)))
    return tuple(uri_of(pin.name) for pin in late)


def unit_ranges(row_groups: Sequence[int], unit_rows: int) -> Iterator[RowRange]:
    """Cut a file into ranges of at most `unit_rows` rows: several whole row groups, or a part of a large one.

    Every row is in exactly one range, in order.
    """
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


def _column_recipe(columns: PairColumns) -> ColumnRecipe:
    recipe = ColumnRecipe(
        columns=columns.input_names,
        types=[str(field.type) for field in columns.pair_fields],
        with_source=columns.with_source,
    )
    if columns.review_below is not None:
        recipe["review_below"] = columns.review_below
    if columns.with_windows:
        recipe["long_premise"] = "window"
    if columns.expansion is not None:
        recipe["expansion"] = _expansion_recipe(columns.expansion)
    return recipe


def _expansion_recipe(expansion: Expansion) -> ExpansionRecipe:
    recipe = ExpansionRecipe(fold=str(expansion.fold), publish=expansion.publish)
    if expansion.hypotheses is not None:
        recipe["hypotheses"] = hashlib.sha256(canonical_json(_hypotheses(expansion))).hexdigest()
    if expansion.fold.ranks_hypotheses:
        recipe["top_k"] = expansion.top_k
    if expansion.split_premise:
        recipe["split_premise"] = "sentences"
    if expansion.split_hypothesis:
        recipe["split_hypothesis"] = "sentences"
    if expansion.splitter:
        recipe["splitter"] = expansion.splitter
    return recipe


def _hypotheses(expansion: Expansion | None) -> tuple[tuple[str, str], ...]:
    if expansion is None or expansion.hypotheses is None:
        return ()
    return tuple(zip(expansion.hypotheses.ids, expansion.hypotheses.texts, strict=True))


def _pinned(folder: Folder, pin: ObjectPin) -> dict[str, str | int]:
    return {"uri": folder.uri_of(pin.name), "size": pin.size, "version": pin.version}


def canonical_json(value: Any) -> bytes:
    """The value as JSON. The order of keys does not change the result."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
