"""One start of a run, from settings to report: survey, plan, label what is missing, seal, publish.

The functions follow the order of the steps, and each step is in another folder. The state of the output is one value
of `output.inspection.State`, and `output.publication` chooses the next step by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from albert_infer import storage
from albert_infer.common import failpoints, logs
from albert_infer.config import LabelSettings
from albert_infer.errors import SettingsError
from albert_infer.job.access import output_access, planned_input
from albert_infer.job.computing import Deciding
from albert_infer.job.drift import RunCounts
from albert_infer.job.drift_gate import drift_of, reference_runs
from albert_infer.job.estimate.at_start import estimate_of, with_outcome, workers_on
from albert_infer.job.estimate.expected import Workers
from albert_infer.job.gate_pairs import gold_before_ray, gold_set
from albert_infer.job.pace import Pace
from albert_infer.job.planning import basis_of, plan_of
from albert_infer.job.report import Report
from albert_infer.job.report_file import label_distribution, reported
from albert_infer.job.stored_plan import stored_plan
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.output import limits, publication, sealing
from albert_infer.output.inspection import Snapshot
from albert_infer.output.manifest import Seal
from albert_infer.pipeline import progress
from albert_infer.pipeline.choice import executor_for
from albert_infer.pipeline.executor import Executor, Labelling
from albert_infer.pipeline.metrics import RunMetrics
from albert_infer.pipeline.resources import WorkerResources, worker_resources
from albert_infer.pipeline.unit import LabelTask
from albert_infer.preflight.checks import Checks, refuse_limits
from albert_infer.preflight.gold import GoldSet
from albert_infer.preflight.sample import SampleCounts, chosen_rows
from albert_infer.preflight.swap import LABELLED_PAIRS
from albert_infer.read.planning import Plan, Unit, late_inputs
from albert_infer.schema import Precision
from albert_infer.storage import InputObjects


@dataclass(frozen=True)
class Run:
    """A plan, with the task, the workers and the executor that it runs on."""

    settings: LabelSettings
    plan: Plan
    task: LabelTask
    workers: WorkerResources
    # The same for estimates, with the card.
    expected_workers: Workers
    executor: Executor
    report: Report
    metrics: RunMetrics
    # On the monotonic clock.
    started_at: float
    # The first look at the output, and the gold set. Both are None if the settings name no gold set.
    first: Snapshot | None
    gold: GoldSet | None


def label_pairs(
    settings: LabelSettings,
    load: Callable[..., Checkpoint] = load_checkpoint,
    executor: Executor | None = None,
) -> Report:
    """Label all pairs of `settings.input`, and publish the labels at `settings.output`.

    Returns the report of this start. The report is also written into the run's folder, even if the run fails. A caller
    that labels several times may pass a `load` that returns the same checkpoint. The default `executor` is that of
    `executor_for`: this process for a small run, else Ray. Raises AlbertInferError.
    """
    _refuse_dry_run(settings)
    started_at, retries = time.monotonic(), storage.s3_retries()
    output = storage.open_folder(settings.output, output_access(settings))
    basis = basis_of(settings, output, load)
    survey, checkpoint, tokenizer = basis.survey, basis.checkpoint, basis.tokenizer
    storage.check_writable(output)
    first, gold = gold_before_ray(settings, output, checkpoint.labels)
    planning_seconds = time.monotonic() - started_at
    executor = executor or executor_for(settings, survey, output)
    with executor.session(debug=settings.debug) as nodes:
        workers = worker_resources(settings, nodes)
        ask_card = partial(executor.card, workers, settings.gpu_wait_minutes)
        deciding = Deciding(settings, checkpoint.shape, workers, nodes, ask_card)
        computing, plan = deciding.planned(output, partial(plan_of, settings, basis))
        task = LabelTask(survey.folder, output, survey.columns, checkpoint, tokenizer, computing.precision)
        run = Run(
            settings=settings,
            plan=plan,
            task=task,
            workers=workers,
            expected_workers=workers_on(nodes, workers),
            executor=executor,
            report=Report.of_plan(plan, survey, checkpoint, workers, computing.card),
            metrics=RunMetrics(plan.plan_id, retries_before=retries, recorder=executor.recorder),
            started_at=started_at,
            first=first,
            gold=gold,
        )
        run.report.executor, run.report.seconds.planning = executor.kind, planning_seconds
        _take_to_published(run)
    return run.report


def _refuse_dry_run(settings: LabelSettings) -> None:
    if settings.dry_run:
        remedy = "call job.estimate.planning.forecast, or leave dry_run out"
        raise SettingsError("labelling with dry_run", "a dry run writes nothing", remedy)


@dataclass
class _Steps:
    """The steps of a start that `output.publication` calls back."""

    run: Run
    # Closed when the start ends.
    until_the_end: ExitStack
    references: Mapping[str, RunCounts] = field(default_factory=dict)
    is_checked: bool = False

    def begin(self, replaced_plan: str | None) -> None:
        run, settings = self.run, self.run.settings
        run.report.replaced_plan = replaced_plan
        self.until_the_end.enter_context(reported(run.report, run.task.output))
        limits.refuse_too_many_rows(run.plan.rows_in, settings.max_rows)
        limits.refuse_bad_files(sealing.quarantined_of(run.plan), settings.max_bad_files)
        self.references = reference_runs(settings, output_access(settings), run.report)

    def label(self, missing: Sequence[Unit], done: int) -> None:
        _label(self.run, missing, done, check=not self.is_checked)
        self.is_checked = True

    def current_input(self) -> InputObjects:
        return planned_input(self.run.settings)

    def accounted(self, seal: Seal, input_objects: InputObjects) -> None:
        report = self.run.report
        report.late_inputs = late_inputs(self.run.plan, input_objects)
        report.count(seal)
        report.distribution = label_distribution(seal, self.run.task.output)
        report.drift = drift_of(seal, self.run.task.output, report, self.references, self.run.settings)

    def keep_plan(self) -> None:
        _store_plan(self.run)


def _take_to_published(run: Run) -> None:
    report = run.report
    with ExitStack() as until_the_end:
        until_the_end.callback(run.metrics.export_s3_retries)
        steps = _Steps(run, until_the_end)
        end = publication.to_published(run.plan, run.task.output, run.settings, steps, first=run.first)
        if not steps.is_checked:
            report.units["done_before"] = len(run.plan.units)
        report.count(end.published.manifest)
        report.distribution = report.distribution or label_distribution(end.published.manifest, run.task.output)
        report.leftovers, report.leftovers_reason = end.leftovers.count, end.leftovers.reason
        report.seconds.publishing = end.publishing_seconds
        report.estimate = with_outcome(report)


def _label(run: Run, missing: Sequence[Unit], done: int, *, check: bool) -> None:
    """Label the missing units, and report the speed. With `check`, the preflight checks run first.

    With a gold set, they run even if no unit is missing: an earlier start without `--gold` may have labelled the units.
    """
    report, wait = run.report, run.settings.gpu_wait_minutes
    if check:
        report.units["done_before"] = done
    if not missing:
        if check and run.settings.gold is not None:
            labelling = run.executor.begin(run.task, run.workers)
            labelling.wait_for_gpu(wait)
            _check(run, labelling)
        _store_plan(run)
        return
    labelling = run.executor.begin(run.task, run.workers)
    pace = Pace(run.started_at)
    so_far = pace.noted(run.metrics.watched(labelling.so_far, done=done, to_do=len(missing)))
    labelling.wait_for_gpu(wait)
    done_rows = run.plan.rows_in - sum(unit.range.rows for unit in missing)
    with (
        progress.shown(run.plan.rows_in, done_rows, so_far, run.workers.device, report.unit) as shown,
        progress.counted(shown, done=done, units=len(run.plan.units)),
    ):
        if check:
            shown.begin("checking the model")
            # Before any object is written, because a bad checkpoint refuses the run.
            _check(run, labelling)
            _expect(run, missing)
        failpoints.reach("planned")
        _store_plan(run)
        failpoints.reach("plan_put")
        shown.begin(run.executor.first_step)
        labelling.label(missing, max_batch_tokens=report.max_batch_tokens)
    report.units["labelled"] += len(missing)
    labelled = so_far()
    report.count_labelling(labelled, pace, started_at=run.started_at)
    if report.estimate is not None:
        report.estimate = replace(report.estimate, workers_used=len(labelled.actors))


def _check(run: Run, labelling: Labelling) -> None:
    """Run the preflight checks, and add the results to the report. Raises AlbertInferError if a check fails."""
    settings, task = run.settings, run.task
    compared = task.precision is not Precision.FP32 and settings.agreement_pairs > 0
    checks = Checks(
        tokenizer=task.tokenizer,
        precision=task.precision,
        max_batch_tokens=run.plan.max_batch_tokens,
        compared=compared,
        require_probe=settings.require_probe,
        review_below=task.columns.review_below,
        gold=run.gold or gold_set(settings, task.checkpoint.labels),
    )
    chosen = chosen_rows(run.plan.units, settings.agreement_pairs if compared else LABELLED_PAIRS)
    run.report.preflight = preflight = labelling.preflight(chosen, checks)
    if preflight.swap.suspected:
        logs.warn("columns_exchanged", preflight.swap.warning())
    refuse_limits(preflight, min_agreement=settings.least_agreement, min_accuracy=settings.min_accuracy)


def _expect(run: Run, missing: Sequence[Unit]) -> None:
    """Estimate what labelling the missing units takes, from the rows that the checks read."""
    sample = run.report.preflight.sample if run.report.preflight else SampleCounts()
    run.report.estimate = estimate_of(
        run.plan,
        missing,
        sample,
        run.task,
        run.expected_workers,
        run.settings,
        planning=run.report.seconds.planning,
        executor=run.executor.kind,
    )


def _store_plan(run: Run) -> None:
    """Store the plan in the run's folder. A plan that is stored already keeps its token budget."""
    run.report.max_batch_tokens = stored_plan(run.plan, run.settings, run.task.output).max_batch_tokens
