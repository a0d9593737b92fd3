"""A published run as a source of rows. It reads the files that the manifest names, and only the columns it needs.

It does not check the digests of the files: `albert-infer verify` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from albert_infer import storage
from albert_infer.common.printable import REASON_LETTERS, one_line
from albert_infer.errors import InputError, ObjectMissingError
from albert_infer.learning.evaluation import expanded_rows
from albert_infer.learning.evaluation.rows import POSITION, columns_of, positions, split_position
from albert_infer.preflight.gold import GOLD, NO_GOLD, gold_codes, refuse_unclear_numbers
from albert_infer.read.class_names import ClassNames
from albert_infer.read.stored_columns import stored_columns
from albert_infer.schema import RESERVED_NAMES, SOURCE_ROW, THREE_LABELS, TWO_LABELS, Expansion, FoldRule, LabelSet
from albert_infer.storage import AccessError, Folder, S3Access
from albert_infer.verification import claims
from albert_infer.verification.claims import SUCCESS, NamedFile, PlannedUnit

# Rows per batch: some megabytes of text.
BATCH_ROWS: Final = 16_384
REMEDY: Final = "recount the run with albert-infer verify"

Claim = TypeVar("Claim", bound=BaseModel)


class _Model(claims.Model):
    digests: Mapping[str, object] = {}


class _Recipe(claims.Recipe):
    precision: str
    model: _Model


class _Settings(claims.ColumnSettings):
    model: str


class _Plan(claims.Plan):
    recipe: _Recipe
    settings: _Settings


@dataclass(frozen=True)
class Part:
    """Some rows of a file of a run, with their positions (R), and the class names of the gold column of the input."""

    rows: pa.Table
    positions: NDArray[np.int64]
    names: ClassNames
    path: str


@dataclass(frozen=True)
class PublishedRun:
    """The labelled rows of a published run. `gold_column` is None if the run did not carry it.

    In a run that published pairs alone, each pair is a row with the position of its row of the input.
    """

    folder: Folder
    manifest: claims.Manifest
    plan: _Plan
    gold_column: str | None
    slices: tuple[str, ...]
    # How the rows of the input became several pairs; None if each is one pair.
    expansion: Expansion | None = None

    @property
    def scoring_rule(self) -> FoldRule | None:
        """The rule that gave the rows a score instead of a label; None if they have labels."""
        if self.expansion is None or not self.expansion.publishes_scores or self.expansion.fold.chooses_pair:
            return None
        return self.expansion.fold

    @property
    def has_pairs(self) -> bool:
        """Whether the rows of the run are pairs, several of one row of the input."""
        return self.expansion is not None and not self.expansion.publishes_scores

    @property
    def labels(self) -> LabelSet:
        """The labels of the run's checkpoint."""
        return TWO_LABELS if len(self.plan.recipe.model.label_map) == len(TWO_LABELS) else THREE_LABELS

    @property
    def rows(self) -> int:
        """The number of labelled rows."""
        return self.manifest.labelled

    @property
    def has_gold(self) -> bool:
        """Whether the run carried the gold column."""
        return self.gold_column is not None

    @property
    def rejected(self) -> Mapping[str, int]:
        """The numbers of rejected rows by reason, from the manifest."""
        return self.manifest.rejected

    @property
    def review_below(self) -> float | None:
        """The probability below which the run marked labels for review; None without marks."""
        return self.plan.recipe.review_below

    def description(self) -> Mapping[str, object]:
        """The location of the run, and its model, as JSON."""
        recipe = self.plan.recipe
        return {
            "run": self.folder.uri,
            "plan_id": self.plan.plan_id,
            "input": self.plan.input_uri,
            "gold_column": self.gold_column,
            "model": self.plan.settings.model,
            "model_digests": recipe.model.digests,
            "precision": recipe.precision,
        }

    def file_and_row(self, position: int) -> tuple[str, int]:
        """The input file, by the name in the run's rejected rows, and the row in it."""
        file, row = split_position(position)
        return self.plan.source_uri(self.plan.files[file].pin.name), row

    def batches(self) -> Iterator[pa.Table]:
        """Yield every labelled row once, in the order of the input. Raises InputError for a damaged file."""
        wanted = [name for name in columns_of(self.labels) if name not in (POSITION, GOLD)]
        gold = [] if self.gold_column is None else [self.gold_column]
        for part in self.parts([*wanted, *gold, *self.slices]):
            rows = part.rows.select([*wanted, *self.slices])
            rows = rows.append_column(GOLD, self._gold(part.rows, part.path, part.names))
            yield rows.append_column(POSITION, pa.array(part.positions))

    def parts(self, columns: Sequence[str]) -> Iterator[Part]:
        """Yield these columns of every labelled row once, in the order of the input, thousands of rows at a time.

        The hypothesis of a row is that of its `hypothesis_id`, where the table has ids alone. Raises InputError for a
        damaged file.
        """
        number = {file.pin: index for index, file in enumerate(self.plan.files)}
        parts = {entry.unit_id: entry for entry in self.manifest.files}
        for unit in self.plan.units:
            if unit.unit_id in parts:
                unit_positions = positions(number[unit.pin], self._labelled_rows(unit))
                names = self._names[number[unit.pin]]
                yield from self._parts(parts[unit.unit_id], unit_positions, names, columns)

    @cached_property
    def _names(self) -> list[ClassNames]:
        """The class names of the gold column in each input file, from the plan.

        Raises InputError if the numbers of the column are ambiguous.
        """
        files = self.plan.files
        names = [dict(file.classes).get(self.gold_column or "", ()) for file in files]
        asked = f"column `{self.gold_column}` of the run at {self.folder.uri}"
        if self.scoring_rule is None:
            files_with = {each: file.pin.name for file, each in zip(files, names, strict=True) if file.rows}
            with expanded_rows.advice_for_rows(self.expansion):
                refuse_unclear_numbers(asked, files_with, self.labels)
        return names

    @cached_property
    def _rejected_parts(self) -> dict[str, NamedFile]:
        return {entry.unit_id: entry for entry in self.manifest.rejected_files}

    def _labelled_rows(self, unit: PlannedUnit) -> NDArray[np.int64]:
        """The rows of the input file that are labelled rows of the unit: all except the rejected ones."""
        rows = np.arange(unit.range.first_row, unit.range.stop, dtype=np.int64)
        rejected = self._rejected_parts.get(unit.unit_id)
        if rejected is None:
            return rows
        rejected_rows = pa.Table.from_batches(self._read(rejected.path, [SOURCE_ROW]))[SOURCE_ROW]
        return np.setdiff1d(rows, rejected_rows.to_numpy(), assume_unique=True)

    def _parts(
        self, entry: NamedFile, unit_positions: NDArray[np.int64], names: ClassNames, columns: Sequence[str]
    ) -> Iterator[Part]:
        read = 0
        for batch in self._read(entry.path, expanded_rows.stored_names(columns, self.expansion)):
            rows = pa.Table.from_batches([batch])
            numbers = read - 1 + np.cumsum(expanded_rows.begins_row(rows, self.expansion))
            read = int(numbers[-1]) + 1 if len(numbers) else read
            if read > len(unit_positions):
                break
            yield Part(expanded_rows.with_hypotheses(rows, self.expansion), unit_positions[numbers], names, entry.path)
        if read != len(unit_positions):
            problem = f"at least {read} rows, but plan and rejected rows leave {len(unit_positions)}"
            raise InputError(f"the labels in {self.folder.uri_of(entry.path)}", problem, REMEDY)

    def _gold(self, rows: pa.Table, path: str, names: ClassNames) -> pa.Array:
        if self.gold_column is None:
            return pa.array(np.full(rows.num_rows, NO_GOLD, np.int8))
        where = f"column `{self.gold_column}` of {self.folder.uri_of(path)}"
        with expanded_rows.advice_for_rows(self.expansion):
            return pa.array(gold_codes(rows[self.gold_column], where, names, self.labels))

    def _read(self, path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            pin = self.folder.stat(path)
            if pin is None:
                raise InputError(f"the run at {self.folder.uri}", f"{SUCCESS} names {path}, which is missing", REMEDY)
            with self.folder.open_pinned(pin) as file:
                parquet = pq.ParquetFile(file, pre_buffer=True)
                missing = [name for name in columns if name not in parquet.schema_arrow.names]
                if missing:
                    raise InputError(
                        f"column `{missing[0]}` of {self.folder.uri_of(path)}", "the file has no such column", REMEDY
                    )
                yield from parquet.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            problem = one_line(error)[:REASON_LETTERS]
            raise InputError(f"the labels in {self.folder.uri_of(path)}", problem, REMEDY) from error


def open_run(flag: str, uri: str, gold_column: str, slices: Sequence[str], access: S3Access) -> PublishedRun:
    """The run that is published at `uri`. `flag` names the setting in messages.

    Raises InputError if nothing is published, for an output column as gold column, and for slices that the run did not
    carry. The run's `gold_column` is None if it did not carry the column.
    """
    folder = storage.open_folder(uri, access)
    asked = f"{flag} {folder.uri}"
    try:
        manifest = _claim(folder, SUCCESS, claims.Manifest, asked)
        plan_name = claims.plan_name(manifest.plan_id)
        plan = _claim(folder, plan_name, _Plan, asked)
        expansion = stored_columns(folder.read(plan_name), folder.uri_of(plan_name)).expansion
        names = _columns(folder, manifest, asked)
    except (AccessError, ObjectMissingError) as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    results = expansion.result_fields(THREE_LABELS) if expansion is not None else ()
    if gold_column in RESERVED_NAMES | {field.name for field in results}:
        remedy = "carry the gold labels under another name, and give that"
        raise InputError(f"{asked} with --gold-column {gold_column}", "it is an output column", remedy)
    missing = [name for name in slices if name not in names]
    if missing:
        problem = f"the run has no such column, but {', '.join(names)}"
        raise InputError(f"{asked} with --slices {missing[0]}", problem, "name columns that the run carried")
    return PublishedRun(folder, manifest, plan, gold_column if gold_column in names else None, tuple(slices), expansion)


def refuse_without_gold(run: PublishedRun, gold_column: str) -> None:
    """Raise InputError for a run that did not carry its gold labels."""
    if not run.has_gold:
        remedy = f"label with --carry {gold_column}, or name the column with --gold-column"
        raise InputError(f"the gold labels of {run.folder.uri}", f"the run has no column `{gold_column}`", remedy)


def _columns(folder: Folder, manifest: claims.Manifest, asked: str) -> list[str]:
    """The names of the columns in the run's files."""
    first = next((entry for entry in manifest.files if entry.rows), None)
    pin = folder.stat(first.path) if first else None
    if pin is None:
        problem = "it has no labelled row" if first is None else f"{first.path} is missing"
        raise InputError(asked, problem, REMEDY)
    with folder.open_pinned(pin) as file:
        return list(pq.ParquetFile(file).schema_arrow.names)


def _claim(folder: Folder, name: str, kind: type[Claim], asked: str) -> Claim:
    pin = folder.stat(name)
    if pin is None:
        raise InputError(asked, f"there is no {name}", "give the folder of a published run")
    if pin.size > claims.MAX_CLAIM_BYTES:
        problem = f"{name} has {pin.size:,} bytes, and at most {claims.MAX_CLAIM_BYTES:,} are read"
        raise InputError(asked, problem, REMEDY)
    try:
        return kind.model_validate_json(folder.read(name))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        problem = f"{name} is not of format 1: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise InputError(asked, problem, "give a run of this version") from error


def refuse_other_input(one: PublishedRun, other: PublishedRun) -> None:
    """Raise InputError unless both runs labelled the same files, and each row has one label. Otherwise rows differ."""
    for run in (one, other):
        if run.has_pairs or run.scoring_rule is not None:
            rows = "pairs" if run.has_pairs else "scores"
            problem = f"its rows are {rows}, and labels of rows are compared"
            raise InputError(f"compare {run.folder.uri} with another run", problem, "evaluate each run alone")
    ours, theirs = ({(*file.model_dump().values(),) for file in run.manifest.inputs} for run in (one, other))
    if ours != theirs:
        name = min(str(file[0]) for file in ours ^ theirs)
        problem = f"their inputs differ, first in {name}: only one run has it, or it changed between the runs"
        asked = f"compare {one.folder.uri} with {other.folder.uri}"
        raise InputError(asked, problem, "give two runs of the same files")
