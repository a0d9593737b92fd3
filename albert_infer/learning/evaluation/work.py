"""Runs an evaluation from its settings: opens the sources, reads their rows once, and turns the counts into figures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from albert_infer.common.printable import how_many
from albert_infer.config import EvaluateSettings
from albert_infer.errors import InputError
from albert_infer.learning.evaluation import fitted
from albert_infer.learning.evaluation.calibration import fitted_temperature
from albert_infer.learning.evaluation.comparison import Comparison, churn
from albert_infer.learning.evaluation.counting import Counts, Sample
from albert_infer.learning.evaluation.document import Evaluation, against_gold, row_counts
from albert_infer.learning.evaluation.labelled_here import LabelledHere
from albert_infer.learning.evaluation.rows import RowSource
from albert_infer.learning.evaluation.runs import PublishedRun, open_run, refuse_other_input, refuse_without_gold
from albert_infer.learning.evaluation.scored import ScoredEvaluation, evaluated_scores
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.gold import GoldColumns, survey_gold
from albert_infer.schema import N_TOKENS, TRUNCATED
from albert_infer.storage import S3Access

PACKAGES: Final = ("albert-infer", "scikit-learn", "numpy", "pyarrow")


@dataclass(frozen=True)
class Subjects:
    """The source to evaluate, and the source to compare with. `shown` shows the progress during its block.

    `review_below` is that of the run. Its `needs_review` follows from this and from the stored probabilities.
    """

    this: RowSource
    other: RowSource | None
    shown: AbstractContextManager[object]
    review_below: float | None = None


def evaluated(settings: EvaluateSettings) -> Evaluation | ScoredEvaluation:
    """Evaluate by the settings. Every row is read, or labelled, once.

    Also writes a calibrated copy of the checkpoint if the settings name one. Raises AlbertInferError.
    """
    access = S3Access(settings.s3_endpoint)
    copy = fitted.empty_folder(settings.fit_temperature, access) if settings.fit_temperature else None
    slices = tuple(name for name in settings.slices if name not in (N_TOKENS, TRUNCATED))
    versions = {package: version(package) for package in PACKAGES}
    run = open_run("--run", settings.run, settings.gold_column, slices, access) if settings.run else None
    if run is not None and run.scoring_rule is not None:
        return evaluated_scores(run, settings, versions)
    subjects = _runs(run, settings, access) if run is not None else _labelled_here(settings, slices, access)
    this = subjects.this
    if subjects.other:
        _refuse_other_labels(this, subjects.other)
    counts = Counts(
        slices, subjects.review_below if settings.review_below is None else settings.review_below, label_set=this.labels
    )
    comparison = Comparison(subjects.other.batches(), this.labels) if subjects.other else None
    with subjects.shown:
        for rows in this.batches():
            counts.add(rows)
            if comparison:
                comparison.add(rows)
        if comparison:
            comparison.finish()
    if this.has_gold and not counts.cells.any():
        problem = f"none of its {how_many(counts.rows, 'labelled row')} has a gold label"
        raise InputError(
            f"an evaluation of {settings.run or settings.pairs}", problem, "give --gold-column, or other rows"
        )
    fit = None
    if copy and isinstance(this, LabelledHere):
        fit = fitted_temperature(Sample.of(counts), this.checkpoint.temperature)
        fitted.write_fitted(copy, this.checkpoint, access, fit, this.gold)
    return Evaluation(
        source=this.description(),
        rows=row_counts(counts, dict(this.rejected)),
        against_gold=against_gold(counts, this.file_and_row, texts=not settings.no_texts) if this.has_gold else None,
        churn=churn(comparison, subjects.other.description()) if comparison and subjects.other else None,
        fit=fit,
        versions=versions,
    )


def _runs(run: PublishedRun, settings: EvaluateSettings, access: S3Access) -> Subjects:
    if settings.other_run is None:
        refuse_without_gold(run, settings.gold_column)
        return Subjects(run, None, nullcontext(), run.review_below)
    other = open_run("--other-run", settings.other_run, settings.gold_column, (), access)
    refuse_other_input(run, other)
    return Subjects(run, other, nullcontext(), run.review_below)


def _labelled_here(settings: EvaluateSettings, slices: tuple[str, ...], access: S3Access) -> Subjects:
    columns = GoldColumns(settings.gold_column, settings.premise_column, settings.hypothesis_column, slices)
    checkpoint = load_checkpoint(settings.model, label_order=settings.label_order, access=access)
    gold = survey_gold("--pairs", str(settings.pairs), columns, access, labels=checkpoint.labels)
    this = LabelledHere(gold, checkpoint, slices, settings)
    if settings.other_model is None:
        return Subjects(this, None, this.shown())
    checkpoint = load_checkpoint(settings.other_model, label_order=settings.other_label_order, access=access)
    return Subjects(this, LabelledHere(gold, checkpoint, (), settings), this.shown())


def _refuse_other_labels(this: RowSource, other: RowSource) -> None:
    """Raise InputError unless both sources have the same labels."""
    if this.labels != other.labels:
        asked = f"a comparison with {other.description()['model']}"
        problem = f"its labels are {', '.join(other.labels)}; here they are {', '.join(this.labels)}"
        raise InputError(asked, problem, "compare checkpoints with the same labels, or evaluate each one alone")
