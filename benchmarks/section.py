"""One section of the benchmark: the rows of one shape on one workload, timed in this process, and their limits."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import default_batch_tokens
from albert_infer.engine import AlbertShape
from albert_infer.engine.devices import card_of
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import DeviceKind
from benchmarks import checkpoint, limit, ours, pairs, workloads
from benchmarks.contender import Absent, Contender, Pairs, Samples
from benchmarks.meter import Meter, Meters, ceilings_of
from benchmarks.quiet import Watch
from benchmarks.results import Limit, Section, Work
from benchmarks.rounds import rows_of, take_rounds
from benchmarks.workloads import Workload

# What a round of a row costs where nobody says how many pairs: about 190 SNLI pairs in the base shape.
ROUND_FLOP: Final = 0.9e12
FEWEST_PAIRS: Final = 8
# One unit of the job. Fewer pairs are one pass, and its time is that of the launches.
FEWEST_PAIRS_ON_GPU: Final = 16_384
# Pairs that choose a peer's settings before it is timed: two of its batches.
TRIAL_PAIRS: Final = 64
# Pairs on which peers choose the scales of int8. They come after the pairs that are timed.
CALIBRATION_PAIRS: Final = 300

# Every workload.
ALL: Final = "all"

# Gives every row of the table, the one that the others are compared with first. The model's folder, and pairs to choose
# settings by.
Contenders = Callable[[Path, Samples], Sequence[Contender | Absent]]


@dataclass(frozen=True)
class Asked:
    """What a section is about; `pairs` is None where the shape decides, `way_seconds` is for a reading of a limit."""

    shape: str
    workload: Workload
    data: Path
    pairs: int | None
    rounds: int
    way_seconds: float = limit.SECONDS_PER_WAY


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say which sections a run has; `asked` reads them."""
    shapes, kinds = [*checkpoint.SHAPES, checkpoint.BUILTIN], [*Workload, ALL]
    parser.add_argument("--shape", action="append", choices=shapes, help="ALBERT's sizes; base if not given")
    parser.add_argument("--workload", action="append", choices=kinds, help="kind of pairs; snli if not given")
    parser.add_argument(
        "--data", type=Path, default=workloads.default_data(), help="folder of snli_test_a and mnli_dev_a, or any pairs"
    )
    parser.add_argument("--pairs", type=int, help="pairs of each row and round; by default what costs about the same")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the in-process rows; medians are shown")
    parser.add_argument(
        "--way-seconds",
        type=float,
        default=limit.SECONDS_PER_WAY,
        help="of each reading of a limit, two for each row of ours",
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")


def asked(given: argparse.Namespace) -> list[Asked]:
    """A section for each shape with each workload, in the order in which they were named."""
    kinds = list(Workload) if ALL in (given.workload or ()) else [Workload(name) for name in given.workload or ["snli"]]
    return [
        Asked(shape, kind, given.data, given.pairs, given.rounds, given.way_seconds)
        for shape, kind in product(given.shape or ["base"], kinds)
    ]


def take_section(wanted: Asked, scratch: Path, contenders: Contenders, device: DeviceKind = DeviceKind.CPU) -> Section:
    """Time the contenders in turn, and in every round the products alone in each precision of theirs."""
    model = saved_model(scratch, wanted.shape)
    shape = load_checkpoint(str(model)).shape
    count = wanted.pairs or default_pairs(shape, wanted.workload, device)
    table = workloads.workload_pairs(wanted.workload, wanted.data, count + CALIBRATION_PAIRS)
    texts = pairs.text_pairs(table.slice(0, count))
    work = _work(wanted, model, texts, device)
    rows = contenders(model, Samples(texts[:TRIAL_PAIRS], pairs.text_pairs(table.slice(count))))
    timed = [row for row in rows if isinstance(row, Contender)]
    meters = {
        each: Meter.of(
            limit.product_ways(shape, work.micro_batch_tokens, each.precision, device, each.cores), wanted.way_seconds
        )
        for each in ceilings_of(timed)
    }
    with Watch() as watch:
        taken = take_rounds(timed, meters, texts, wanted.rounds, tell, device, watch)
    needed_gflop = work.needed_product_tflop * 1e3 / work.pairs
    return Section(work, rows_of(rows, taken, needed_gflop), _limits(meters, needed_gflop), watch.quiet)


def saved_model(scratch: Path, shape: str) -> Path:
    """The random checkpoint of a shape, or the built-in one, in a folder of its name; written when first asked for."""
    model = scratch / shape
    if not model.exists() and shape == checkpoint.BUILTIN:
        shutil.copytree(checkpoint.BUILTIN_CHECKPOINT, model)
    elif not model.exists():
        checkpoint.save_checkpoint(model, checkpoint.SHAPES[shape])
    return model


def default_pairs(shape: AlbertShape, workload: Workload, device: DeviceKind = DeviceKind.CPU) -> int:
    """As many pairs as `ROUND_FLOP` pays for, but not fewer than tell anything about the device."""
    flop = limit.forward_flop(shape, np.array([workloads.MEAN_TOKENS[workload]]))
    fewest = FEWEST_PAIRS if device is DeviceKind.CPU else FEWEST_PAIRS_ON_GPU
    return max(fewest, round(ROUND_FLOP / flop))


def tell(line: str) -> None:
    """Say on stderr how far the run is."""
    print(line, file=sys.stderr, flush=True)


def _work(wanted: Asked, model: Path, texts: Pairs, device: DeviceKind) -> Work:
    loaded = load_checkpoint(str(model))
    lengths = ours.encoded_pairs(loaded, texts).lengths
    batches = micro_batches(lengths, default_batch_tokens(device, loaded.shape, card_of(device)))
    return Work(
        shape=wanted.shape,
        workload=wanted.workload,
        source=workloads.source_of(wanted.workload, wanted.data).name,
        pairs=len(texts),
        mean_tokens=float(lengths.mean()),
        longest_tokens=int(lengths.max()),
        micro_batch_tokens=int(np.median([lengths[rows].sum() for rows in batches])),
        forward_tflop=limit.forward_flop(loaded.shape, lengths) / 1e12,
        needed_product_tflop=limit.needed_product_flop(loaded.shape, lengths) / 1e12,
    )


def _limits(meters: Meters, needed_gflop: float) -> list[Limit]:
    return [
        Limit(
            each.precision,
            meter.ways,
            statistics.median(meter.readings) / needed_gflop,
            each.cores,
            tuple(meter.readings),
        )
        for each, meter in meters.items()
    ]
