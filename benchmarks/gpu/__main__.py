"""`python -m benchmarks.gpu`: all steps on the card of this machine, or with `--dry` on a CPU with a tiny model.

The exit code is 1 if a step failed or a figure missed its bar, and 2 if there is no card. `--minutes` bounds the time:
a step that does not fit into what is left is cut, and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch
from transformers.utils import logging

from benchmarks import machine
from benchmarks.devices import gpu_name
from benchmarks.gpu import kernel_steps, machine_steps, numbers, rivals, speed, units
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.running import Outcome, Run, Step, outcomes_in

MINUTES: Final = 9.0
# Name, function, and seconds on a fast card. What decides most comes first; what may end the process comes last.
STEPS: Final[Sequence[tuple[str, Callable[[Bench], Sequence[Figure]], float]]] = (
    ("machine", machine_steps.machine, 5),
    ("rates", machine_steps.rates, 5),
    ("attention", numbers.attention, 15),
    ("kernels", kernel_steps.references, 30),
    ("logits", numbers.logits, 20),
    ("waits", numbers.waits, 5),
    ("base", speed.base, 10),
    ("xxlarge", speed.xxlarge, 25),
    ("fused", speed.fused, 25),
    ("unit", units.unit, 10),
    ("cross-encoder", rivals.cross_encoder, 60),
    ("fp8", speed.fp8, 25),
    ("hugging-face", rivals.hugging_face, 30),
    ("memory", numbers.memory, 10),
    ("determinism", numbers.determinism, 30),
    ("profile", speed.profile, 10),
    ("budgets", speed.budgets, 15),
    ("small", speed.small, 10),
    ("epilogue", speed.epilogue, 5),
    ("attention-speed", speed.attention, 5),
    ("bert", rivals.bert, 15),
    ("compiled", rivals.compiled, 90),
    ("many-rows", numbers.many_rows, 10),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps. Returns the exit code."""
    given = _parser().parse_args(argv)
    if not given.dry and not torch.cuda.is_available():
        print(
            "torch sees no CUDA device: check the driver (nvidia-smi), or give --dry to run on the CPU", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="albert-infer-gpu-") as scratch:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        bench = Bench(given.dry, Path(scratch))
        if given.bits:
            print(numbers.bits(bench))
            return 0
        return _run(bench, given.minutes, given.json, Path(scratch)).take(_steps(bench, given.only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="run every step on the CPU with a tiny model")
    parser.add_argument("--json", type=Path, help="write everything to this file, after each step")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time budget; steps that do not fit are cut")
    names = [name for name, _, _ in STEPS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="STEP", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--bits", action="store_true", help="print a digest of the logits of a unit, and nothing else")
    return parser


def _steps(bench: Bench, names: Sequence[str]) -> list[Step]:
    return [
        Step(
            name,
            (function.__doc__ or "").split("\n")[0].rstrip("."),
            partial(function, bench),
            0.0 if bench.dry else seconds,
        )
        for name, function, seconds in STEPS
        if name in names
    ]


def _run(bench: Bench, minutes: float, json_file: Path | None, scratch: Path) -> Run:
    header = {
        "machine": vars(machine.this_machine(gpu_name(bench.device))),
        "dry": bench.dry,
        "minutes": minutes,
    }
    return Run(
        60 * minutes,
        not bench.dry,
        header,
        partial(_device_works, bench),
        partial(_in_new_process, bench, scratch),
        json_file,
    )


def _device_works(bench: Bench) -> bool:
    """Whether the device still computes; after some errors of CUDA it does nothing more for this process."""
    try:
        return float(torch.ones(2, device=bench.where).sum()) == 2
    except RuntimeError:
        return False


def _in_new_process(bench: Bench, scratch: Path, names: Sequence[str], seconds: float) -> Sequence[Outcome]:
    file = scratch / "later.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--minutes", str(max(seconds, 0) / 60), "--json", str(file)]
    subprocess.run([*command, *(["--dry"] if bench.dry else []), "--only", *names])
    return outcomes_in(file)


if __name__ == "__main__":
    sys.exit(main())
