"""`python -m benchmarks.profile`: where the time of a forward pass goes, for each precision, on one core and on all.

`steps` times the engine's own steps. Each round also runs the engine without clocks, so the table shows what the clocks
cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import CPU_BATCH_TOKENS
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.weights import AlbertTensors
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.schema import DeviceKind, EncodedPairs, Precision
from benchmarks import checkpoint, devices, limit, machine, ours, pairs, section, workloads
from benchmarks.machine import Machine
from benchmarks.quiet import Quiet, Watch
from benchmarks.steps import PRODUCTS, Passes, Step, TimedPass, timed_passes
from benchmarks.workloads import Workload

PRECISIONS: Final = (Precision.INT8, Precision.BF16, Precision.FP32)
# Enough micro-batches that the cores end at about the same time.
DEFAULT_PAIRS: Final = 512


@dataclass(frozen=True)
class Profile:
    """The median round. `steps` are seconds summed over the cores, `between` are those in which no pass ran.

    `clock_cost` is the share by which the clocks slow the engine down: the median over the rounds.
    """

    precision: str
    cores: int
    pairs_per_second: float
    gflops_of_products: float
    steps: dict[str, float]
    between: float
    clock_cost: float

    @property
    def explained(self) -> float:
        """The share of all seconds of the cores that the steps explain."""
        return sum(self.steps.values()) / (sum(self.steps.values()) + self.between)

    def share(self, *steps: Step) -> float:
        """The share of these steps in all steps."""
        return sum(self.steps[step] for step in steps) / sum(self.steps.values())

    def to_json(self) -> dict[str, Any]:
        """Everything, derived figures included."""
        return {**asdict(self), "explained": self.explained, "share_of_products": self.share(*PRODUCTS)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it as JSON where asked."""
    given = _parser().parse_args(argv)
    torch.set_num_threads(machine.cores())
    header = machine.this_machine()
    with tempfile.TemporaryDirectory(prefix="albert-infer-bench-") as scratch:
        loaded = load_checkpoint(str(section.saved_model(Path(scratch), given.shape)))
    texts = pairs.text_pairs(workloads.workload_pairs(given.workload, given.data, given.pairs))
    encoded = ours.encoded_pairs(loaded, texts)
    with Watch() as watch:
        profiles = [
            profiled(loaded, encoded, precision, cores, given.rounds, given.batch_tokens)
            for precision in given.precision or PRECISIONS
            if not devices.obstacle(DeviceKind.CPU, precision)
            for cores in sorted({1, machine.cores()})
        ]
    _show(header, given.shape, encoded, profiles, watch.quiet)
    if given.json:
        told = {
            "machine": asdict(header),
            "quiet": asdict(watch.quiet),
            "work": {"shape": given.shape, "pairs": len(texts), "mean_tokens": float(encoded.lengths.mean())},
            "profiles": [each.to_json() for each in profiles],
        }
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def profiled(
    loaded: Checkpoint,
    encoded: EncodedPairs,
    precision: Precision,
    cores: int,
    rounds: int,
    batch_tokens: int = CPU_BATCH_TOKENS,
) -> Profile:
    """The engine with clocks and without them, in turn. Raises RuntimeError if their logits differ."""
    batches = micro_batches(encoded.lengths, batch_tokens)
    forward = TimedPass.timed(AlbertTensors.read(loaded.shape, loaded.weights), precision)
    engine = AlbertEngine(loaded.shape, loaded.weights, precision=precision, device=DeviceKind.CPU, threads=cores)
    taken: list[Passes] = []
    costs: list[float] = []
    for number in range(rounds + 1):
        begun = time.perf_counter()
        expected = engine.logits(encoded, batches)
        plain_seconds = time.perf_counter() - begun
        passes = timed_passes(forward, loaded.shape.num_labels, encoded, batches, cores)
        if not np.array_equal(passes.logits_RC, expected):
            raise RuntimeError(f"the timed passes in {precision} gave other logits than the engine")
        if number:  # the first round warms up
            taken.append(passes)
            costs.append(passes.seconds / plain_seconds - 1)
            section.tell(
                f"{precision}, {cores} cores, round {number}: {len(encoded.lengths) / passes.seconds:.1f} pairs/s"
            )
    median = sorted(taken, key=lambda passes: passes.seconds)[len(taken) // 2]
    products = sum(median.steps[step] for step in PRODUCTS)
    return Profile(
        precision=precision,
        cores=cores,
        pairs_per_second=len(encoded.lengths) / median.seconds,
        gflops_of_products=limit.needed_product_flop(loaded.shape, encoded.lengths) / products / 1e9,
        steps={step.value: seconds for step, seconds in median.steps.items()},
        between=max(0.0, cores * median.seconds - sum(median.steps.values())),
        clock_cost=statistics.median(costs),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument(
        "--shape", choices=[*checkpoint.SHAPES, checkpoint.BUILTIN], default="base", help="ALBERT's sizes"
    )
    parser.add_argument(
        "--workload", type=Workload, choices=list(Workload), default=Workload.SNLI, help="kind of pairs"
    )
    parser.add_argument("--data", type=Path, default=workloads.default_data(), help="folder of pairs")
    parser.add_argument("--pairs", type=int, default=DEFAULT_PAIRS, help="pairs of each round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds after the one that warms up")
    parser.add_argument(
        "--batch-tokens", type=int, default=CPU_BATCH_TOKENS, help="tokens of a micro-batch; the engine's if not given"
    )
    parser.add_argument(
        "--precision", type=Precision, action="append", choices=PRECISIONS, help="int8, bf16 and fp32 if not given"
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _show(header: Machine, shape: str, encoded: EncodedPairs, profiles: Sequence[Profile], quiet: Quiet) -> None:
    console = Console(highlight=False, width=max(120, Console().width))
    console.print(f"{header.processor}, {header.cores} cores ({' '.join(header.instructions)}), {header.date}")
    console.print(quiet.to_text())
    console.print(f"ALBERT-{shape}, {len(encoded.lengths)} pairs, mean {encoded.lengths.mean():.1f} tokens")
    table = Table("step", box=None, header_style="bold")
    for each in profiles:
        table.add_column(f"{each.precision}, {each.cores} core{'s' if each.cores > 1 else ''}", justify="right")
    table.add_row("all products", *(f"{each.share(*PRODUCTS):.1%}" for each in profiles), style="bold")
    for step in Step:
        table.add_row(step, *(f"{each.share(step):.1%}" for each in profiles))
    for name, cells in (
        ("explained by the steps", [f"{each.explained:.1%}" for each in profiles]),
        ("pairs/s", [f"{each.pairs_per_second:,.1f}" for each in profiles]),
        ("GFLOP/s of the products, a core", [f"{each.gflops_of_products:,.0f}" for each in profiles]),
        ("cost of the clocks", [f"{each.clock_cost:+.1%}" for each in profiles]),
    ):
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
