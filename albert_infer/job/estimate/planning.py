"""What a run will take, without Ray and without a GPU: `albert-infer plan`, and `--dry-run` of the labelling job.

Takes the same steps as `job.run` up to the plan, reads a sample, and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from albert_infer import storage
from albert_infer.classify.classification import default_batch_tokens
from albert_infer.common.printable import how_many
from albert_infer.config import LabelSettings
from albert_infer.config.planning import PlanChoices
from albert_infer.engine.cards import CAPABILITY_OF_KIND, Card
from albert_infer.engine.processor import cpu_flags, cpus_here, resolved_precision
from albert_infer.errors import OutputError
from albert_infer.job.access import output_access
from albert_infer.job.computing import Computing
from albert_infer.job.estimate import earlier, expected, rate_table, sampling
from albert_infer.job.estimate.earlier import EarlierRun
from albert_infer.job.estimate.expected import Counts, Sampled, Speed, Work, Workers
from albert_infer.job.estimate.forecast import BadFile, Cost, Forecast, PlanFacts, SampleNotes, length_counts
from albert_infer.job.estimate.rate_table import Sizes
from albert_infer.job.estimate.sampling import Sample
from albert_infer.job.expanded import ReportedExpansion
from albert_infer.job.planning import basis_of, plan_of
from albert_infer.output import inspection
from albert_infer.output.inspection import Published, Sealed, Snapshot, Superseded, ToLabel
from albert_infer.pipeline.choice import needs_no_ray
from albert_infer.pipeline.resources import MAX_DEFAULT_CPUS_PER_WORKER, Node, WorkerResources, worker_resources
from albert_infer.pipeline.unit import LabelTask
from albert_infer.read.planning import Plan, Unit
from albert_infer.schema import DeviceKind, ExecutorKind

# The sample of a plan takes no longer, whatever the input.
SAMPLE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Left:
    """How the output has a plan, the units that have labels there, and those that a run would label."""

    state: str
    labelled: tuple[Unit, ...]
    missing: tuple[Unit, ...]


def forecast(settings: LabelSettings, choices: PlanChoices | None = None) -> Forecast:
    """What the run with these settings will take. Writes nothing.

    Raises RefusedError for settings, an input, a checkpoint or an output that the run would refuse at its start, and
    other AlbertInferErrors for trouble with the store.
    """
    choices, begun = choices or PlanChoices(), time.monotonic()
    output = storage.open_folder(settings.output, output_access(settings))
    basis = basis_of(settings, output)
    survey, checkpoint, tokenizer = basis.survey, basis.checkpoint, basis.tokenizer
    planning = time.monotonic() - begun
    runs = earlier.earlier_runs(output, settings.output, output_access(settings))
    workers, _ = workers_of(settings, choices, runs)
    flags = rate_table.flags_of(workers.card) if choices.card and workers.card else cpu_flags()
    precision = resolved_precision(settings.precision, workers.device, flags, known_card(workers))
    task = LabelTask(survey.folder, output, survey.columns, checkpoint, tokenizer, precision)
    budget = settings.max_batch_tokens or default_batch_tokens(workers.device, checkpoint.shape)
    plan = plan_of(settings, basis, Computing(precision, budget))
    read = partial(sampling.sampled, rows=choices.sample_rows, seconds=SAMPLE_SECONDS)
    sample = read(survey.folder, plan.files, plan.units, survey.columns, tokenizer)
    speed = expected.speed_of(
        runs,
        digest=checkpoint.digest,
        shape=checkpoint.shape,
        precision=precision,
        workers=workers,
        length=sample.length,
    )
    # With `card`, the run is planned for another machine, so for Ray.
    is_small = choices.card is None and needs_no_ray(settings, survey, output)
    executor = ExecutorKind.PROCESS if is_small else ExecutorKind.RAY
    return _Planned(settings, choices, task, plan, workers, executor, sample, speed).forecast(planning)


@dataclass(frozen=True)
class _Planned:
    """All that a forecast is computed from."""

    settings: LabelSettings
    choices: PlanChoices
    task: LabelTask
    plan: Plan
    workers: Workers
    executor: ExecutorKind
    sample: Sample
    speed: Speed | None

    def forecast(self, planning: float) -> Forecast:
        """The forecast of a plan that took `planning` seconds to make."""
        plan, sample, workers, settings = self.plan, self.sample, self.workers, self.settings
        with storage.refused(OutputError):
            snapshot = inspection.look(self.task.output)
        left = left_of(plan, snapshot, self.task, settings)
        expansion = ReportedExpansion.of_plan(plan)
        shares = shares_of(sample, in_pairs=expansion is not None)
        rows = sum(file.rows for file in plan.files)
        counts = Counts.of(shares, rows)
        work = Work(rows_of(left.missing), len(left.missing), rows, settings.agreement_pairs)
        return Forecast(
            plan=_plan_facts(plan, settings, left),
            sample=SampleNotes(
                sample.rows, sample.is_whole, round(sample.seconds, 3), sample.tokens_margin, dict(sample.unreadable)
            ),
            counts=counts,
            repeated=sample.repeated,
            lengths=length_counts(sample.lengths, self.task.tokenizer.frame.max_length, sample.pairs_of_lengths),
            longest=int(sample.lengths.max(initial=0)),
            precision=str(self.task.precision),
            shape=str(Sizes.of(self.task.checkpoint.shape)),
            workers=workers,
            executor=self.executor,
            rate=None if self.speed is None else self.speed.rate,
            cost=self._cost(work, shares, planning),
            price_per_hour=self.choices.price_per_hour,
            stops=tuple(stops_of(plan, counts, settings)),
            expansion=expansion,
        )

    def _cost(self, work: Work, shares: Sampled, planning: float) -> Cost | None:
        if self.speed is None:
            return None
        workers, price_per_hour = self.workers, self.choices.price_per_hour
        seconds = expected.seconds_of(work, shares, self.speed, workers, planning=planning, executor=self.executor)
        devices = workers.count * (workers.gpus if workers.device is DeviceKind.CUDA else 1)
        hours = devices * seconds.total / 3600
        price = None if price_per_hour is None else round(hours * price_per_hour, 4)
        return Cost(seconds, round(seconds.total, 3), round(hours, 6), price)


def workers_of(
    settings: LabelSettings, choices: PlanChoices, runs: Sequence[EarlierRun], machine: Node | None = None
) -> tuple[Workers, WorkerResources]:
    """The workers of the run, as `--card` says, else as earlier runs had them, else as this `machine` has room for.

    Raises SettingsError for workers that this machine could never hold, where the run would be on this machine.
    """
    last = runs[0] if runs and choices.card is None else None
    card: str | None = choices.card or (last.card if last else None)
    most = settings.worker_range[1] if settings.worker_range else None
    if _on_gpus(settings, card, last):
        last = last if last and last.device is DeviceKind.CUDA else None
        gpus = settings.gpus_per_worker or (last.devices_each if last else 1.0)
        count = most or (last.workers if last else 1)
        resources = WorkerResources(DeviceKind.CUDA, count, count, gpus, 0, None)
        return Workers(count, DeviceKind.CUDA, card, gpus=gpus), resources
    if choices.card is None and (last is None or last.device is not DeviceKind.CPU):
        resources = worker_resources(settings, [machine or Node(cpus=cpus_here(), gpus=0)])
        count = resources.max_workers or resources.min_workers
        processor = rate_table.processor(cpu_flags())
        return Workers(count, DeviceKind.CPU, processor, cores=resources.threads or 1), resources
    cores = settings.cpus_per_worker or (int(last.devices_each) if last else MAX_DEFAULT_CPUS_PER_WORKER)
    count = most or (last.workers if last else 1)
    resources = WorkerResources(DeviceKind.CPU, count, count, 0, cores, cores)
    return Workers(count, DeviceKind.CPU, card or rate_table.processor(cpu_flags()), cores=cores), resources


def _on_gpus(settings: LabelSettings, card: str | None, last: EarlierRun | None) -> bool:
    """Whether the run labels on GPUs: as its settings say, else as the card or the last run was."""
    if settings.gpus_per_worker is not None or settings.gpu_wait_minutes is not None:
        return settings.gpus_per_worker != 0
    if card is not None:
        return rate_table.device_of(card) is DeviceKind.CUDA
    return last is not None and last.device is DeviceKind.CUDA


def known_card(workers: Workers) -> Card | None:
    """What decides the precision of a card by its name; None for a processor, and for a card of another name."""
    capability = CAPABILITY_OF_KIND.get((workers.card or "").upper())
    return None if capability is None else Card(name=str(workers.card), capability=capability)


def left_of(plan: Plan, snapshot: Snapshot, task: LabelTask, settings: LabelSettings) -> Left:
    """What of the plan has no labels yet, and what a run would find at the output."""
    may_replace = frozenset({snapshot.published.plan_id} if settings.replace and snapshot.published else ())
    state = inspection.state_of(
        plan,
        snapshot,
        task.output,
        may_replace=may_replace,
        retry_quarantined=settings.retry_quarantined,
        again=frozenset(),
    )
    there = snapshot.intact.keys() | snapshot.staged
    labelled = tuple(unit for unit in plan.units if unit.unit_id in there)
    match state:
        case Published():
            return Left("published", labelled, ())
        case Sealed():
            return Left("sealed", labelled, ())
        case ToLabel(missing, _):
            return Left("to_label", labelled, missing)
        case Superseded():
            return Left("another_plan", labelled, tuple(unit for unit in plan.units if unit.unit_id not in there))


def rows_of(units: Sequence[Unit]) -> int:
    """The rows of the units together."""
    return sum(unit.range.rows for unit in units)


def shares_of(sample: Sample, *, in_pairs: bool = False) -> Sampled:
    """The sample's sums; `in_pairs` where a row becomes several pairs."""
    return Sampled(
        rows=sample.rows,
        tokens=sample.tokens,
        truncated=sample.truncated,
        rejected=sample.rejected,
        repeated=sample.repeated or 0.0,
        length=sample.length,
        pairs=sample.pairs if in_pairs else None,
    )


def stops_of(plan: Plan, counts: Counts, settings: LabelSettings) -> list[str]:
    """The limits that the run would not keep to, each with what is found and the setting."""
    stops = []
    if settings.max_rows is not None and plan.rows_in > settings.max_rows:
        stops.append(f"{plan.rows_in:,} rows, and --max-rows is {settings.max_rows:,}")
    if len(plan.bad) > settings.max_bad_files:
        unreadable = how_many(len(plan.bad), "file")
        stops.append(f"{unreadable} that cannot be read, and --max-bad-files is {settings.max_bad_files:,}")
    rejected = sum(counts.rejected.values())
    share = rejected / (rejected + counts.labelled) if rejected else 0.0
    if share > settings.max_rejected_share:
        stops.append(
            f"about {share:.1%} of the rows rejected, and --max-rejected-share is {settings.max_rejected_share}"
        )
    return stops


def _plan_facts(plan: Plan, settings: LabelSettings, left: Left) -> PlanFacts:
    rows = sum(file.rows for file in plan.files)
    return PlanFacts(
        input=settings.input,
        output=settings.output,
        plan_id=plan.plan_id,
        state=left.state,
        files=len(plan.files) + len(plan.bad),
        rows=rows,
        bytes=sum(file.pin.size for file in plan.files) + sum(bad.size for bad in plan.bad),
        left_out=plan.ignored,
        quarantined=tuple(BadFile(bad.uri, bad.reason, bad.detail, bad.rows) for bad in plan.bad),
        units=len(plan.units),
        units_labelled=len(left.labelled),
        rows_labelled=rows_of(left.labelled),
        units_to_do=len(left.missing),
        rows_to_do=rows_of(left.missing),
    )
