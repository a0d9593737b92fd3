"""`python -m benchmarks.startup`: where the seconds between the command and the first label go.

Each round labels the pairs of the package in a process of its own: once as the command does, without Ray, since they
are few, and once on Ray, as larger runs are. The times come from a wrapper around the executor: nothing
in the job knows that it is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.pairs import BUILTIN_PAIRS

if TYPE_CHECKING:
    from albert_infer.engine.cards import Card
    from albert_infer.job.report import Report
    from albert_infer.pipeline.executor import Executor, Labelling
    from albert_infer.pipeline.metrics import Declared, Record
    from albert_infer.pipeline.progress import RunProgress
    from albert_infer.pipeline.resources import Node, WorkerResources
    from albert_infer.pipeline.unit import LabelTask
    from albert_infer.preflight.checks import Checks, Preflight
    from albert_infer.preflight.sample import ChosenRows
    from albert_infer.read.planning import Unit
    from albert_infer.schema import ExecutorKind

TARGET_SECONDS: Final = 8.0
# Who labels: the executor that the command chooses for a small run, and Ray.
WAYS: Final = {"process": "in the job's process", "ray": "on Ray"}
# The phases in order; each ends when it is marked.
PHASES: Final = {
    "imported": "Python, and the modules of the job",
    "planned": "settings, input, checkpoint",
    "opened": "executor: torch, or Ray and its session",
    "begun": "plan, board",
    "checked": "preflight, on Ray on a worker",
    "first label": "model, on Ray in classify actors",
    "last label": "the other units",
    "published": "seal, publish, report",
}


@dataclass
class Marks:
    """Seconds since the command began at which each phase had ended."""

    begun: float
    at: dict[str, float] = field(default_factory=dict)

    def mark(self, phase: str, now: float | None = None) -> None:
        """The phase has ended."""
        self.at[phase] = (now or time.time()) - self.begun

    def seconds(self) -> dict[str, float]:
        """Of each phase."""
        ends = [0.0, *(self.at[phase] for phase in PHASES)]
        return {phase: end - before for phase, before, end in zip(PHASES, ends, ends[1:], strict=False)}


class Timed:
    """An executor whose calls are marked."""

    kind: ExecutorKind
    first_step = ""

    def __init__(self, executor: Callable[[], Executor], marks: Marks) -> None:
        self._make = executor
        self._marks = marks

    @contextmanager
    def session(self, *, debug: bool) -> Iterator[Sequence[Node]]:
        """That of the executor."""
        self._marks.mark("planned")
        self._executor = self._make()
        self.kind = self._executor.kind
        with self._executor.session(debug=debug) as nodes:
            self._marks.mark("opened")
            yield nodes

    def recorder(self, declared: Declared) -> Record:
        """That of the executor."""
        return self._executor.recorder(declared)

    def card(self, workers: WorkerResources, gpu_wait_minutes: float | None) -> Card:
        """That of the executor."""
        return self._executor.card(workers, gpu_wait_minutes)

    def begin(self, task: LabelTask, workers: WorkerResources) -> TimedLabelling:
        """Begin the task."""
        labelling = TimedLabelling(self._executor.begin(task, workers), self._marks)
        self._marks.mark("begun")
        return labelling


@dataclass
class TimedLabelling:
    """A task whose calls are marked."""

    labelling: Labelling
    marks: Marks

    def wait_for_gpu(self, minutes: float | None) -> None:
        """That of the task."""
        self.labelling.wait_for_gpu(minutes)

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """That of the task."""
        found = self.labelling.preflight(chosen, checks)
        self.marks.mark("checked")
        return found

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """That of the task."""
        self.labelling.label(units, max_batch_tokens=max_batch_tokens)
        self.marks.mark("last label")
        self.marks.mark("first label", self.so_far().first_reported)

    def so_far(self) -> RunProgress:
        """That of the task."""
        return self.labelling.so_far()


def label_timed(begun: float, output: Path, way: str) -> None:
    """Label the pairs of the package with a process that has this way; the marks go to stdout as JSON."""
    from albert_infer.config import LabelSettings
    from albert_infer.job.run import label_pairs
    from albert_infer.pipeline.choice import on_ray
    from albert_infer.pipeline.inline import InlineExecutor

    marks = Marks(begun)
    marks.mark("imported")
    settings = LabelSettings(input=str(BUILTIN_PAIRS), output=str(output))
    report: Report = label_pairs(settings, executor=Timed(on_ray if way == "ray" else InlineExecutor, marks))
    marks.mark("published")
    sys.stdout.write(json.dumps({"labelled": report.labelled, "seconds": marks.seconds()}))


def main(argv: Sequence[str] | None = None) -> None:
    """Time some starts of each way one after the other, and print the median of each phase."""
    given = _parser().parse_args(argv)
    if given.child is not None:
        label_timed(given.child, given.output, given.way)
        return
    header = machine.this_machine()
    with tempfile.TemporaryDirectory(prefix="albert-infer-startup-") as scratch:
        # The first round warms the file cache and compiles the kernels.
        rounds = [
            {way: _timed_start(Path(scratch) / f"{way}-{number}", way) for way in WAYS}
            for number in range(given.rounds + 1)
        ][1:]
    console = Console(highlight=False)
    console.print(f"{header.processor}, {header.cores} cores, {header.date}, load {header.load} when this began")
    for way in WAYS:
        _show(console, way, [each[way] for each in rounds])
    if given.json:
        given.json.write_text(json.dumps({"machine": asdict(header), "rounds": rounds}, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts to time, after one that is not counted")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def _timed_start(output: Path, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.startup", "--output", str(output), "--way", way]
    command += ["--child", str(time.time())]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds: dict[str, float] = json.loads(ended.stdout)["seconds"]
    return seconds


def until_first_label(seconds: dict[str, float]) -> float:
    """The phases up to the first label together."""
    phases = list(PHASES)
    return sum(seconds[phase] for phase in phases[: phases.index("first label") + 1])


def _show(console: Console, way: str, rounds: Sequence[dict[str, float]]) -> None:
    table = Table(WAYS[way], box=None, header_style="bold")
    for name in ("seconds", "least", "most"):
        table.add_column(name, justify="right")
    for phase, text in PHASES.items():
        each = [seconds[phase] for seconds in rounds]
        table.add_row(text, f"{median(each):.2f}", f"{min(each):.2f}", f"{max(each):.2f}")
    console.print(table)
    each = [until_first_label(seconds) for seconds in rounds]
    verdict = "met" if median(each) <= TARGET_SECONDS else "missed"
    console.print(
        f"{verdict}: {median(each):.1f} s from the command to the first label ({min(each):.1f} to {max(each):.1f}), "
        f"target at most {TARGET_SECONDS:.0f}"
    )


if __name__ == "__main__":
    main()
