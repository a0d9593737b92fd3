"""The work of every job: from its settings to what it prints.

Each job imports its modules when it starts its work, so that help and refused settings do not wait for Ray, torch or
Arrow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from albert_infer.common.printable import PrintableText
from albert_infer.config import (
    CleanSettings,
    ConvertSettings,
    DemoSettings,
    EvaluateSettings,
    FinetuneSettings,
    LabelSettings,
    NightlySettings,
    PlanSettings,
    ReportSettings,
    ReviewSettings,
    SubmitSettings,
    VerifySettings,
)
from albert_infer.job.command import Done
from albert_infer.operations.program import from_here, this_program

if TYPE_CHECKING:
    from albert_infer.config.planning import PlanChoices
    from albert_infer.pipeline.executor import Executor

PAIRS: Final = Path(__file__).resolve().parents[1] / "model" / "builtin" / "pairs.parquet"


def labelled(settings: LabelSettings, executor: Executor | None = None) -> Done:
    """Label the pairs; return the report as text, and the facts for the summary line."""
    from albert_infer.common.display import terminal_width
    from albert_infer.job.run import label_pairs

    if settings.dry_run:
        return _forecast(settings)
    report = label_pairs(settings, executor=executor)
    return Done(report.to_text(settings.output, width=terminal_width()), report.facts())


def planned(settings: PlanSettings) -> Done:
    """Estimate what a run will take; the estimates as text, or as JSON alone."""
    return _forecast(settings.label_settings, settings)


def _forecast(settings: LabelSettings, choices: PlanChoices | None = None) -> Done:
    from albert_infer.common.display import terminal_width
    from albert_infer.job.estimate.planning import forecast

    estimated = forecast(settings, choices)
    if choices is not None and choices.format == "json":
        return Done(estimated.to_json(), is_data=True)
    return Done(estimated.to_text(width=terminal_width()), estimated.facts())


def nights_labelled(settings: NightlySettings, executor: Executor | None = None) -> Done:
    """Label the nights; return a table of them. If a night failed, write the table to stdout and raise the failure."""
    from albert_infer.common.display import terminal_width
    from albert_infer.operations.nightly import label_nights

    nights = label_nights(settings, executor)
    text = nights.to_text(width=terminal_width())
    if nights.worst:
        sys.stdout.write(f"{text}\n")
        nights.refuse_failures()
    return Done(text, nights.facts())


def submitted(settings: SubmitSettings, project: Path | None = None) -> PrintableText:
    """Submit the nights from `project`, by default this checkout; return their end as text."""
    from albert_infer.operations.submission import submit_nights
    from albert_infer.operations.uploading import checkout

    return submit_nights(settings, project or checkout())


def verified(settings: VerifySettings) -> PrintableText:
    """Recount the run; return the counts as text. With findings, write the text to stdout and raise an error."""
    from albert_infer.common.display import terminal_width
    from albert_infer.verification import verify_labels

    verification = verify_labels(settings)
    text = verification.to_text(width=terminal_width())
    if verification.findings:
        sys.stdout.write(f"{text}\n")
        verification.refuse_findings()
    return text


def evaluated(settings: EvaluateSettings) -> PrintableText:
    """Compare labels with gold labels; return the results as text."""
    from albert_infer.learning.evaluation import evaluate

    return evaluate(settings)


def finetuned(settings: FinetuneSettings) -> PrintableText:
    """Train and write the checkpoint; return a summary as text."""
    from albert_infer.common.display import terminal_width
    from albert_infer.learning.training.finetuning import finetune
    from albert_infer.learning.training.summary import summary

    return summary(finetune(settings), settings.output, width=terminal_width())


def pages_made(settings: ReportSettings) -> PrintableText:
    """Write the page of a run, or the index of runs; where it is, as text."""
    from albert_infer.operations.reporting import make_pages

    return make_pages(settings)


def reviewed(settings: ReviewSettings) -> PrintableText:
    """Write pairs for a review, or read its answers; what was done as text."""
    from albert_infer.operations.reviewing import review

    return review(settings)


def cleaned(settings: CleanSettings) -> PrintableText:
    """Clean; return the list as text. If an output failed, write the list to stdout and raise the failure."""
    from albert_infer.common.display import terminal_width
    from albert_infer.operations.cleaning import clean_runs

    cleaning = clean_runs(settings)
    text = cleaning.to_text(width=terminal_width())
    if any(output.failure for output in cleaning.outputs):
        sys.stdout.write(f"{text}\n")
        cleaning.refuse_failures()
    return text


def converted(settings: ConvertSettings) -> Done:
    """Convert; return a summary as text, and the facts for the summary line."""
    from albert_infer.common.display import terminal_width
    from albert_infer.operations.conversion import convert

    converted_checkpoint = convert(settings)
    return Done(converted_checkpoint.to_text(width=terminal_width()), converted_checkpoint.facts)


def demonstrated(settings: DemoSettings, label: Sequence[str] | None = None) -> PrintableText:
    """Label the pairs of the package; return some of them and the report as text.

    `label` are the words that start the labelling job, for the last line; by default the words of this program.
    """
    from albert_infer.operations.demo import labelled_pairs

    return labelled_pairs(settings, label or (this_program(), "label"))


def given_to_demo(output: str | Path) -> tuple[str, ...]:
    """The flags that the demo sets."""
    return ("--input", str(PAIRS), "--output", from_here(str(output)), "--carry", "gold_label,domain", "--replace")
