"""The rows of the whole jobs, and the project's promises judged by the rows of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from albert_infer.schema import Precision
from benchmarks import exported, ours, peers
from benchmarks.results import Row, Section, Target, Work
from benchmarks.whole_jobs import WholeJob

RECIPE_NAME: Final = "Ray's recipe, start-up included"
JOB_NAME: Final = "our job, start-up included"
LABELLING_NAME: Final = "our job, while labelling"
RECIPE_SETTINGS: Final = "fp32, read_parquet, map_batches(pipeline, batch_size=32, an actor a core), write_parquet"
JOB_SETTINGS: Final = "python jobs/label_pairs.py with its defaults, agreement with fp32 measured and not judged"
LABELLING_SETTINGS: Final = "pairs_per_second of the job's report.json: from when the first unit is on a device"

# Rows of ours, the rows of peers that they are measured by, and how many times as fast they are to be.
RATIOS: Final = (
    (ours.engine_name(Precision.BF16), peers.PIPELINE_NAME, 10.0),
    (ours.engine_name(Precision.INT8), peers.PIPELINE_NAME, 30.0),
    (ours.engine_name(Precision.INT8), exported.openvino_name(Precision.BF16), 1.8),
)
# How much the engine is to make of what the products alone would allow.
SHARES_OF_LIMIT: Final = {Precision.BF16: 0.85, Precision.INT8: 0.70}
JOB_SHARE_OF_ENGINE: Final = 0.93
JOB_TIMES_RECIPE: Final = 5.0


def job_rows(jobs: Sequence[tuple[WholeJob, WholeJob]], pairs: int, long_report: dict[str, Any]) -> list[Row]:
    """Rows of Ray's recipe, of our job, and of our long job's own figure for the time once it labels; none without."""
    if not jobs:
        return []
    precision = Precision(long_report["precision"])
    recipe, ours_whole = (tuple(pairs / job.seconds for job in column) for column in zip(*jobs, strict=True))
    labelling = (float(long_report["pairs_per_second"]),)
    return [
        Row(RECIPE_NAME, RECIPE_SETTINGS, Precision.FP32, recipe),
        Row(JOB_NAME, JOB_SETTINGS, precision, ours_whole),
        Row(LABELLING_NAME, LABELLING_SETTINGS, precision, labelling),
    ]


def targets(section: Section, report: dict[str, Any]) -> list[Target]:
    """The promises, judged; `report` is that of our long job, empty where none was run."""
    speed = {row.name: row.pairs_per_second for row in section.rows}
    limits = {limit.precision: limit.pairs_per_second for limit in section.limits}
    of_jobs = [_labelling_target(speed, section.work, report), _job_target(speed)] if report else []
    return [
        *(_ratio_target(speed, row, peer, wanted) for row, peer, wanted in RATIOS),
        *(_limit_target(speed, limits, precision, wanted) for precision, wanted in SHARES_OF_LIMIT.items()),
        *of_jobs,
    ]


def _ratio_target(speed: dict[str, float | None], row: str, peer: str, wanted: float) -> Target:
    ratio = _ratio(speed[row], speed.get(peer))
    return Target(f"{row} ≥ {wanted:g} x {peer}", wanted, ratio, "not measured" if ratio is None else f"{ratio:.1f} x")


def _limit_target(
    speed: dict[str, float | None], limits: dict[str, float], precision: Precision, wanted: float
) -> Target:
    row = ours.engine_name(precision)
    share = _ratio(speed[row], limits.get(precision))
    figure = "not measured" if share is None else f"{share:.0%}"
    return Target(f"{row} ≥ {wanted:.0%} of its limit", wanted, share, figure)


def _ratio(figure: float | None, other: float | None) -> float | None:
    return None if figure is None or other is None else figure / other


def _labelling_target(speed: dict[str, float | None], work: Work, report: dict[str, Any]) -> Target:
    """By tokens, because the job's pairs are more than the engine's and not exactly as long."""
    engine = speed[ours.engine_name(Precision(report["precision"]))]
    share = None if engine is None else report["tokens_per_second"] / (engine * work.mean_tokens)
    figure = "" if share is None else f"{share:.0%} in {report['precision']}"
    return Target(f"our job once started ≥ {JOB_SHARE_OF_ENGINE:.0%} of the engine", JOB_SHARE_OF_ENGINE, share, figure)


def _job_target(speed: dict[str, float | None]) -> Target:
    ratio = _ratio(speed[JOB_NAME], speed[RECIPE_NAME])
    claim = f"our job ≥ {JOB_TIMES_RECIPE:.0f} x Ray's recipe, start-up included"
    return Target(claim, JOB_TIMES_RECIPE, ratio, "" if ratio is None else f"{ratio:.1f} x")
