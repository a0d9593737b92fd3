"""Every job of the package, by its command name. The scripts in `jobs/` start the same jobs.

`work` has what each job does.
"""

from __future__ import annotations

from typing import Any, Final

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
from albert_infer.job.command import Command
from albert_infer.operations.work import (
    cleaned,
    converted,
    demonstrated,
    evaluated,
    finetuned,
    given_to_demo,
    labelled,
    nights_labelled,
    pages_made,
    planned,
    reviewed,
    submitted,
    verified,
)

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
