"""What a start of the labelling job expects before it labels, from the rows that its checks read anyway.

`report.json` has it with the differences between estimate and outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from albert_infer.config import LabelSettings
from albert_infer.engine.processor import cpu_flags
from albert_infer.job.access import output_access
from albert_infer.job.estimate import earlier, expected, rate_table
from albert_infer.job.estimate.expected import Counts, Estimate, Sampled, Work, Workers
from albert_infer.job.report import Report
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.unit import LabelTask
from albert_infer.preflight.sample import SampleCounts
from albert_infer.read.planning import Plan, Unit
from albert_infer.schema import DeviceKind, ExecutorKind

# What the page of a report calls the figures.
NAMES: Final = {
    "labelled": "labelled pairs",
    "rejected": "rejected rows",
    "tokens": "tokens",
    "truncated": "truncated pairs",
    "pairs": "pairs",
    "seconds.startup": "starting",
    "seconds.labelling": "labelling",
    "seconds.publishing": "publishing",
    "seconds.total": "the whole run",
}
# The same where a row becomes several pairs.
NAMES_OF_ROWS: Final = {**NAMES, "labelled": "labelled rows", "truncated": "rows with a truncated pair"}


def workers_on(nodes: Sequence[Node], resources: WorkerResources) -> Workers:
    """The workers of a run on these machines: where their number is not given, as many as there is room for now."""
    if resources.device is DeviceKind.CPU:
        count = resources.max_workers or resources.min_workers
        card = rate_table.processor(cpu_flags())
        return Workers(count, resources.device, card, cores=resources.threads or 1)
    room = sum(int(node.gpus // resources.num_gpus) for node in nodes)
    count = resources.max_workers or max(room, resources.min_workers)
    cards = {kind.lower() for node in nodes for kind in node.card_kinds}
    return Workers(count, resources.device, cards.pop() if len(cards) == 1 else None, gpus=resources.num_gpus)


def estimate_of(
    plan: Plan,
    missing: Sequence[Unit],
    sample: SampleCounts,
    task: LabelTask,
    workers: Workers,
    settings: LabelSettings,
    *,
    planning: float,
    executor: ExecutorKind,
) -> Estimate | None:
    """What labelling the missing units of the plan will take; None where the sample has no rows.

    Looks for reports of earlier runs. Nothing is raised: an estimate must not end a run.
    """
    if not sample.rows:
        return None
    access, checkpoint = output_access(settings), task.checkpoint
    runs = earlier.earlier_runs(task.output, settings.output, access)
    shares = shares_of(sample)
    speed = expected.speed_of(
        runs,
        digest=checkpoint.digest,
        shape=checkpoint.shape,
        precision=task.precision,
        workers=workers,
        length=sample.length,
    )
    rows = sum(file.rows for file in plan.files)
    work = Work(sum(unit.range.rows for unit in missing), len(missing), rows, settings.agreement_pairs)
    return Estimate(
        sampled_rows=sample.rows,
        counts=Counts.of(shares, rows),
        seconds=None
        if speed is None
        else expected.seconds_of(work, shares, speed, workers, planning=planning, executor=executor),
        card=workers.card,
        workers=workers.count,
        rate=None if speed is None else speed.rate,
    )


def shares_of(sample: SampleCounts) -> Sampled:
    """The sample's sums: of all pairs of its rows."""
    rows = sample.expanded
    if rows is None:
        return Sampled(sample.rows, sample.tokens, sample.truncated, sample.rejected, length=sample.length)
    # Tokens are summed over all pairs, and the mean length is that of one pair of each row.
    return Sampled(sample.rows, rows.tokens, rows.truncated, rows.rejected, length=sample.length, pairs=rows.pairs)


def with_outcome(report: Report) -> Estimate | None:
    """The estimate of a start that has published, with the differences between it and the outcome."""
    return None if report.estimate is None else report.estimate.compared(outcome_of(report))


def outcome_of(report: Report) -> dict[str, float]:
    """The figures of a report that are estimated, by their names in `differences`."""
    spent = {f"seconds.{name}": seconds for name, seconds in asdict(report.seconds).items()}
    return {
        "labelled": report.labelled,
        "rejected": sum(report.rejected.values()),
        "tokens": report.tokens,
        "truncated": report.truncated,
        "pairs": report.pairs or 0,
        **spent,
        "seconds.total": sum(spent.values()),
    }


@dataclass(frozen=True)
class EstimateRow:
    """One figure of the page of a report, as text."""

    name: str
    estimate: str
    outcome: str
    difference: str


def estimate_rows(report: Report) -> list[EstimateRow]:
    """What was estimated and the outcome, for a start that has published what it labelled; else none."""
    if report.estimate is None or not report.estimate.differences:
        return []
    expected, outcome = report.estimate.figures(), outcome_of(report)
    names = NAMES if report.expansion is None else NAMES_OF_ROWS
    return [
        EstimateRow(
            names[name],
            _figure(name, value),
            _figure(name, outcome[name]),
            f"{report.estimate.differences[name]:+.1%}" if name in report.estimate.differences else "",
        )
        for name, value in expected.items()
    ]


def _figure(name: str, value: float) -> str:
    return f"{value:,.1f} s" if name.startswith("seconds.") else f"{value:,.0f}"
