"""`python -m benchmarks.row_groups`: the time and memory of reading pairs from one huge row group, and from small ones.

Every unit is read, and nothing is tokenized or labelled. Each way runs in a process of its own, for its peak of memory.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.read.decoding import PairReader
from albert_infer.read.planning import make_plan
from albert_infer.read.survey import survey_input
from benchmarks import machine

UNIT_ROWS: Final = 16_384


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pairs both ways, read them, and print both as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_groups", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.read:
        print(json.dumps(read(given.read)))
        return
    with tempfile.TemporaryDirectory(prefix="albert-infer-row-groups-") as scratch:
        ways = {"one": given.pairs, "small": UNIT_ROWS}
        measured = {name: _measured(Path(scratch) / name, given.pairs, rows) for name, rows in ways.items()}
    print(json.dumps({"machine": asdict(machine.this_machine()), "pairs": given.pairs, **measured}, indent=1))


def read(folder: Path) -> dict[str, float]:
    """Read all units in their order."""
    settings = LabelSettings(input=str(folder), output="nowhere")
    survey = survey_input(storage.resolve_input(settings.input), settings)
    plan = make_plan(survey, settings, {"model": {"digests": {}, "label_map": []}}, 1024)
    reader = PairReader(survey.folder, survey.columns)
    begun, busy, rows = time.perf_counter(), time.process_time(), 0
    for unit in plan.units:
        rows += reader.read(unit.pin, unit.range).num_rows
    return {
        "rows": rows,
        "seconds": round(time.perf_counter() - begun, 2),
        "processor_seconds": round(time.process_time() - busy, 2),
        "peak_megabytes": _peak_kilobytes() // 1024,
    }


def _peak_kilobytes() -> int:
    # Not `getrusage`: a child's peak begins with that of its parent.
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def _measured(folder: Path, rows: int, group_rows: int) -> dict[str, float]:
    folder.mkdir()
    pq.write_table(_pairs(rows), folder / "pairs.parquet", row_group_size=group_rows)
    command = [sys.executable, "-m", "benchmarks.row_groups", "--read", str(folder)]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return measured


def _pairs(rows: int) -> pa.Table:
    """Pairs of which no two are alike, so that no dictionary makes them small."""
    return pa.table(
        {
            "pair_id": [str(row) for row in range(rows)],
            "premise": [
                f"a man plays song {row} in a park, and a woman listens from bench {row % 99}" for row in range(rows)
            ],
            "hypothesis": [f"dog {row * 31 % 99_991} sleeps outside" for row in range(rows)],
        }
    )


if __name__ == "__main__":
    main()
