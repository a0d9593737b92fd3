"""One start of a run, from settings to report: survey, plan, label what is missing, seal, publish.

Reads like the way of the data; every step is another module's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from pydantic import BaseModel, ConfigDict, ValidationError

from albert_infer import storage
from albert_infer.classify.classification import default_batch_tokens
from albert_infer.common import failpoints, logs
from albert_infer.config import LabelSettings
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.errors import (
    AlbertInferError,
    InfrastructureError,
    InputError,
    IntegrityError,
    ObjectMissingError,
    OutputError,
    RefusedError,
)
from albert_infer.job.gate_pairs import gold_before_ray, gold_set
from albert_infer.job.places import input_access, output_access
from albert_infer.job.report import Report, quarantine_counts, write_report
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.output import layout, publication, sealing
from albert_infer.output.manifest import Seal
from albert_infer.output.standing import Seen
from albert_infer.pipeline import progress
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.checks import preflighted, sampled
from albert_infer.pipeline.labelling import LabelTask, label_units
from albert_infer.pipeline.metrics import RunMetrics
from albert_infer.pipeline.resources import WorkerResources, worker_resources
from albert_infer.pipeline.session import connected, shared
from albert_infer.pipeline.waiting import wait_for_first_gpu
from albert_infer.preflight.checks import Checks, refuse_limits
from albert_infer.preflight.gold import GoldSet
from albert_infer.preflight.sample import chosen_rows
from albert_infer.preflight.swap import LABELLED_PAIRS
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.planning import Plan, Survey, Unit, canonical_json, late_inputs, make_plan, survey_input
from albert_infer.read.selection import find_input
from albert_infer.schema import Precision
from albert_infer.storage import Folder, InputObjects, S3Access


class _BegunPlan(BaseModel):
    """What a later start takes over of `plan.json`."""

    model_config = ConfigDict(strict=True)

    plan_id: str
    max_batch_tokens: int


@dataclass(frozen=True)
class Run:
    """A plan, where it is worked on, and with what."""

    settings: LabelSettings
    survey: Survey
    checkpoint: Checkpoint
    tokenizer: PairTokenizer
    output: Folder
    workers: WorkerResources
    precision: Precision
    plan: Plan
    report: Report
    metrics: RunMetrics
    begun: float
    # What lay at the output, and the gold set, where a gold set made this start look before Ray.
    first: Seen | None
    gold: GoldSet | None


def label_pairs(settings: LabelSettings, load: Callable[..., Checkpoint] = load_checkpoint) -> Report:
    """Label everything at `settings.input` and publish it at `settings.output`.

    Returns the report of this start, which is written into the run's folder too, also when the run ends unpublished.
    `load` is for who labels several times with one checkpoint. Raises AlbertInferError.
    """
    begun, retries = time.monotonic(), storage.s3_retries()
    output = storage.open_folder(settings.output, output_access(settings))
    survey = _survey(settings, output)
    checkpoint = load(
        settings.model,
        label_order=settings.label_order,
        access=S3Access(settings.s3_endpoint),
        digest=settings.model_digest,
    )
    tokenizer = checkpoint.tokenizer(
        max_length=settings.max_length, truncation=settings.truncation, long_premise=settings.long_premise
    )
    storage.check_writable(output)
    first, gold = gold_before_ray(settings, output)
    planned = time.monotonic() - begun
    with connected(debug=settings.debug) as nodes:
        workers = worker_resources(settings, nodes)
        precision = resolved_precision(settings.precision, workers.device, cpu_flags())
        plan = _plan(settings, survey, checkpoint, tokenizer, workers, precision)
        run = Run(
            settings=settings,
            survey=survey,
            checkpoint=checkpoint,
            tokenizer=tokenizer,
            output=output,
            workers=workers,
            precision=precision,
            plan=plan,
            report=_report(plan, survey, checkpoint, workers),
            metrics=RunMetrics(plan.plan_id, retries_before=retries),
            begun=begun,
            first=first,
            gold=gold,
        )
        run.report.seconds.planning = planned
        try:
            _take_to_published(run)
        finally:
            run.metrics.tell_s3_retries()
    return run.report


def _survey(settings: LabelSettings, output: Folder) -> Survey:
    access = input_access(settings)
    found = find_input(settings.input, access, ignore_table_format=settings.ignore_table_format)
    if storage.overlaps(found.uri, output.uri):
        remedy = "choose an output folder that neither lies inside the input nor holds it"
        raise OutputError(f"--output {output.uri}", f"it overlaps the input {found.uri}", remedy)
    survey = survey_input(found, settings)
    survey.refuse_unreadable(settings)
    survey.refuse_mixed_classes()
    if survey.in_paths:
        names = ", ".join(f"`{name}`" for name in survey.in_paths)
        told = "they are in the paths of the files and not in the files; --carry-source keeps each row's path"
        logs.warn("columns_not_carried", f"--carry all leaves out {names}: {told}")
    return survey


def _plan(
    settings: LabelSettings,
    survey: Survey,
    checkpoint: Checkpoint,
    tokenizer: PairTokenizer,
    workers: WorkerResources,
    precision: Precision,
) -> Plan:
    recipe = {
        "model": checkpoint.recipe,
        "precision": precision,
        "truncation": settings.truncation,
        "max_length": tokenizer.max_length,
    }
    budget = settings.max_batch_tokens or default_batch_tokens(workers.device, checkpoint.shape)
    return make_plan(survey, settings, recipe, budget)


def _report(plan: Plan, survey: Survey, checkpoint: Checkpoint, workers: WorkerResources) -> Report:
    """What is known before any row is labelled."""
    return Report(
        plan_id=plan.plan_id,
        rows=plan.rows_in,
        quarantined=quarantine_counts(sealing.quarantined_of(plan)),
        ignored=survey.ignored,
        model={
            "source": checkpoint.source,
            "digest": checkpoint.digest,
            "temperature": checkpoint.temperature,
            "own_label_map": checkpoint.named_order,
            **plan.recipe["model"],
        },
        workers=asdict(workers),
        device=str(workers.device),
        precision=str(plan.recipe["precision"]),
        max_batch_tokens=plan.max_batch_tokens,
        review_below=survey.columns.review_below,
    )


@dataclass
class _Steps:
    """What a start does beside publishing."""

    run: Run
    # Closed when the start ends.
    until_the_end: ExitStack
    is_checked: bool = False

    def begin(self, replaced_plan: str | None) -> None:
        run = self.run
        run.report.replaced_plan = replaced_plan
        self.until_the_end.enter_context(_reported(run))
        sealing.refuse_too_many_rows(run.plan.rows_in, run.settings.max_rows)
        sealing.refuse_bad_files(sealing.quarantined_of(run.plan), run.settings.max_bad_files)

    def label(self, missing: Sequence[Unit], done: int) -> None:
        _label(self.run, missing, done, check=not self.is_checked)
        self.is_checked = True

    def input_now(self) -> InputObjects:
        try:
            return storage.resolve_input(self.run.settings.input, input_access(self.run.settings))
        except InputError as error:
            # It was there when the run was planned: not the operator's mistake, and not too late.
            raise ObjectMissingError(error.asked, error.found, "put it back, then run it again") from error

    def accounted(self, seal: Seal, found: InputObjects) -> None:
        self.run.report.late_inputs = late_inputs(self.run.plan, found)
        self.run.report.count(seal)

    def keep_plan(self) -> None:
        _kept(self.run)


def _take_to_published(run: Run) -> None:
    report = run.report
    with ExitStack() as until_the_end:
        steps = _Steps(run, until_the_end)
        end = publication.to_published(run.plan, run.output, run.settings, steps, first=run.first)
        if not steps.is_checked:
            report.units["done_before"] = len(run.plan.units)
        report.count(end.now.manifest)
        report.leftovers, report.leftovers_reason = end.leftovers.count, end.leftovers.reason
        report.seconds.publishing = end.publishing_seconds


def _label(run: Run, missing: Sequence[Unit], done: int, *, check: bool) -> None:
    """Label the missing units, and note how fast that went; `check` the checkpoint before.

    Units that were labelled by starts without a gold set are held against this start's.
    """
    report = run.report
    if check:
        report.units["done_before"] = done
    if not missing:
        if check and run.settings.gold is not None:
            wait_for_first_gpu(run.workers, run.settings.gpu_wait_minutes, progress.tell_waiting)
            _check(run, _task(run), RunBoard.start())
        report.max_batch_tokens = _kept(run).max_batch_tokens
        return
    task, board = _task(run), RunBoard.start()
    done_rows = run.plan.rows_in - sum(unit.range.rows for unit in missing)
    so_far = run.metrics.watched(board.so_far, done=done, to_do=len(missing))
    wait_for_first_gpu(run.workers, run.settings.gpu_wait_minutes, progress.tell_waiting)
    with progress.shown(run.plan.rows_in, done_rows, so_far, run.workers.device):
        if check:
            # Before anything is written: a checkpoint that computes nonsense is a refusal.
            _check(run, task, board)
        failpoints.reach("planned")
        report.max_batch_tokens = _kept(run).max_batch_tokens
        failpoints.reach("plan_put")
        label_units(missing, replace(task, max_batch_tokens=report.max_batch_tokens), run.workers, board)
    report.units["labelled"] += len(missing)
    report.count_labelling(so_far(), begun=run.begun)


def _check(run: Run, task: LabelTask, board: RunBoard) -> None:
    """Check the checkpoint before anything is labelled with it, and note what was found. Raises AlbertInferError."""
    settings = run.settings
    compared = task.precision is not Precision.FP32 and settings.agreement_sample > 0
    checks = Checks(
        tokenizer=task.tokenizer,
        precision=task.precision,
        max_batch_tokens=task.max_batch_tokens,
        compared=compared,
        require_probe=settings.require_probe,
        review_below=task.columns.review_below,
        gold=run.gold or gold_set(settings),
    )
    chosen = chosen_rows(run.plan.units, settings.agreement_sample if compared else LABELLED_PAIRS)
    sample = sampled(chosen, task.reader(board))
    found = preflighted(task.checkpoint, sample, checks=checks, workers=run.workers)
    run.report.preflight = found
    if found.swap.suspected:
        logs.warn("columns_exchanged", found.swap.warning())
    refuse_limits(found, min_agreement=settings.min_agreement, min_accuracy=settings.min_accuracy)


def _task(run: Run) -> LabelTask:
    return LabelTask(
        source=run.survey.folder,
        output=run.output,
        columns=run.survey.columns,
        checkpoint=shared(run.checkpoint),
        tokenizer=run.tokenizer,
        precision=run.precision,
        max_batch_tokens=run.plan.max_batch_tokens,
    )


def _kept(run: Run) -> Plan:
    """The plan as it stands in the run's folder: one that was begun keeps its token budget, unless a flag sets it."""
    name = layout.plan_name(run.plan.plan_id)
    ours = canonical_json({**run.plan.to_json(), "settings": run.settings.model_dump(mode="json")})
    if run.output.put_if_absent(name, ours):
        # The first object of a run, and nothing that counts yet: here it shows whether the output keeps conditions.
        storage.check_conditional(run.output, name, ours)
        return run.plan
    try:
        begun = _begun_plan(name, run)
    except ObjectMissingError:
        return _kept(run)  # a clean-up has deleted it since
    if run.settings.max_batch_tokens is None:
        return replace(run.plan, max_batch_tokens=begun)
    run.output.replace(name, ours, run.output.stat(name))
    return run.plan


def _begun_plan(name: str, run: Run) -> int:
    """The token budget of the plan that stands under `name`. Raises IntegrityError if it is another plan."""
    try:
        begun = _BegunPlan.model_validate_json(run.output.read(name))
    except ValidationError:
        begun = None
    if begun is None or begun.plan_id != run.plan.plan_id:
        found, remedy = "it is not this plan", "move it away and run it again"
        raise IntegrityError(f"read {run.output.uri_of(name)}", found, remedy)
    return begun.max_batch_tokens


@contextmanager
def _reported(run: Run) -> Iterator[None]:
    """Write the report of this start, whatever its end; but a start that was refused writes nothing."""
    name = layout.report_name(run.plan.plan_id)
    try:
        yield
    except RefusedError:
        raise
    except BaseException as error:
        run.report.exit_code = getattr(error, "exit_code", InfrastructureError.exit_code)
        # The end that is being reported matters more than a report that could not be written.
        with suppress(AlbertInferError):
            write_report(run.report, run.output, name)
        raise
    write_report(run.report, run.output, name)
