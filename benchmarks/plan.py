"""`python -m benchmarks.plan`: how near a plan's estimates come, on three workloads, and how long a plan takes.

Each workload has two nights of different pairs. The first is labelled; the second is planned from a sample, once with
the rates of the table and once with those of the first night, and then labelled. With `--objects` a plan of so many
small files is timed, below `--at`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from albert_infer import storage
from benchmarks import machine, pairs, workloads
from benchmarks.whole_jobs import ROOT, run_report
from benchmarks.workloads import Workload

# Pairs of a night: enough for seconds of labelling, few enough for six jobs to take minutes.
NIGHT_PAIRS: Final = {Workload.SNLI: 4_900, Workload.MNLI: 4_900, Workload.LONG: 1_000}
SAMPLE_ROWS: Final = 1_000
# Row groups of the made nights, so that a sample comes from several.
GROUP_ROWS: Final = 500
ROWS_A_FILE: Final = 100
COUNTS_WITHIN: Final = 0.05
TIME_WITHIN: Final = 0.30
NIGHTS: Final = ("dt=2026-11-20", "dt=2026-11-21")


@dataclass(frozen=True)
class Compared:
    """One figure of a night: what was estimated, and what came."""

    workload: str
    figure: str
    estimated: float
    came: float
    within: float

    @property
    def difference(self) -> float:
        """By which share of the outcome the estimate was more."""
        return self.estimated / self.came - 1

    @property
    def is_met(self) -> bool:
        """Whether the estimate came near enough."""
        return abs(self.difference) <= self.within


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    given = _parser().parse_args(argv)
    header = machine.this_machine()
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{header.processor}, {header.cores} cores, {header.date}, load {header.load} when this began")
    with tempfile.TemporaryDirectory(prefix="albert-infer-plan-") as scratch:
        if given.objects:
            at = given.at or str(Path(scratch) / "objects")
            seconds = planned_objects(at, given.objects, pairs.read_pairs(pairs.default_source(), ROWS_A_FILE))
            console.print(f"a plan of {given.objects:,} files of {ROWS_A_FILE} pairs in {at}: {seconds:.1f} s")
            return
        rows = [row for workload in given.workloads for row in compared(workload, given.data, Path(scratch))]
    _show(console, rows)
    if given.json:
        told = {"machine": asdict(header), "rows": [asdict(row) for row in rows]}
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def compared(workload: Workload, data: Path, scratch: Path) -> list[Compared]:
    """Label one night, plan and label the next, and compare."""
    folder, count = scratch / workload.value, NIGHT_PAIRS[workload]
    table = night_pairs(workload, data, 2 * count)
    places = [(folder / "in" / night, folder / "out" / night) for night in NIGHTS]
    for number, (source, _) in enumerate(places):
        source.mkdir(parents=True)
        pq.write_table(table.slice(number * count, count), source / "pairs.parquet", row_group_size=GROUP_ROWS)
    _job("label_pairs.py", *places[0])
    source, output = places[1]
    plans = {
        "table": planned(source, folder / "elsewhere"),
        "the night before": planned(source, output),
    }
    _job("label_pairs.py", source, output)
    report = run_report(output)
    by_night = plans["the night before"]
    named = by_night["counts"]
    figures = [
        ("rows", by_night["plan"]["rows"], report["rows"]),
        ("labelled", named["labelled"], report["labelled"]),
        ("tokens", named["tokens"], report["tokens"]),
    ]
    rows = [Compared(workload.value, name, estimated, came, COUNTS_WITHIN) for name, estimated, came in figures]
    spent = report["seconds"]
    for basis, plan in plans.items():
        seconds = plan["cost"]["seconds"]
        for name, estimated, came in (
            (f"seconds to label, rate of {basis}", seconds["labelling"], spent["labelling"]),
            (f"seconds of the run, rate of {basis}", sum(seconds.values()), sum(spent.values())),
        ):
            rows.append(Compared(workload.value, name, estimated, came, TIME_WITHIN))
    return rows


def night_pairs(workload: Workload, data: Path, count: int) -> pa.Table:
    """`count` pairs of the workload, in a mixed order: two nights of one source are alike."""
    table = workloads.workload_pairs(workload, data, count)
    return table.take(pa.array(np.random.default_rng(0).permutation(count)))


def planned(source: Path | str, output: Path | str, *more: str) -> dict[str, Any]:
    """The plan of a run, as JSON has it."""
    options = ("--format", "json", *(more or ("--sample-rows", str(SAMPLE_ROWS))))
    plan: dict[str, Any] = json.loads(_job("plan_labels.py", source, output, *options))
    return plan


def planned_objects(at: str, count: int, table: pa.Table) -> float:
    """Seconds of a plan of `count` files below `at`, from the command to its end; the files are written before."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    folder = storage.open_folder(storage.subfolder(at, "in"))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: folder.put_if_absent(name, sink.getvalue()), _names(count)))
    begun = time.perf_counter()
    planned(folder.uri, storage.subfolder(at, "out"), "--sample-rows", "10000")
    return time.perf_counter() - begun


def _names(count: int) -> list[str]:
    return [f"part-{number:06d}.parquet" for number in range(count)]


def _job(script: str, source: Path | str, output: Path | str, *more: str) -> str:
    command = [sys.executable, f"jobs/{script}", "--input", str(source), "--output", str(output), *more]
    # A Ray of its own, whatever cluster runs here; and the package of this checkout.
    environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--data", type=Path, default=workloads.default_data(), help="folder of real pairs")
    parser.add_argument("--workloads", type=Workload, nargs="+", default=list(Workload), help="which of them")
    parser.add_argument("--objects", type=int, help="time a plan of this number of files, and nothing else")
    parser.add_argument("--at", help="the folder for these files: local path or s3://; a temporary one by default")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _show(console: Console, rows: Sequence[Compared]) -> None:
    table = Table("workload", "figure", box=None, header_style="bold")
    for name in ("estimated", "came", "difference", "within"):
        table.add_column(name, justify="right")
    for row in rows:
        digits = ",.0f" if row.within == COUNTS_WITHIN else ".1f"
        shown = (format(value, digits) for value in (row.estimated, row.came))
        verdict = f"{row.within:.0%}, {'met' if row.is_met else 'missed'}"
        table.add_row(row.workload, row.figure, *shown, f"{row.difference:+.1%}", verdict)
    console.print(table)


if __name__ == "__main__":
    main()
