"""The rows of the whole jobs, and the project's promises judged by the rows of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from albert_infer.schema import Precision
from benchmarks import ours, peers
from benchmarks.results import Row, Section, Target, Work
from benchmarks.whole_jobs import WholeJob

RECIPE_NAME: Final = "Ray's recipe, start-up included"
JOB_NAME: Final = "our job, start-up included"
LABELLING_NAME: Final = "our job, while labelling"
RECIPE_SETTINGS: Final = "fp32, read_parquet, map_batches(pipeline, batch_size=32, an actor a core), write_parquet"
JOB_SETTINGS: Final = "python jobs/label_pairs.py with its defaults"
LABELLING_SETTINGS: Final = "pairs_per_second of the job's report.json: from when the first unit is on a device"

ENGINE_TIMES_PIPELINE: Final = 10.0
JOB_SHARE_OF_ENGINE: Final = 0.85
JOB_TIMES_RECIPE: Final = 5.0


def job_rows(jobs: Sequence[tuple[WholeJob, WholeJob]], pairs: int) -> list[Row]:
    """Rows of Ray's recipe, of our job, and of our job's own figure for the time once it labels; none without jobs."""
    if not jobs:
        return []
    reports = [job.report for _, job in jobs if job.report is not None]
    precision = Precision(reports[-1]["precision"])
    recipe, ours_whole = (tuple(pairs / job.seconds for job in column) for column in zip(*jobs, strict=True))
    labelling = tuple(float(report["pairs_per_second"]) for report in reports)
    return [
        Row(RECIPE_NAME, RECIPE_SETTINGS, Precision.FP32, recipe),
        Row(JOB_NAME, JOB_SETTINGS, precision, ours_whole),
        Row(LABELLING_NAME, LABELLING_SETTINGS, precision, labelling),
    ]


def targets(section: Section, report: dict[str, Any]) -> list[Target]:
    """The promises, judged; `report` is that of our last whole job, empty where none was run."""
    speed = {row.name: row.pairs_per_second for row in section.rows}
    of_jobs = [_labelling_target(speed, section.work, report), _job_target(speed)] if report else []
    return [_engine_target(speed), *of_jobs]


def _engine_target(speed: dict[str, float | None]) -> Target:
    engine, pipeline = speed[ours.engine_name(Precision.BF16)], speed[peers.PIPELINE_NAME]
    ratio = None if engine is None or pipeline is None else engine / pipeline
    figure = "no bf16 instructions" if ratio is None else f"{ratio:.1f} x"
    claim = f"our engine in bf16 ≥ {ENGINE_TIMES_PIPELINE:.0f} x Hugging Face pipeline in fp32"
    return Target(claim, ENGINE_TIMES_PIPELINE, ratio, figure)


def _labelling_target(speed: dict[str, float | None], work: Work, report: dict[str, Any]) -> Target:
    """By tokens, because the job's pairs are more than the engine's and not exactly as long."""
    engine = speed[ours.engine_name(Precision(report["precision"]))]
    share = None if engine is None else report["tokens_per_second"] / (engine * work.mean_tokens)
    figure = "" if share is None else f"{share:.0%} in {report['precision']}"
    return Target(f"our job once started ≥ {JOB_SHARE_OF_ENGINE:.0%} of the engine", JOB_SHARE_OF_ENGINE, share, figure)


def _job_target(speed: dict[str, float | None]) -> Target:
    job, recipe = speed[JOB_NAME], speed[RECIPE_NAME]
    ratio = None if job is None or recipe is None else job / recipe
    figure = "" if ratio is None else f"{ratio:.1f} x"
    return Target(
        f"our job ≥ {JOB_TIMES_RECIPE:.0f} x Ray's recipe, start-up included", JOB_TIMES_RECIPE, ratio, figure
    )
