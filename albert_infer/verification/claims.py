"""Reads the claims of a published run: `_SUCCESS` and `plan.json`.

`agreement` compares the two with each other, `recount` compares them with the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from albert_infer import storage
from albert_infer.errors import SettingsError
from albert_infer.storage import Folder, ObjectPin
from albert_infer.verification.expansion import Expansion, Hypotheses
from albert_infer.verification.findings import Finding

SUCCESS: Final = "_SUCCESS"

# The size for a million units. The limit protects memory: each byte takes about ten bytes when it is parsed.
MAX_CLAIM_BYTES: Final = 1 << 28
# Every JSON reader represents whole numbers up to this one exactly.
MAX_COUNT: Final = 1 << 53
# A unit is labelled in memory, so no run has a unit with more rows.
MAX_UNIT_ROWS: Final = 100_000_000

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
PlanId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _Claim(BaseModel):
    """Validates JSON without conversions; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Pin(_Claim):
    """One input object at the moment of planning."""

    name: str
    size: Count
    version: str

    @property
    def object_pin(self) -> ObjectPin:
        """The object's pin, for the storage."""
        return ObjectPin(self.name, self.size, self.version)


class RowRange(_Claim):
    """Consecutive rows of a file."""

    first_row: Count
    rows: Annotated[int, Field(ge=0, le=MAX_UNIT_ROWS)]

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.first_row + self.rows


class PlannedUnit(_Claim):
    """Rows of one file that are labelled and committed together."""

    unit_id: str
    pin: Pin
    range: RowRange


class PlannedFile(_Claim):
    """A readable input file; `classes` are its carried columns with class names, if the plan has them."""

    pin: Pin
    row_groups: tuple[Count, ...]
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


class BadFile(_Claim):
    """An input file that could not be read; `rows` is None if its footer could not be read."""

    uri: str
    size: Count
    version: str
    reason: str
    rows: Count | None


class Model(_Claim):
    """The labels of the classifier's outputs."""

    label_map: tuple[str, ...] = ("entailment", "neutral", "contradiction")


class Recipe(_Claim):
    """The part of the plan's recipe that affects the files."""

    model: Model = Model()

    columns: tuple[str, ...]
    with_source: bool
    max_length: int
    review_below: float | None = None
    long_premise: Literal["window"] | None = None
    # None if each row is one pair.
    expansion: Expansion | None = None


class ColumnSettings(_Claim):
    """The input's names of the two text columns, and of the carried columns."""

    premise_column: str
    hypothesis_column: str
    carry: tuple[str, ...] = ()


class Plan(_Claim):
    """`plan.json`."""

    format: Literal[1]
    plan_id: PlanId
    input_uri: str
    rows_in: Count
    files: tuple[PlannedFile, ...]
    bad: tuple[BadFile, ...]
    ignored: dict[str, str]
    units: tuple[PlannedUnit, ...]
    recipe: Recipe
    settings: ColumnSettings
    # The id and the text of each hypothesis of the set.
    hypotheses: Hypotheses = ()

    @field_validator("input_uri")
    @classmethod
    def _is_a_location(cls, value: str) -> str:
        try:
            storage.open_folder(value)
        except SettingsError as error:
            raise ValueError(f"{error.asked}: {error.problem}") from error
        return value

    @model_validator(mode="after")
    def _texts_are_among_the_columns(self) -> Plan:
        start = 1 if self.with_ids else 0
        if self.recipe.columns[start : start + len(self.texts)] != self.texts:
            names = " and ".join(("premise", "hypothesis")[: len(self.texts)])
            raise ValueError(f"recipe.columns must begin with the id, if there is one, {names}")
        if bool(self.hypotheses) != (self.recipe.expansion is not None and self.recipe.expansion.with_set):
            raise ValueError("only a plan with a set has hypotheses, and it has one or more")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """The input's names of the text columns: without the hypothesis if the run has a set."""
        expansion = self.recipe.expansion
        names = (self.settings.premise_column, self.settings.hypothesis_column)
        return names[:1] if expansion is not None and expansion.with_set else names

    @property
    def with_ids(self) -> bool:
        """Whether the input has a column of ids."""
        return self.recipe.columns[:1] != (self.settings.premise_column,)

    @property
    def may_lack_carried(self) -> bool:
        """Whether a carried column is null for the rows of a file without the column."""
        return self.settings.carry == ("all",)

    def source_uri(self, name: str) -> str:
        """The URI of an input file, as in `source_file` and the quarantine."""
        return storage.open_folder(self.input_uri).uri_of(name)


class Summary(_Claim):
    """The counts of a unit in the manifest."""

    unit_id: str
    rows_in: Count
    labelled: Count
    rejected: dict[str, int]
    labels: dict[str, int]
    tokens: Count
    truncated: Count
    # Runs of earlier versions lack these counts.
    needs_review: Count = 0
    windowed: Count = 0
    pairs: Count = 0


class NamedFile(_Claim):
    """A file of labels, of rejected rows or of pairs in the manifest."""

    path: str
    unit_id: str
    rows: Count
    bytes: Count
    sha256: str
    summary: Summary | None = None


class QuarantinedUnit(_Claim):
    """A unit that could not be read."""

    unit_id: str
    uri: str
    first_row: Count
    rows: Count
    reason: str


class Quarantined(_Claim):
    """All unreadable files and units."""

    files: tuple[BadFile, ...]
    units: tuple[QuarantinedUnit, ...]
    rows_known: Count


class InputFile(Pin):
    """An input file in the manifest."""

    rows: Count


class Manifest(_Claim):
    """`_SUCCESS`."""

    format: Literal[1]
    plan_id: PlanId
    rows_in: Count
    labelled: Count
    rejected: dict[str, Count]
    quarantined: Quarantined
    files: tuple[NamedFile, ...]
    rejected_files: tuple[NamedFile, ...]
    pair_files: tuple[NamedFile, ...] = ()
    replaces: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    labels: dict[str, Count]
    tokens: Count
    truncated: Count
    needs_review: Count = 0
    windowed: Count = 0
    # Pairs of labelled rows; 0 if each row is one pair.
    pairs: Count = 0


Claim = TypeVar("Claim", Manifest, Plan)


def read_claim(output: Folder, name: str, kind: type[Claim]) -> Claim | list[Finding]:
    """Read the manifest or plan with this `name`; findings if it is missing or invalid."""
    pin = output.stat(name)
    if pin is None:
        return [Finding(name, f"the {kind.__name__.lower()} of the published run", "nothing")]
    if pin.size > MAX_CLAIM_BYTES:
        return [Finding(name, f"at most {MAX_CLAIM_BYTES:,} bytes", f"{pin.size:,}")]
    try:
        return kind.model_validate_json(output.read(name))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return [
            Finding(name, f"a {kind.__name__.lower()} of format 1", f"{_key(fault['loc'])}{fault['msg']}")
            for fault in faults
        ]


def plan_name(plan_id: str) -> str:
    """The name of a run's plan."""
    return f"_runs/{plan_id}/plan.json"


def is_named_after(path: str, unit: PlannedUnit, folder: str) -> bool:
    """Whether `path` is a name in `folder` with the unit's source, first row, unit id and a publication.

    Names of version 1 have only the unit id.
    """
    name = (
        re.escape(folder)
        + rf"part-(?:[^/]*,{unit.range.first_row:012d},)?{unit.unit_id}(?:,\d+-[0-9a-f]{{8}})?\.parquet"
    )
    return re.fullmatch(name, path) is not None


def sorts_as_input(paths: Sequence[str]) -> bool:
    """Whether the paths sort in the order of the input; True for runs of version 1, which have no such order."""
    return list(paths) == sorted(paths) or any("," not in path for path in paths)


def _key(path: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""
