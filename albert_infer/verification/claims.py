"""What a published run says of itself: `_SUCCESS` and `plan.json`, read here on their own.

Whether they agree is `agreement`'s question, whether they are true `recount`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from albert_infer import storage
from albert_infer.errors import SettingsError
from albert_infer.storage import Folder, ObjectPin
from albert_infer.verification.findings import Finding

SUCCESS: Final = "_SUCCESS"

# Of a million units; more is not read, because each byte becomes some ten in memory.
MAX_CLAIM_BYTES: Final = 1 << 28
# Every reader of JSON has whole numbers up to here exactly.
MAX_COUNT: Final = 1 << 53
# A unit is labelled in memory whole, so no run has one of so many rows.
MAX_UNIT_ROWS: Final = 100_000_000

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
PlanId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _Claim(BaseModel):
    """As JSON has it, without conversions; keys that are not verified may be there."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Pin(_Claim):
    """One input object at the moment of planning."""

    name: str
    size: Count
    version: str

    @property
    def object_pin(self) -> ObjectPin:
        """The same, for the storage."""
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
    """Rows of one file that are labelled and committed as one."""

    unit_id: str
    pin: Pin
    range: RowRange


class PlannedFile(_Claim):
    """A readable input file; `classes` are the carried columns whose numbers it names, in plans that say so."""

    pin: Pin
    row_groups: tuple[Count, ...]
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


class BadFile(_Claim):
    """An input file that could not be read; `rows` is None where its footer could not be either."""

    uri: str
    size: Count
    version: str
    reason: str
    rows: Count | None


class Recipe(_Claim):
    """Of what decides the labels, the part that shows in the files."""

    columns: tuple[str, ...]
    with_source: bool
    max_length: int
    review_below: float | None = None
    long_premise: Literal["window"] | None = None


class ColumnSettings(_Claim):
    """The input's names of our two columns, and the columns that were carried."""

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
        place = 1 if self.with_ids else 0
        if self.recipe.columns[place : place + 2] != (self.settings.premise_column, self.settings.hypothesis_column):
            raise ValueError("recipe.columns must begin with the id, if there is one, premise and hypothesis")
        return self

    @property
    def with_ids(self) -> bool:
        """Whether the input has a column of ids."""
        return self.recipe.columns[:1] != (self.settings.premise_column,)

    @property
    def may_lack_carried(self) -> bool:
        """Whether a carried column is null for the rows of a file that lacks it."""
        return self.settings.carry == ("all",)

    def source_uri(self, name: str) -> str:
        """An input file as `source_file` and the quarantine have it."""
        return storage.open_folder(self.input_uri).uri_of(name)


class Summary(_Claim):
    """What a unit holds, as the manifest has it."""

    unit_id: str
    rows_in: Count
    labelled: Count
    rejected: dict[str, int]
    labels: dict[str, int]
    tokens: Count
    truncated: Count
    # Not told by runs of earlier versions.
    needs_review: Count = 0
    windowed: Count = 0


class NamedFile(_Claim):
    """A file of labels or of rejected rows, as the manifest names it."""

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
    """All that could not be read."""

    files: tuple[BadFile, ...]
    units: tuple[QuarantinedUnit, ...]
    rows_known: Count


class InputFile(Pin):
    """An input file as the manifest has it."""

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
    replaces: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    labels: dict[str, Count]
    tokens: Count
    truncated: Count
    needs_review: Count = 0
    windowed: Count = 0


Claim = TypeVar("Claim", Manifest, Plan)


def read_claim(output: Folder, name: str, kind: type[Claim]) -> Claim | list[Finding]:
    """The manifest or plan that stands under `name`, or why it is none."""
    there = output.stat(name)
    if there is None:
        return [Finding(name, f"the {kind.__name__.lower()} of the published run", "nothing")]
    if there.size > MAX_CLAIM_BYTES:
        return [Finding(name, f"at most {MAX_CLAIM_BYTES:,} bytes", f"{there.size:,}")]
    try:
        return kind.model_validate_json(output.read(name))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return [
            Finding(name, f"a {kind.__name__.lower()} of format 1", f"{_key(fault['loc'])}{fault['msg']}")
            for fault in faults
        ]


def plan_name(plan_id: str) -> str:
    """Where a run keeps its plan."""
    return f"_runs/{plan_id}/plan.json"


def is_named_after(path: str, unit: PlannedUnit, folder: str) -> bool:
    """Whether a file in `folder` is named as those of the unit: after its source, first row, unit and publication.

    In runs of version 1 after the unit alone.
    """
    name = (
        re.escape(folder)
        + rf"part-(?:[^/]*,{unit.range.first_row:012d},)?{unit.unit_id}(?:,\d+-[0-9a-f]{{8}})?\.parquet"
    )
    return re.fullmatch(name, path) is not None


def sorts_as_input(paths: Sequence[str]) -> bool:
    """Whether readers that sort names read the rows in the order of the input; in runs of version 1 they do not."""
    return list(paths) == sorted(paths) or any("," not in path for path in paths)


def _key(path: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""
