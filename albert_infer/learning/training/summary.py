"""The text at the end of a fine-tuning run."""

from __future__ import annotations

from datetime import timedelta

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines
from albert_infer.learning.training.record import CountedPairs, Metrics
from albert_infer.preflight.intervals import wilson_interval


def summary(metrics: Metrics, output: str, *, width: int | None = None) -> PrintableText:
    """A few lines about the run with these metrics."""
    kept, pairs = metrics["kept"], metrics["pairs"]
    used = pairs["eval"]["used"]
    low, high = wilson_interval(round(kept["eval_accuracy"] * used), used)
    workers = metrics["workers"]["count"]
    evaluations = how_many(len(metrics["milestones"]), "evaluation")
    lines = {
        "checkpoint": f"{output}, run {metrics['run_id']}",
        "right": f"{kept['eval_accuracy']:.2%} of {how_many(used, 'eval pair')} "
        f"(95% interval: {low:.2%} to {high:.2%})",
        "kept": f"the weights after step {kept['step']:,}, the {metrics['settings']['keep']} of {evaluations}",
        "learned from": _counts(pairs["train"]),
        "evaluated on": _counts(pairs["eval"]),
        "trained by": f"{workers} {'worker' if workers == 1 else 'workers'} on {metrics['workers']['device']}, "
        f"in {metrics['precision']}",
        "time": str(timedelta(seconds=round(metrics["seconds"]))),
    }
    if metrics["new_classifier"]:
        lines["classifier"] = "new: the model had no classifier with three labels"
    return text_of(fact_lines(lines, width=width))


def _counts(pairs: CountedPairs) -> str:
    rejected = ", ".join(f"{reason} {rows:,}" for reason, rows in pairs["rejected"].items()) or "none"
    used = f"{pairs['used']:,} of {how_many(pairs['rows'], 'pair')}, {pairs['truncated']:,} of them cut"
    return f"{used}; {pairs['without_gold']:,} without a gold label; rejected: {rejected}"
