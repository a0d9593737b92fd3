"""`python -m benchmarks`: every row of the table in one run, on the same pairs and the same random ALBERT-base."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from albert_infer.batching import micro_batches
from albert_infer.model import load_checkpoint
from albert_infer.schema import Precision
from benchmarks import checkpoint, exported, limit, machine, ours, pairs, peers, table, targets, whole_jobs
from benchmarks.contender import Absent, Contender, Pairs
from benchmarks.results import Limit, Results, Row, Work
from benchmarks.rounds import Rounds, rows_of, take_rounds
from benchmarks.whole_jobs import WholeJob

NO_BF16: Final = "no bf16 instructions"
# Pairs that choose a peer's settings before it is timed: two of its batches.
TRIAL_PAIRS: Final = 2 * peers.BATCH_PAIRS


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it as JSON where asked."""
    given = _parser().parse_args(argv)
    torch.set_num_threads(machine.cores())
    header = machine.this_machine()
    with tempfile.TemporaryDirectory(prefix="albert-infer-bench-") as scratch:
        model = Path(scratch) / "model"
        checkpoint.save_checkpoint(model, checkpoint.BASE)
        found = pairs.read_pairs(given.data, max(given.pairs, given.job_pairs))
        work = _work(model, found.slice(0, given.pairs), given)
        texts = pairs.text_pairs(found.slice(0, given.pairs))
        contenders = _contenders(model, texts[:TRIAL_PAIRS])
        rounds = _in_process(contenders, model, texts, work, given.rounds)
        jobs = _whole_jobs(Path(scratch), model, found.slice(0, given.job_pairs), given.job_rounds)
    results = _results(header, work, rows_of(contenders, rounds), rounds, jobs)
    table.show(results, peers.PIPELINE_NAME)
    if given.json:
        given.json.write_text(json.dumps(results.to_json(), indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, default=pairs.default_source(), help="Parquet file or folder of pairs")
    parser.add_argument("--pairs", type=int, default=256, help="pairs of each in-process row and round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the in-process rows; medians are shown")
    parser.add_argument("--job-pairs", type=int, default=2000, help="pairs of each whole job")
    parser.add_argument("--job-rounds", type=int, default=1, help="rounds of the whole jobs, which take minutes each")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _work(model: Path, found: pa.Table, given: argparse.Namespace) -> Work:
    loaded = load_checkpoint(str(model))
    lengths = ours.encoded_pairs(loaded, pairs.text_pairs(found)).lengths
    batches = micro_batches(lengths, ours.MAX_BATCH_TOKENS)
    return Work(
        source=given.data.name,
        pairs=given.pairs,
        job_pairs=given.job_pairs,
        mean_tokens=float(lengths.mean()),
        longest_tokens=int(lengths.max()),
        micro_batch_tokens=int(np.median([lengths[rows].sum() for rows in batches])),
        forward_tflop=limit.forward_flop(loaded.shape, lengths) / 1e12,
        needed_product_tflop=limit.needed_product_flop(loaded.shape, lengths) / 1e12,
    )


def _precisions() -> list[Precision]:
    bf16 = machine.has_bf16_instructions()
    return [precision for precision in Precision if precision is not Precision.BF16 or bf16]


def _contenders(model: Path, trial: Pairs) -> list[Contender | Absent]:
    """Every in-process row in the order of the table, the Hugging Face pipeline first; `trial` chooses settings."""
    fp32, bf16, int8 = Precision.FP32, Precision.BF16, Precision.INT8
    there = _precisions()
    rows: list[Contender | Absent] = [*peers.pipeline_contenders(model), *peers.cross_encoder_contenders(model)]
    for name, contender, precisions in (
        # Hugging Face computes in what torch's tensors hold, which is not int8; the others as they are documented.
        (peers.model_name, peers.model_contender, (fp32, bf16)),
        (exported.onnx_runtime_name, exported.onnx_runtime_contender, (fp32, int8)),
        (exported.openvino_name, partial(exported.openvino_contender, trial=trial), (fp32, bf16)),
        (ours.engine_name, ours.engine_contender, (fp32, bf16, int8)),
        (ours.labeler_name, ours.labeler_contender, (fp32, bf16, int8)),
    ):
        rows += [contender(model, each) if each in there else Absent(name(each), each, NO_BF16) for each in precisions]
    return rows


def _in_process(contenders: Sequence[Contender | Absent], model: Path, texts: Pairs, work: Work, rounds: int) -> Rounds:
    shape = load_checkpoint(str(model)).shape
    products = {
        precision: partial(limit.product_gflops, shape, work.micro_batch_tokens, precision)
        for precision in _precisions()
    }
    there = [each for each in contenders if isinstance(each, Contender)]
    return take_rounds(there, products, texts, rounds, _tell)


def _whole_jobs(scratch: Path, model: Path, found: pa.Table, rounds: int) -> list[tuple[WholeJob, WholeJob]]:
    """Ray's recipe and our job in turn, on the same folder of four files: with one, Ray's second actor has no work."""
    source = scratch / "pairs"
    pairs.write_files(source, found, rows_per_file=-(-found.num_rows // 4))
    taken = []
    for number in range(1, rounds + 1):
        recipe = whole_jobs.ray_recipe(source, scratch / f"recipe-{number}", model)
        _tell(f"job round {number}: Ray's recipe took {recipe.seconds:.1f} s")
        job = whole_jobs.our_job(source, scratch / f"ours-{number}", model)
        _tell(f"job round {number}: our job took {job.seconds:.1f} s")
        taken.append((recipe, job))
    return taken


def _results(
    header: machine.Machine, work: Work, in_process: list[Row], rounds: Rounds, jobs: list[tuple[WholeJob, WholeJob]]
) -> Results:
    rows = [*in_process, *targets.job_rows(jobs, work.job_pairs)]
    limits = [
        Limit(
            precision,
            medians := {way: statistics.median(gflops) for way, gflops in ways.items()},
            max(medians.values()) / 1e3 / work.needed_product_tflop * work.pairs,
        )
        for precision, ways in rounds.product_gflops.items()
    ]
    report = jobs[-1][1].report or {}
    return Results(header, work, rows, limits, targets.targets(rows, work, report), report)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
