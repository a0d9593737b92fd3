"""Every job of the package, by its command name. The scripts in `jobs/` start the same jobs.

Each job imports its modules when it starts its work, so that help and refused settings do not wait for Ray, torch or
Arrow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
from albert_infer.job.command import Command, Done
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


LABEL: Final = Command(
    LabelSettings,
    labelled,
    """Label Parquet sentence pairs with ALBERT natural language inference and publish them as Parquet.

    {call} --input s3://inbox/dt=2026-11-21/ --output s3://labels/dt=2026-11-21/

    A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.""",
)
PLAN: Final = Command(
    PlanSettings,
    planned,
    """Show what a run will take before it starts: rows, tokens, rejected rows, time, device hours and cost.

    {call} --input s3://inbox/dt=2026-11-21/ --output s3://labels/dt=2026-11-21/ --card h100 --workers 4

    Reads listings, footers and a sample of the rows, and writes nothing. Needs no Ray and no GPU. Takes every setting
    of the labelling job. Rates come from earlier runs at the same output or at that of a night before, else from the
    table of the package.""",
)
NIGHTLY: Final = Command(
    NightlySettings,
    nights_labelled,
    """Label one night, or several: read the Parquet pairs of a night below --input-root, and write its labels below
    --output-root.

    {call} --input-root s3://inbox/ --output-root s3://labels/

    Without dates the command labels yesterday. Nights that are published already are not changed, so the same range
    can be given again. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.""",
)
SUBMIT: Final = Command(
    SubmitSettings,
    submitted,
    """Submit one night, or several, to a Ray cluster, follow the log, and end with the exit code of the job.

    {call} --address http://HEAD:8265 --input-root s3://inbox/ --output-root s3://labels/

    The id of the job is nli-<date>, or nli-<since>-<until>. An ended job with this id is replaced. While a job with
    this id runs, nothing is submitted (exit code 6). Ctrl-C stops following the log, but not the job. Exit code 4 also
    means that the job was stopped from outside: submit it again, and it resumes. The command takes every setting of the
    job that labels nights.""",
)
VERIFY: Final = Command(
    VerifySettings,
    verified,
    """Recount a published run from its files alone: each planned row must occur once, each file must match `_SUCCESS`.

    {call} --output s3://labels/dt=2026-11-21/ --input s3://inbox/dt=2026-11-21/

    Needs no Ray: it runs on any machine that can read both folders. Without --input, rows are counted but not
    compared. Exit code 0: no fault. Exit code 5: each line `finding` on stdout is a fault. Exit code 2: nothing is
    published there.""",
)
EVALUATE: Final = Command(
    EvaluateSettings,
    evaluated,
    """Compare labels with gold labels (accuracy, confusion, slices, calibration, baselines), or with another run.

    {call} --run s3://labels/dt=2026-11-21/ --output evaluation/

    The run must have its gold labels, from --carry gold_label. Or let --model label pairs in this process:

    {call} --pairs gold/ --model MODEL --output evaluation/

    Writes evaluation.json and evaluation.html, a page that needs no other file. Every figure has a 95 % interval.
    --fit-temperature DIR also writes a copy of the checkpoint with calibrated probabilities. Needs no Ray.""",
)
FINETUNE: Final = Command(
    FinetuneSettings,
    finetuned,
    """Fine-tune an ALBERT on labelled Parquet pairs, with Ray Train, and write a Hugging Face checkpoint folder.

    {call} --train s3://pairs/train/ --eval s3://pairs/dev/ --output s3://models/nli/

    The same command resumes a killed run from its last evaluation. With --teacher, a small model also learns from a
    large one. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the
    --config file.""",
)
REPORT: Final = Command(
    ReportSettings,
    pages_made,
    """Write report.html, the page of a published run; or an index of all runs below a folder.

    {call} --output s3://labels/dt=2026-11-21/

    Each start of a run writes the page without texts. With --include-texts the page has pairs with their texts. With
    --index it is one page of all runs in and below --output: how labels, rejected rows and sizes differ from run to
    run. Needs no Ray.""",
)
REVIEW: Final = Command(
    ReviewSettings,
    reviewed,
    """Write pairs of a published run for a person to label; or make a gold set of the answers.

    {call} --run s3://labels/dt=2026-11-21/ --file tasks.json

    {call} --file answers.json --gold-output gold/

    A .json file is for Label Studio: import it there, and export the annotations as JSON. In a .csv or .parquet file a
    person fills in the column gold_label. The gold set is for evaluate, finetune and --gold. Needs no Ray.""",
)
CLEAN: Final = Command(
    CleanSettings,
    cleaned,
    """List, and with --delete remove, the leftovers of finished and abandoned runs in an output or a folder of
    outputs.

    {call} --output-root s3://labels/ --keep-days 30

    Needs no Ray. Never deletes files that a `_SUCCESS` names, or files of a run that wrote anything within
    --keep-days. Skips an output with a damaged `_SUCCESS` (exit code 5), and cleans the others. --delete needs the
    permission to delete.""",
)
CONVERT: Final = Command(
    ConvertSettings,
    converted,
    """Convert a checkpoint with pickled weights into one that can label: safetensors, named outputs, one
    tokenizer.json.

    {call} --model NAME@REVISION --output DIR

    Takes the safetensors that the hub's own bot offers in a pull request, else opens the pickle as weights only, in a
    separate process. Compares the new tokenizer with the original one, and checks the label order on easy pairs. Needs
    no Ray.""",
)
DEMO: Final = Command(
    DemoSettings,
    demonstrated,
    """Label the pairs of the package with the checkpoint of the package, and show the results.

    {call}

    The demo sets --input, --output, --carry and --replace. Other flags of the labelling job can be given.""",
    # Below the current folder, so that a second run there has nothing to label.
    given=given_to_demo("demo-output"),
)

# By the names of the commands.
JOBS: Final[dict[str, Command[Any]]] = {
    "label": LABEL,
    "plan": PLAN,
    "nightly": NIGHTLY,
    "submit": SUBMIT,
    "verify": VERIFY,
    "evaluate": EVALUATE,
    "finetune": FINETUNE,
    "report": REPORT,
    "review": REVIEW,
    "clean": CLEAN,
    "convert": CONVERT,
    "demo": DEMO,
}
