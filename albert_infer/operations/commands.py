"""Every job of the package, by the name that `albert-infer` gives it. The scripts in `jobs/` start the same ones.

Each imports its work when it does it: neither help nor a setting that is refused waits for Ray, torch or Arrow.
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
    SubmitSettings,
    VerifySettings,
)
from albert_infer.job.command import Command, Done
from albert_infer.operations.program import from_here, this_program

if TYPE_CHECKING:
    from albert_infer.pipeline.executor import Executor

PAIRS: Final = Path(__file__).resolve().parents[1] / "model" / "builtin" / "pairs.parquet"


def labelled(settings: LabelSettings, executor: Executor | None = None) -> Done:
    """Label the pairs; the report as text, and what of it the summary line tells."""
    from albert_infer.common.display import terminal_width
    from albert_infer.job.run import label_pairs

    report = label_pairs(settings, executor=executor)
    return Done(report.to_text(settings.output, width=terminal_width()), report.facts())


def nights_labelled(settings: NightlySettings, executor: Executor | None = None) -> Done:
    """Label the nights; what happened to each. It goes to stdout before the failure that it ends in."""
    from albert_infer.operations.nightly import label_nights

    nights = label_nights(settings, executor)
    if nights.worst:
        sys.stdout.write(nights.to_text() + "\n")
        nights.refuse_failures()
    return Done(nights.to_text(), nights.facts())


def submitted(settings: SubmitSettings, project: Path | None = None) -> PrintableText:
    """Submit the nights, from this checkout without another `project`; how they ended as text."""
    from albert_infer.operations.submission import submit_nights
    from albert_infer.operations.uploading import checkout

    return submit_nights(settings, project or checkout())


def verified(settings: VerifySettings) -> PrintableText:
    """Recount the run; what was counted as text. Findings go to stdout before the error that they end in."""
    from albert_infer.verification import verify_labels

    verification = verify_labels(settings)
    if verification.findings:
        sys.stdout.write(verification.to_text() + "\n")
        verification.refuse_findings()
    return verification.to_text()


def evaluated(settings: EvaluateSettings) -> PrintableText:
    """Hold labels against gold labels; what was measured as text."""
    from albert_infer.learning.evaluation import evaluate

    return evaluate(settings)


def finetuned(settings: FinetuneSettings) -> PrintableText:
    """Train and write the checkpoint; what came of it as text."""
    from albert_infer.learning.training.finetuning import finetune
    from albert_infer.learning.training.summary import summary

    return summary(finetune(settings), settings.output)


def cleaned(settings: CleanSettings) -> PrintableText:
    """Clean; what was found as text. It goes to stdout before the failure that it ends in."""
    from albert_infer.operations.cleaning import clean_runs

    cleaning = clean_runs(settings)
    if any(output.failure for output in cleaning.outputs):
        sys.stdout.write(cleaning.to_text() + "\n")
        cleaning.refuse_failures()
    return cleaning.to_text()


def converted(settings: ConvertSettings) -> Done:
    """Convert; what came of it as text and facts."""
    from albert_infer.operations.conversion import convert

    made = convert(settings)
    return Done(made.to_text(), made.facts)


def demonstrated(settings: DemoSettings, label: Sequence[str] | None = None) -> PrintableText:
    """Label the pairs of the package; the first of them and the report as text.

    `label` are the words that start the labelling job, for the last line: by default those of this program.
    """
    from albert_infer.operations.demo import labelled_pairs

    return labelled_pairs(settings, label or (this_program(), "label"))


def given_to_demo(output: str | Path) -> tuple[str, ...]:
    """What the demo gives itself."""
    return ("--input", str(PAIRS), "--output", from_here(str(output)), "--carry", "gold_label,domain", "--replace")


LABEL: Final = Command(
    LabelSettings,
    labelled,
    """Label Parquet sentence pairs with ALBERT natural language inference and publish them as Parquet.

    {call} --input s3://inbox/dt=2026-11-21/ --output s3://labels/dt=2026-11-21/

    A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.""",
)
NIGHTLY: Final = Command(
    NightlySettings,
    nights_labelled,
    """Label a night, or several: below two roots, a night's folder of Parquet pairs becomes its folder of labels.

    {call} --input-root s3://inbox/ --output-root s3://labels/

    Without dates it is yesterday. A night that is published already is left as it is, so that a range may be given
    again and again. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.""",
)
SUBMIT: Final = Command(
    SubmitSettings,
    submitted,
    """Submit a night, or several, to a Ray cluster; follow the log, and end with the exit code of the job there.

    {call} --address http://HEAD:8265 --input-root s3://inbox/ --output-root s3://labels/

    The id of the job is nli-<date>, or nli-<since>-<until>. A job of that id that has ended makes way; while one runs
    nothing is submitted (exit code 6). Ctrl-C ends the following, not the job. Exit code 4 also means that the job was
    ended from outside: submit it again and it goes on. Takes every setting of the job that labels nights.""",
)
VERIFY: Final = Command(
    VerifySettings,
    verified,
    """Count a published run again from its files alone: every planned row once, every file as `_SUCCESS` says.

    {call} --output s3://labels/dt=2026-11-21/ --input s3://inbox/dt=2026-11-21/

    Needs no Ray, so it runs anywhere that reads both folders. Without --input the rows are counted, but not compared.
    Exit code 0: nothing is wrong; 5: each line `finding` on stdout is something that is; 2: nothing is published
    there.""",
)
EVALUATE: Final = Command(
    EvaluateSettings,
    evaluated,
    """Hold labels against gold labels: accuracy, confusion, slices, calibration, baselines; or against another run.

    {call} --run s3://labels/dt=2026-11-21/ --output evaluation/

    Labels came with their gold labels by --carry gold_label. Or pairs that --model labels here, in this process:

    {call} --pairs gold/ --model MODEL --output evaluation/

    Writes evaluation.json and evaluation.html, one page that needs nothing else. Every figure has a 95 % interval.
    With --fit-temperature DIR a copy of the checkpoint is written whose probabilities are calibrated. Needs no Ray.""",
)
FINETUNE: Final = Command(
    FinetuneSettings,
    finetuned,
    """Fine-tune an ALBERT on labelled Parquet pairs, with Ray Train, and write it as a Hugging Face checkpoint folder.

    {call} --train s3://pairs/train/ --eval s3://pairs/dev/ --output s3://models/nli/

    A run that was killed goes on from its last evaluation when the same command is given again. With --teacher a small
    model learns from a large one too. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the
    --config file.""",
)
CLEAN: Final = Command(
    CleanSettings,
    cleaned,
    """List, and with --delete remove, what finished and forsaken runs have left below an output or a folder of
    outputs.

    {call} --output-root s3://labels/ --keep-days 30

    Needs no Ray. Never touches what a `_SUCCESS` names, a run that wrote anything within --keep-days, or an output
    whose `_SUCCESS` is not as it should be (exit code 5, the others are done). With --delete it needs the right to
    delete.""",
)
CONVERT: Final = Command(
    ConvertSettings,
    converted,
    """Make a checkpoint for labelling of one that has pickled weights: safetensors, outputs with names, one
    tokenizer.json.

    {call} --model NAME@REVISION --output DIR

    Takes the safetensors that the hub's own bot offers in a pull request, else opens the pickle as weights only, in a
    process of its own. The tokenizer is held against the original one, and the label order against pairs beyond doubt.
    Needs no Ray.""",
)
DEMO: Final = Command(
    DemoSettings,
    demonstrated,
    """Label the pairs that ship in the package with the checkpoint that ships in the package; show what comes back.

    {call}

    Its input, output, --carry and --replace are its own; other flags of the labelling job are taken too.""",
    # Below the folder that it is called in, so that a second run there has nothing to label.
    given=given_to_demo("demo-output"),
)

# By the names that the program has for them.
JOBS: Final[dict[str, Command[Any]]] = {
    "label": LABEL,
    "nightly": NIGHTLY,
    "submit": SUBMIT,
    "verify": VERIFY,
    "evaluate": EVALUATE,
    "finetune": FINETUNE,
    "clean": CLEAN,
    "convert": CONVERT,
    "demo": DEMO,
}
