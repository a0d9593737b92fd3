"""`python -m benchmarks.safety`: the price of losing nothing, and how fast a large run is taken up again.

The price is all that a unit costs beyond one plain Parquet file: attempts told to the board, conditional put, fsyncs,
read-back, seal, final name. A run is taken up again with all of its units finished but a few.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from albert_infer import storage
from albert_infer.common import failpoints
from albert_infer.config import LabelSettings
from albert_infer.output import commit
from albert_infer.pipeline.board import RunBoard
from albert_infer.read.planning import make_plan
from albert_infer.read.survey import survey_input
from albert_infer.schema import PairColumns
from benchmarks import checkpoint, machine, pairs
from benchmarks.staged import StagedRun

JOB: Final = Path(__file__).parents[1] / "jobs" / "label_pairs.py"
# The engine with the ALBERT-base shape in fp32, on the two cores of the figures in docs/benchmarks.md.
BASE_PAIRS_PER_SECOND: Final = 27.9
UNIT_ROWS: Final = 16_384
TARGET_SHARE: Final = 0.03
TARGET_RESUME_SECONDS: Final = 30


@dataclass(frozen=True)
class Price:
    """Seconds a unit; `plain` is on the local disk, `attempts` are the calls to the board."""

    plain: float
    whole: float
    attempts: float

    @property
    def share(self) -> float:
        """Of the time that labelling the unit takes."""
        return (self.whole - self.plain + self.attempts) / (UNIT_ROWS / BASE_PAIRS_PER_SECOND)


def main() -> None:
    """Measure both and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000, help="units of the run that is taken up again; 0 for none")
    parser.add_argument("--output", help="empty folder or S3 prefix where the price is measured; a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        price = price_of_a_unit(Path(folder) / "price", options.output or str(Path(folder) / "price" / "out"))
        taken_up = resume(Path(folder) / "resume", options.units) if options.units else {}
    measured = {"machine": asdict(machine.this_machine()), "price": {**asdict(price), "share": price.share}, **taken_up}
    targets = {"share": TARGET_SHARE, "resume_seconds": TARGET_RESUME_SECONDS}
    print(json.dumps({**measured, "targets": targets}, indent=1))


def price_of_a_unit(folder: Path, output_uri: str, units: int = 8) -> Price:
    """Commit, seal and publish `units` units of the default size, and write the same rows as plain files."""
    pairs.write_files(folder / "in", pairs.read_pairs(pairs.default_source(), UNIT_ROWS), UNIT_ROWS)
    for number in range(1, units):
        (folder / "in" / f"copy-{number}.parquet").write_bytes((folder / "in" / "pairs-0000.parquet").read_bytes())
    output = storage.open_folder(output_uri)
    settings = LabelSettings(input=str(folder / "in"), output=output.uri)
    survey = survey_input(storage.resolve_input(settings.input), settings)
    plan = make_plan(survey, settings, {"model": {"digests": {}, "label_map": []}}, 1024)
    rows = [pairs.labelled(unit.unit_id, pq.read_table(folder / "in" / unit.pin.name)) for unit in plan.units]
    begun = time.perf_counter()
    for number, table in enumerate(rows):
        pq.write_table(
            table.select(survey.columns.labelled.names), folder / f"plain-{number}.parquet", compression="zstd"
        )
    plain = time.perf_counter() - begun
    begun = time.perf_counter()
    for unit, table in zip(plan.units, rows, strict=True):
        commit.commit_unit(output, unit.unit_id, commit.Source("x", 0, UNIT_ROWS), table, survey.columns)
    StagedRun(plan, output, settings).publish()
    return Price(plain / units, (time.perf_counter() - begun) / units, seconds_of_attempts())


def seconds_of_attempts(tries: int = 200) -> float:
    """What the three attempts of a unit cost: each begins and ends with a call to the board."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    board = RunBoard.start()
    with board.attempt("read", "warm"):
        begun = time.perf_counter()
    for number in range(tries):
        with board.attempt("read", str(number)):
            pass
    seconds = (time.perf_counter() - begun) / tries * 3
    ray.shutdown()
    return seconds


def resume(folder: Path, units: int, missing: int = 4) -> dict[str, Any]:
    """Kill a run once it is planned, finish all but `missing` of its units by hand, and start it again."""
    rows_a_unit = 8
    table = pairs.read_pairs(pairs.default_source(), units * rows_a_unit)
    pairs.write_files(folder / "in", table, units * rows_a_unit)
    checkpoint.save_checkpoint(folder / "model", checkpoint.TINY)
    command = [sys.executable, str(JOB), "--input", str(folder / "in"), "--output", str(folder / "out"),
               "--model", str(folder / "model"), "--unit-rows", str(rows_a_unit), "--precision", "fp32"]  # fmt: skip
    killed = {**os.environ, failpoints.VARIABLE: f"plan_put:kill:1:{folder}"}
    subprocess.run(command, env=killed, check=False)
    output = storage.open_folder(str(folder / "out"))
    (plan,) = (json.loads(path.read_text()) for path in (folder / "out").glob("_runs/*/plan.json"))
    columns = PairColumns(pair_id="pair_id", id_type=pa.string())
    for unit in plan["units"][:-missing]:
        rows = pairs.labelled(unit["unit_id"], table.slice(unit["range"]["first_row"], unit["range"]["rows"]))
        commit.commit_unit(output, unit["unit_id"], commit.Source("x", 0, rows.num_rows), rows, columns)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    report = json.loads(next((folder / "out").glob("_runs/*/report.json")).read_text())
    seconds = report["seconds"]
    if report["units"] != {"done_before": units - missing, "labelled": missing}:
        raise RuntimeError(f"{missing} units were to be labelled, not {report['units']}")
    return {
        "resumed_units": units,
        "seconds_to_first_label": seconds["planning"] + seconds["startup"],
        "seconds_in_all": time.perf_counter() - begun,
    }


if __name__ == "__main__":
    main()
