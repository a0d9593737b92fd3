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
# The peers in int8. Ours is compared with the faster one, in speed and in labels as fp32.
INT8_PEERS: Final = (exported.onnx_runtime_name(Precision.INT8), exported.openvino_name(Precision.INT8))
TIMES_INT8_PEER: Final = 1.4
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
    shares = {row.name: section.share_of_limit(row) for row in section.rows}
    of_jobs = [_labelling_target(speed, section.work, report), _job_target(speed)] if report else []
    return [
        *(_ratio_target(speed, row, peer, wanted) for row, peer, wanted in RATIOS),
        *_int8_targets(section),
        *(_limit_target(shares, precision, wanted) for precision, wanted in SHARES_OF_LIMIT.items()),
        *of_jobs,
    ]


def _ratio_target(speed: dict[str, float | None], row: str, peer: str, wanted: float) -> Target:
    ratio = _ratio(speed[row], speed.get(peer))
    return Target(f"{row} ≥ {wanted:g} x {peer}", wanted, ratio, "not measured" if ratio is None else f"{ratio:.1f} x")


def _int8_targets(section: Section) -> list[Target]:
    """Against the fastest peer in int8, which this run decides; none where there is none."""
    rows = {row.name: row for row in section.rows}
    peers_here = [rows[name] for name in INT8_PEERS if name in rows and rows[name].pairs_per_second]
    if not peers_here:
        return []
    peer = max(peers_here, key=lambda row: row.pairs_per_second or 0.0)
    row = rows[ours.engine_name(Precision.INT8)]
    ratio = _ratio(row.pairs_per_second, peer.pairs_per_second)
    more = None if row.same_label is None or peer.same_label is None else row.same_label - peer.same_label
    return [
        Target(
            f"{row.name} ≥ {TIMES_INT8_PEER:g} x the fastest peer in int8",
            TIMES_INT8_PEER,
            ratio,
            "not measured" if ratio is None else f"{ratio:.1f} x {peer.name}",
        ),
        Target(
            f"{row.name}: labels as fp32, no fewer than the same peer",
            0.0,
            more,
            "not measured" if more is None else f"{row.same_label:.1%} against {peer.same_label:.1%}",
        ),
    ]


def _limit_target(shares: dict[str, float | None], precision: Precision, wanted: float) -> Target:
    row = ours.engine_name(precision)
    share = shares[row]
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
