"""Rows to evaluate: as batches of a source, and as runs that are published by the job's own steps, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pairs import RECIPE, settings_for, write_pairs

from albert_infer import schema, storage
from albert_infer.learning.evaluation.rows import POSITION
from albert_infer.output import commit
from albert_infer.preflight.gold import GOLD
from albert_infer.read.planning import LabelRecipe, make_plan
from albert_infer.read.survey import survey_input
from albert_infer.schema import NliLabel, Rejection
from benchmarks.staged import StagedRun

NAMES = [str(label) for label in NliLabel]


@dataclass(frozen=True)
class Rows:
    """What some rows are judged by: gold labels and probabilities, R of each."""

    gold: NDArray[np.int8]
    probabilities: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label of each: the one of the largest probability."""
        found: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found

    def table(self, *, first: int = 0, **columns: Sequence[Any] | pa.Array) -> pa.Table:
        """The rows as a source gives them; `first` is the place of the first one."""
        rows = len(self.gold)
        numbers = range(first, first + rows)
        texts = {
            schema.PREMISE: [f"premise {number}" for number in numbers],
            schema.HYPOTHESIS: [f"hypothesis {number}" for number in numbers],
        }
        return pa.table(
            {
                POSITION: pa.array(np.arange(first, first + rows)),
                GOLD: pa.array(self.gold, pa.int8()),
                **label_columns(self.probabilities),
                schema.N_TOKENS: pa.array([8 + number % 40 for number in numbers], pa.int32()),
                schema.TRUNCATED: pa.array([number % 5 == 0 for number in numbers]),
                **texts,
                **columns,
            }
        )


def label_columns(probabilities: NDArray[np.float32]) -> dict[str, pa.Array]:
    labels = pa.array([NAMES[label] for label in probabilities.argmax(axis=1)], pa.string())
    columns = {name: pa.array(probabilities[:, place]) for place, name in enumerate(schema.PROBABILITIES)}
    return {schema.LABEL: labels, **columns}


def made_up_rows(rows: int, *, seed: int, right: float = 0.7, unknown: float = 0.0) -> Rows:
    """Rows of which about a share `right` have the gold label, and `unknown` none."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 3, rows)
    best = np.where(generator.random(rows) < right, gold, (gold + generator.integers(1, 3, rows)) % 3)
    probabilities = generator.dirichlet((1, 1, 1), rows)
    probabilities.sort(axis=1)
    order = (best[:, np.newaxis] + np.array([1, 2, 0])) % 3
    placed = np.empty_like(probabilities)
    np.put_along_axis(placed, order, probabilities, axis=1)
    gold = np.where(generator.random(rows) < unknown, -1, gold)
    return Rows(gold.astype(np.int8), placed.astype(np.float32))


def gold_names(rows: Rows) -> list[str]:
    return [NAMES[gold] if gold >= 0 else "-" for gold in rows.gold]


def published_run(
    output: Path,
    pairs: pa.Table,
    rows: Rows,
    *,
    rejected: Sequence[int] = (),
    carry: str = "gold_label",
    **settings: Any,
) -> Path:
    """Publish `pairs`, which are written beside `output`, as labelled so; the rows numbered in `rejected` have none."""
    source = output.parent / "in"
    if not source.exists():
        write_pairs(source / "a.parquet", pairs, row_group_size=10)
    asked = settings_for(source, carry=carry, max_rejected_share=1, **settings)
    found = storage.resolve_input(str(source))
    survey = survey_input(found, asked)
    recipe: LabelRecipe = {**RECIPE, "max_length": 512, "truncation": str(output)}
    plan = make_plan(survey, asked, recipe, 512)
    target = storage.open_folder(str(output))
    for unit in plan.units:
        part = slice(unit.range.first_row, unit.range.first_row + unit.range.rows)
        bad = np.isin(np.arange(pairs.num_rows)[part], rejected)
        table = _labelled(pairs[part].select(survey.columns.input_names), rows.probabilities[part], bad, unit.unit_id)
        origin = commit.Source(found.folder.uri_of(unit.pin.name), unit.range.first_row, unit.range.rows)
        commit.commit_unit(target, unit.unit_id, origin, table, survey.columns)
    StagedRun(plan, target, asked).publish()
    return output


def _labelled(pairs: pa.Table, probabilities: NDArray[np.float32], bad: NDArray[np.bool_], unit_id: str) -> pa.Table:
    """As the classify stage leaves a unit."""
    rows, mask = pairs.num_rows, pa.array(bad)
    added: dict[str, pa.Array] = {
        name: pa.array(column.to_pylist(), column.type, mask=bad)
        for name, column in label_columns(probabilities).items()
    }
    added |= {
        schema.N_TOKENS: pa.array([8] * rows, pa.int32()),
        schema.TRUNCATED: pa.array([False] * rows),
        schema.REJECTION: pa.array([Rejection.EMPTY_TEXT if each else None for each in mask.to_pylist()], pa.string()),
        schema.DETAIL: pa.nulls(rows, pa.string()),
        schema.UNIT: pa.array([unit_id] * rows, pa.string()),
        schema.ROW: pa.array(range(rows), pa.int64()),
        schema.UNIT_QUARANTINE: pa.nulls(rows, pa.string()),
    }
    for name, column in added.items():
        pairs = pairs.append_column(name, column)
    return pairs
