"""`python -m benchmarks`: every row of the table in one run, on the same pairs and the same random ALBERT."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from albert_infer.schema import DeviceKind, Precision
from benchmarks import devices, exported, machine, ours, pairs, peers, section, table, targets, whole_jobs, workloads
from benchmarks.contender import Absent, Contender, Samples
from benchmarks.results import Results
from benchmarks.section import Asked, saved_model, take_section, tell
from benchmarks.whole_jobs import WholeJob


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write them as JSON where asked."""
    given = _parser().parse_args(argv)
    torch.set_num_threads(machine.cores())
    header = machine.this_machine()
    asked = section.asked(given)
    with tempfile.TemporaryDirectory(prefix="albert-infer-bench-") as scratch:
        sections = [take_section(each, Path(scratch), _contenders) for each in asked]
        jobs = _whole_jobs(Path(scratch), asked[0], given.job_pairs, given.job_rounds) if given.job_pairs else []
        report = _long_job_report(Path(scratch), asked[0], given.long_job_pairs) if jobs else {}
    sections[0] = replace(sections[0], rows=[*sections[0].rows, *targets.job_rows(jobs, given.job_pairs, report)])
    results = Results(header, sections, targets.targets(sections[0], report), given.job_pairs, report)
    table.show(results)
    if given.json:
        given.json.write_text(json.dumps(results.to_json(), indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    section.add_flags(parser)
    parser.add_argument("--job-pairs", type=int, default=2000, help="pairs of each whole job, 0 for no whole jobs")
    parser.add_argument(
        "--long-job-pairs", type=int, default=20_000, help="pairs of our job that is timed once started"
    )
    parser.add_argument("--job-rounds", type=int, default=1, help="rounds of the whole jobs, which take minutes each")
    return parser


def _contenders(model: Path, samples: Samples) -> list[Contender | Absent]:
    """Every in-process row in the order of the table, the Hugging Face pipeline first; `samples` choose settings."""
    fp32, bf16, int8 = Precision.FP32, Precision.BF16, Precision.INT8
    rows: list[Contender | Absent] = [
        *peers.pipeline_contenders(model),
        *peers.cross_encoder_contenders(model, fp32, DeviceKind.CPU),
    ]
    for name, contender, precisions in (
        # Hugging Face computes in what torch's tensors hold, which is not int8; the others as they are documented.
        (peers.model_name, peers.model_contender, (fp32, bf16)),
        (exported.onnx_runtime_name, partial(exported.onnx_runtime_contender, samples=samples), (fp32, int8)),
        (exported.openvino_name, partial(exported.openvino_contender, samples=samples), (fp32, bf16, int8)),
        (ours.engine_name, ours.engine_contender, (fp32, bf16, int8)),
        (ours.labeler_name, ours.labeler_contender, (fp32, bf16, int8)),
    ):
        for precision in precisions:
            reason = devices.obstacle(DeviceKind.CPU, precision)
            rows.append(Absent(name(precision), precision, reason) if reason else contender(model, precision))
    return rows + ours.one_core_contenders(model, (fp32, bf16, int8))


def _whole_jobs(scratch: Path, asked: Asked, count: int, rounds: int) -> list[tuple[WholeJob, WholeJob]]:
    """Ray's recipe and our job in turn, on the same folder of four files: with one, Ray's second actor has no work."""
    source, model = _written_pairs(scratch / "pairs", asked, count), saved_model(scratch, asked.shape)
    taken = []
    for number in range(1, rounds + 1):
        recipe = whole_jobs.ray_recipe(source, scratch / f"recipe-{number}", model)
        tell(f"job round {number}: Ray's recipe took {recipe.seconds:.1f} s")
        job = whole_jobs.our_job(source, scratch / f"ours-{number}", model)
        tell(f"job round {number}: our job took {job.seconds:.1f} s")
        taken.append((recipe, job))
    return taken


def _long_job_report(scratch: Path, asked: Asked, count: int) -> dict[str, Any]:
    """The report of our job on so many pairs that what it does once it labels is nearly all that it does."""
    source, model = _written_pairs(scratch / "long-pairs", asked, count), saved_model(scratch, asked.shape)
    report = whole_jobs.our_job(source, scratch / "ours-long", model).report or {}
    tell(f"long job: {report['pairs_per_second']:.1f} pairs/s while labelling {count:,}")
    return report


def _written_pairs(folder: Path, asked: Asked, count: int) -> Path:
    found = workloads.workload_pairs(asked.workload, asked.data, count)
    pairs.write_files(folder, found, rows_per_file=-(-count // 4))
    return folder


if __name__ == "__main__":
    main()
