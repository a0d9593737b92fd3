"""The headline numbers for a terminal."""

from __future__ import annotations

import io

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from albert_infer.evaluation.document import AgainstGold, Evaluation
from albert_infer.evaluation.metrics import Estimate
from albert_infer.evaluation.page import number, percent, points

WIDTH = 100


def text_of(evaluation: Evaluation, output: str) -> str:
    """A table of the headline numbers with their intervals, and where the page is."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("figure")
    table.add_column("", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("of", justify="right")
    if evaluation.against_gold:
        _add_quality(table, evaluation.against_gold)
    if evaluation.churn:
        _add(table, "same label as the other", evaluation.churn.agreement, evaluation.churn.rows)
        if evaluation.churn.judged:
            _add(table, "the other's accuracy", evaluation.churn.judged.other_accuracy, evaluation.churn.judged.rows)
    rows, lines = evaluation.rows, []
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in rows.rejected.items()) or "none"
    lines.append(f"{'rows':<12} {rows.labelled:,} labelled, {rows.with_gold:,} of them with a gold label")
    lines.append(f"{'rejected':<12} {rejected}")
    if fit := evaluation.fit:
        effect = f"calibration error {percent(fit.ece_before, 2)} before, {percent(fit.ece_after, 2)} after"
        lines.append(f"{'temperature':<12} {number(fit.temperature)}; {effect}, fitted on {fit.fitted_on:,} pairs")
    lines.append(f"{'written':<12} evaluation.html and evaluation.json in {output}")
    return f"{_plain(table)}\n" + "\n".join(lines)


def _add_quality(table: Table, gold: AgainstGold) -> None:
    rows = gold.quality.rows
    _add(table, "accuracy", gold.quality.accuracy, rows)
    _add(table, "macro-F1", gold.quality.macro_f1, rows)
    for label, of in gold.quality.labels.items():
        _add(table, f"  {label}: precision", of.precision, of.labelled_rows)
        _add(table, f"  {label}: recall", of.recall, of.gold_rows)
    _add(table, "calibration error", gold.calibration.ece, rows)
    if found := gold.baselines:
        _add(table, "hypotheses alone", found.hypothesis_only, found.measured_on)
        _add(table, "most frequent label", found.majority, found.measured_on)
    if review := gold.review:
        _add(table, f"accuracy below {review.below:g}", review.quality_below.accuracy, review.quality_below.rows)
        _add(table, f"accuracy from {review.below:g} on", review.quality_above.accuracy, review.quality_above.rows)


def _add(table: Table, name: str, estimate: Estimate, rows: int) -> None:
    table.add_row(name, percent(estimate), points(estimate), f"{rows:,}")


def _plain(table: Table) -> str:
    file = io.StringIO()
    Console(file=file, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().strip("\n").splitlines())
