"""The complete evaluation, for `evaluation.json` and for the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from albert_infer.learning.evaluation.baselines import Baselines, baselines
from albert_infer.learning.evaluation.calibration import Calibration, Fit, calibration
from albert_infer.learning.evaluation.comparison import Churn
from albert_infer.learning.evaluation.counting import MAX_VALUES, OTHER, SAMPLE_ROWS, Counts, Sample, ValueCells
from albert_infer.learning.evaluation.metrics import Quality, Summary, quality, summary
from albert_infer.learning.evaluation.rows import POSITION, gold_of, labels_of, probabilities_of
from albert_infer.schema import HYPOTHESIS, N_TOKENS, PREMISE

FORMAT: Final = 1
# The number of values of a column that are shown; the most frequent ones.
SHOWN_VALUES: Final = 50


@dataclass(frozen=True)
class RowCounts:
    """The numbers of rows: labelled (with or without a gold label) and rejected."""

    labelled: int
    with_gold: int
    without_gold: int
    rejected: dict[str, int]
    labels: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """The share of rows without a label. Accuracy does not include them."""
        rejected = sum(self.rejected.values())
        return rejected / max(rejected + self.labelled, 1)


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column."""

    value: str
    summary: Summary


@dataclass(frozen=True)
class Review:
    """Rows whose label has a probability below `below`, for review by people, and the other rows."""

    below: float
    rows_below: int
    rows_above: int
    quality_below: Summary
    quality_above: Summary


@dataclass(frozen=True)
class HardPair:
    """A wrong label with a high probability. Texts are None with `no_texts`."""

    file: str
    row: int
    gold: str
    label: str
    probability: float
    premise: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class AgainstGold:
    """The figures that need gold labels."""

    quality: Quality
    slices: dict[str, tuple[Slice, ...]]
    calibration: Calibration
    review: Review | None
    # None for too few rows.
    baselines: Baselines | None
    hardest: tuple[HardPair, ...]


@dataclass(frozen=True)
class Evaluation:
    """The source and the results. `against_gold` is None if two runs without gold labels were compared."""

    source: Mapping[str, object]
    rows: RowCounts
    against_gold: AgainstGold | None
    churn: Churn | None
    fit: Fit | None
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The bytes of `evaluation.json`. Undefined figures are null."""
        return as_json({"format": FORMAT, **asdict(self)})


def row_counts(counts: Counts, rejected: dict[str, int]) -> RowCounts:
    """The numbers of rows of each kind."""
    with_gold = int(counts.cells.sum())
    labels = {str(label): int(rows) for label, rows in zip(counts.label_set, counts.labels, strict=True)}
    return RowCounts(counts.rows, with_gold, counts.rows - with_gold, rejected, labels)


def against_gold(counts: Counts, file_and_row: Callable[[int], tuple[str, int]], *, texts: bool) -> AgainstGold:
    """The figures against gold labels. At least one row must have a gold label."""
    sample = Sample.of(counts)
    return AgainstGold(
        quality(counts.cells, counts.label_set),
        {name: _slices(name, values) for name, values in counts.slices.items()},
        calibration(counts, sample),
        _review(counts),
        baselines(sample),
        _hardest(counts, file_and_row, texts=texts),
    )


def _slices(name: str, values: ValueCells) -> tuple[Slice, ...]:
    """The most frequent values, and all others together. Token counts ascend; other columns descend by rows."""
    items = list(values.items())
    if name != N_TOKENS:
        items.sort(key=lambda item: (item[0] == OTHER, -item[1].sum()))
        rare = [cells for value, cells in items[SHOWN_VALUES:] if value != OTHER]
        other = [cells for value, cells in items if value == OTHER]
        items = [item for item in items[:SHOWN_VALUES] if item[0] != OTHER]
        if rare or other:
            items.append((OTHER, np.sum([*rare, *other], axis=0)))
    return tuple(Slice(value, summary(cells)) for value, cells in items)


def _review(counts: Counts) -> Review | None:
    if counts.review_below is None:
        return None
    below, above = counts.review_rows
    summaries = [summary(cells) for cells in counts.review_cells]
    return Review(counts.review_below, int(below), int(above), *summaries)


def _hardest(counts: Counts, file_and_row: Callable[[int], tuple[str, int]], *, texts: bool) -> tuple[HardPair, ...]:
    rows = counts.hardest.rows()
    if rows is None:
        return ()
    names = [str(label) for label in counts.label_set]
    labels = [names[label] for label in labels_of(rows)]
    golds = [names[gold] for gold in gold_of(rows)]
    return tuple(
        HardPair(
            *file_and_row(row[POSITION]),
            gold,
            label,
            float(probability),
            row[PREMISE] if texts else None,
            row[HYPOTHESIS] if texts else None,
        )
        for row, gold, label, probability in zip(
            rows.to_pylist(), golds, labels, probabilities_of(rows).max(axis=1), strict=True
        )
    )


def limits() -> dict[str, int]:
    """The limits behind the figures, for readers of the page."""
    return {"values_counted": MAX_VALUES, "values_shown": SHOWN_VALUES, "sample_rows": SAMPLE_ROWS}


def as_json(document: Mapping[str, object]) -> bytes:
    """A document as JSON. Undefined figures are null."""
    return json.dumps(_without_nan(document), indent=1, ensure_ascii=False, allow_nan=False).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
