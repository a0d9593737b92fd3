"""Whole jobs as a user starts them: processes of their own, timed from the command to its end, start-up included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.dataset as ds

ROOT: Final = Path(__file__).parents[1]
# A job that waits for something that never comes must not hold the benchmark for a night.
TIMEOUT_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class WholeJob:
    """One job's end: seconds from start to end, and, of ours, what its report says."""

    seconds: float
    report: dict[str, Any] | None = None


def ray_recipe(source: Path, output: Path, model: Path) -> WholeJob:
    """Ray's documented recipe on the Parquet folder `source`; raises RuntimeError unless every row came out."""
    begun = time.perf_counter()
    _run(["-m", "benchmarks.ray_recipe", *_flags(source, output, model)], output)
    seconds = time.perf_counter() - begun
    _refuse_lost_rows(source, ds.dataset(output, format="parquet").count_rows())
    return WholeJob(seconds)


def our_job(source: Path, output: Path, model: Path, *more: str) -> WholeJob:
    """`jobs/label_pairs.py` as `label_command` has it; raises RuntimeError unless every row was labelled."""
    begun = time.perf_counter()
    _run([*label_command(source, output, model), *more], output)
    seconds = time.perf_counter() - begun
    report = run_report(output)
    _refuse_lost_rows(source, report["labelled"])
    return WholeJob(seconds, report)


def label_command(source: Path, output: Path, model: Path) -> list[str]:
    """What follows `python` on the command line of our job."""
    # The agreement with fp32 is measured, as always, and judged by nobody: labels of random weights are close calls.
    return ["jobs/label_pairs.py", *_flags(source, output, model), "--min-agreement", "0"]


def run_report(output: Path) -> dict[str, Any]:
    """The report of the one run that `output` holds."""
    [path] = output.glob("_runs/*/report.json")
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def start(arguments: list[str], log: Path, added: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start this Python with `arguments` in the project's root, everything that it says in `log`.

    `added` goes into its environment.
    """
    # The project need not be installed for its jobs to be measured.
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(added or {})
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )


def refuse_failure(process: subprocess.Popen[bytes], arguments: list[str], log: Path) -> None:
    """Raise RuntimeError with the end of the log if the ended `process` failed."""
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}:\n{tail}")


def _run(arguments: list[str], output: Path) -> None:
    log = output.with_suffix(".log")
    with start(arguments, log) as process:
        try:
            process.wait(TIMEOUT_SECONDS)
        except BaseException:
            process.terminate()
            raise
    refuse_failure(process, arguments, log)


def _flags(source: Path, output: Path, model: Path) -> list[str]:
    return ["--input", str(source), "--output", str(output), "--model", str(model)]


def _refuse_lost_rows(source: Path, labelled: int) -> None:
    rows = ds.dataset(source, format="parquet").count_rows()
    if labelled != rows:
        raise RuntimeError(f"a job labelled {labelled} of {rows} pairs: its speed would mean nothing")
