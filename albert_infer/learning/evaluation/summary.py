"""The headline numbers for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Column

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines, table_lines
from albert_infer.learning.evaluation.document import AgainstGold, Evaluation
from albert_infer.learning.evaluation.metrics import Estimate
from albert_infer.learning.evaluation.page import number, percent, points

WIDTH = 100


COLUMNS = (
    Column("figure"),
    Column("", justify="right"),
    Column("95 % interval", justify="right"),
    Column("of", justify="right"),
)
Row = tuple[str, str, str, str]


def headline_text(evaluation: Evaluation, output: str, *, width: int | None = None) -> PrintableText:
    """A table of the headline numbers with their intervals, and the location of the page."""
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
