"""The headline numbers for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Column

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines, table_lines
from albert_infer.learning.evaluation.document import AgainstGold, Evaluation
from albert_infer.learning.evaluation.metrics import Estimate
from albert_infer.learning.evaluation.page import number, percent, points
from albert_infer.learning.evaluation.scored import ScoredEvaluation

WIDTH = 100


COLUMNS = (
    Column("figure"),
    Column("", justify="right"),
    Column("95 % interval", justify="right"),
    Column("of", justify="right"),
)
Row = tuple[str, str, str, str]


def headline_text(evaluation: Evaluation | ScoredEvaluation, output: str, *, width: int | None = None) -> PrintableText:
    """A table of the headline numbers with their intervals, and the location of the page."""
    if isinstance(evaluation, ScoredEvaluation):
        return _scored_text(evaluation, output, width)
    figures: list[Row] = []
    if evaluation.against_gold:
        figures += _quality(evaluation.against_gold)
    if evaluation.churn:
        figures.append(_row("same label as the other", evaluation.churn.agreement, evaluation.churn.rows))
        if judged := evaluation.churn.judged:
            figures.append(_row("the other's accuracy", judged.other_accuracy, judged.rows))
    rows = evaluation.rows
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in rows.rejected.items()) or "none"
    facts = {
        "rows": f"{rows.labelled:,} labelled, {rows.with_gold:,} of them with a gold label",
        "rejected": rejected,
    }
    if fit := evaluation.fit:
        effect = f"calibration error {percent(fit.ece_before, 2)} before, {percent(fit.ece_after, 2)} after"
        facts["temperature"] = f"{number(fit.temperature)}; {effect}, fitted on {how_many(fit.fitted_on, 'pair')}"
    return _text(figures, facts, output, width)


def _scored_text(evaluation: ScoredEvaluation, output: str, width: int | None) -> PrintableText:
    figures: list[Row] = []
    if ranked := evaluation.ranking:
        figures = [_row("accuracy", ranked.accuracy, ranked.rows), _row("macro-F1", ranked.macro_f1, ranked.rows)]
        figures += [
            _row(f"among the best {k}", share, ranked.rows) for k, share in ranked.accuracy_at.items() if k != "1"
        ]
        figures.append(_row("most frequent id", ranked.majority, ranked.rows))
        figures.append(_row("calibration error", ranked.calibration.ece, ranked.rows))
    rows = evaluation.rows
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in rows.rejected.items()) or "none"
    facts = {
        "rows": f"{rows.scored:,} with a score, {rows.with_gold:,} of them with a gold answer",
        "rejected": rejected,
    }
    if scored := evaluation.consistency:
        figures = [
            _row("ROC AUC", scored.auc, scored.sampled_rows),
            _row("balanced accuracy", scored.balanced_accuracy, scored.sampled_rows),
            _row("  consistent: right", scored.consistent_recall, scored.consistent_rows),
            _row("  inconsistent: right", scored.inconsistent_recall, scored.inconsistent_rows),
        ]
        facts["threshold"] = f"{number(scored.threshold)}: consistent from this score on; fitted on the same rows"
    return _text(figures, facts, output, width)


def _text(figures: list[Row], facts: dict[str, str], output: str, width: int | None) -> PrintableText:
    facts["written"] = f"evaluation.html and evaluation.json in {output}"
    table = table_lines(COLUMNS, figures, width=min(width or WIDTH, WIDTH))
    return text_of([*table, *fact_lines(facts, width=width)])


def _quality(gold: AgainstGold) -> Iterator[Row]:
    rows = gold.quality.rows
    yield _row("accuracy", gold.quality.accuracy, rows)
    yield _row("macro-F1", gold.quality.macro_f1, rows)
    for label, of in gold.quality.labels.items():
        yield _row(f"  {label}: precision", of.precision, of.labelled_rows)
        yield _row(f"  {label}: recall", of.recall, of.gold_rows)
    yield _row("calibration error", gold.calibration.ece, rows)
    if baselines := gold.baselines:
        yield _row("hypotheses alone", baselines.hypothesis_only, baselines.measured_on)
        yield _row("most frequent label", baselines.majority, baselines.measured_on)
    if review := gold.review:
        below, above = review.quality_below, review.quality_above
        yield _row(f"accuracy below {review.below:g}", below.accuracy, below.rows)
        yield _row(f"accuracy from {review.below:g} on", above.accuracy, above.rows)


def _row(name: str, estimate: Estimate, rows: int) -> Row:
    return name, percent(estimate), points(estimate), f"{rows:,}"
