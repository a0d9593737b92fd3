"""`python -m benchmarks.scale`: what a billion pairs ask of the driver, and of a cluster to label them in an hour.

Planning is measured on made-up files that exist only as footers, a process for each size. The rest is computed, from
rates given as flags and from one unit that is written here; every assumption is shown.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.output import commit, layout
from albert_infer.read.planning import LabelRecipe, canonical_json, make_plan
from albert_infer.read.survey import FOOTER_THREADS, survey_input
from albert_infer.schema import NliLabel, PairColumns
from albert_infer.storage.folder import REQUESTS_AT_ONCE
from benchmarks import machine, made_up, pairs

UNIT_ROWS: Final = int(LabelSettings.model_fields["unit_rows"].default)
# As in a run's own recipe: the digests of a checkpoint's files.
RECIPE: Final[LabelRecipe] = {
    "model": {"digests": {"config.json": "0" * 64, "model.safetensors": "0" * 64}, "label_map": [*NliLabel]},
    "precision": "bf16",
}
# HEAD, the first four bytes, the footer.
REQUESTS_A_FOOTER: Final = 3
# Read back for the seal, copied to its final name.
REQUESTS_A_UNIT: Final = 2
UNITS_WRITTEN: Final = 5
WIDTH: Final = 110


@dataclass(frozen=True)
class Planned:
    """Planning of one size, in a process of its own. Memory is the process's peak, `start_bytes` before planning."""

    files: int
    rows: int
    units: int
    survey_seconds: float
    plan_seconds: float
    json_seconds: float
    json_bytes: int
    start_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class WrittenUnit:
    """Real pairs with made-up labels, read from and committed to a local disk: bytes a pair.

    `put_seconds` are those of a whole unit, in proportion to `rows`.
    """

    rows: int
    input_bytes_a_pair: float
    output_bytes_a_pair: float
    put_seconds: float


@dataclass(frozen=True)
class Assumptions:
    """What the needs are computed from; each is a flag of the same name."""

    total_pairs: int
    input_files: int
    hours: float
    gpu_pairs_per_second: float
    core_tokenized_pairs_per_second: float
    input_bytes_a_pair: float
    output_bytes_a_pair: float
    put_seconds: float
    request_seconds: float
    gpu_hour_price: float
    core_hour_price: float


@dataclass(frozen=True)
class Needs:
    """What labelling within the hours takes; the driver's own seconds before and after come on top."""

    pairs_per_second: float
    units: int
    gpus: int
    tokenizing_cores: int
    committing_cores: int
    read_megabytes_per_second: float
    written_megabytes_per_second: float
    # All that was written, through the driver alone.
    sealed_gigabytes: float
    footer_seconds: float
    seal_and_publish_seconds: float
    price: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compute, print the tables, and write them as JSON where asked."""
    given = _parser().parse_args(argv)
    planned = [in_fresh_process(files, given.rows_per_file) for files in given.files]
    with tempfile.TemporaryDirectory(prefix="albert-infer-scale-") as scratch:
        written = written_unit(Path(scratch), given.data, given.output)
    assumed = _assumptions(given, written)
    needed = needs(assumed)
    _show(planned, assumed, needed)
    if given.json:
        told = {"planned": [asdict(each) for each in planned], "written_unit": asdict(written)}
        told |= {"machine": asdict(machine.this_machine()), "assumptions": asdict(assumed), "needs": asdict(needed)}
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def in_fresh_process(files: int, rows_per_file: int) -> Planned:
    """`planning_of` in a process that has done nothing else, so that its peak memory is of this alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(planning_of, files, rows_per_file).result()


def planning_of(files: int, rows_per_file: int) -> Planned:
    """Survey and plan made-up files, and write the plan as JSON, by the job's own code."""
    found = made_up.input_of(files, rows_per_file)
    settings = LabelSettings(input=found.uri, output=f"{found.uri}-labels")
    start_bytes, moments = _peak_bytes(), [time.perf_counter()]
    survey = survey_input(found, settings)
    moments.append(time.perf_counter())
    plan = make_plan(survey, settings, RECIPE, 1024)
    moments.append(time.perf_counter())
    stored = canonical_json(plan.to_json())
    moments.append(time.perf_counter())
    surveying, planning, storing = (after - before for before, after in pairwise(moments))
    return Planned(
        files=files,
        rows=plan.rows_in,
        units=len(plan.units),
        survey_seconds=surveying,
        plan_seconds=planning,
        json_seconds=storing,
        json_bytes=len(stored),
        start_bytes=start_bytes,
        peak_bytes=_peak_bytes(),
    )


def written_unit(folder: Path, data: Path, output_uri: str | None) -> WrittenUnit:
    """Write a unit of the pairs of `data`, as many as it has up to a unit's rows; the quickest of several counts."""
    rows = min(UNIT_ROWS, ds.dataset(data, format="parquet").count_rows())
    table = pairs.read_pairs(data, rows)
    pairs.write_files(folder / "in", table, rows)
    output = storage.open_folder(output_uri or str(folder / "out"))
    columns = PairColumns(pair_id="pair_id", id_type=pa.string())
    seconds = []
    for number in range(UNITS_WRITTEN):
        unit_id = f"{number:016x}"
        labelled = pairs.labelled(unit_id, table)
        begun = time.perf_counter()
        commit.commit_unit(output, unit_id, commit.Source("made-up", 0, rows), labelled, columns)
        seconds.append(time.perf_counter() - begun)
    read = sum(path.stat().st_size for path in (folder / "in").iterdir())
    stored = len(output.read(layout.staged_name(unit_id)))
    return WrittenUnit(rows, read / rows, stored / rows, min(seconds) / rows * UNIT_ROWS)


def needs(assumed: Assumptions) -> Needs:
    """What it takes, each part as if it were the only limit."""
    rate = assumed.total_pairs / (assumed.hours * 3600)
    units = math.ceil(assumed.total_pairs / UNIT_ROWS)
    gpus = math.ceil(rate / assumed.gpu_pairs_per_second)
    tokenizing = math.ceil(rate / assumed.core_tokenized_pairs_per_second)
    committing = math.ceil(units * assumed.put_seconds / (assumed.hours * 3600))
    return Needs(
        pairs_per_second=rate,
        units=units,
        gpus=gpus,
        tokenizing_cores=tokenizing,
        committing_cores=committing,
        read_megabytes_per_second=rate * assumed.input_bytes_a_pair / 1e6,
        written_megabytes_per_second=rate * assumed.output_bytes_a_pair / 1e6,
        sealed_gigabytes=assumed.total_pairs * assumed.output_bytes_a_pair / 1e9,
        footer_seconds=assumed.input_files * REQUESTS_A_FOOTER * assumed.request_seconds / FOOTER_THREADS,
        seal_and_publish_seconds=units * REQUESTS_A_UNIT * assumed.request_seconds / REQUESTS_AT_ONCE,
        price=assumed.hours * (gpus * assumed.gpu_hour_price + (tokenizing + committing) * assumed.core_hour_price),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    sizes = [1_000, 10_000, 100_000]
    parser.add_argument("--files", type=int, nargs="+", default=sizes, help="sizes of the made-up inputs")
    parser.add_argument("--rows-per-file", type=int, default=10_000, help="a unit each, up to a unit's rows")
    parser.add_argument(
        "--data", type=Path, default=pairs.default_source(), help="Parquet file or folder of real pairs"
    )
    parser.add_argument("--output", help="empty folder or S3 prefix where units are written; a temporary folder")
    parser.add_argument("--total-pairs", type=int, default=1_000_000_000)
    parser.add_argument("--input-files", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=1.0, help="for labelling")
    parser.add_argument("--gpu-pairs-per-second", type=float, default=50_000, help="as benchmarks.engine shows")
    parser.add_argument(
        "--core-tokenized-pairs-per-second", type=float, default=219_000, help="as benchmarks.tokenizing shows"
    )
    for name in ("--input-bytes-a-pair", "--output-bytes-a-pair", "--put-seconds"):
        parser.add_argument(name, type=float, help="as measured here on one unit if not given")
    parser.add_argument("--request-seconds", type=float, default=0.03, help="one request to the object store")
    parser.add_argument("--gpu-hour-price", type=float, default=3.0, help="in any currency")
    parser.add_argument("--core-hour-price", type=float, default=0.05)
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _assumptions(given: argparse.Namespace, written: WrittenUnit) -> Assumptions:
    """The flags, and what was measured here in place of those that were not given."""
    named = {field.name: getattr(given, field.name) for field in fields(Assumptions)}
    return Assumptions(**{name: getattr(written, name) if value is None else value for name, value in named.items()})


def _peak_bytes() -> int:
    # Not `ru_maxrss`, which a new process inherits from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _show(planned: Sequence[Planned], assumed: Assumptions, needed: Needs) -> None:
    console = Console(highlight=False)
    console.width = max(WIDTH, console.width)
    table = Table("planning", "rows", "units", "survey", "plan", "to JSON", "plan.json", "memory", box=None)
    for column in table.columns:
        column.justify = "right"
    for each in planned:
        seconds = (each.survey_seconds, each.plan_seconds, each.json_seconds)
        grown = each.peak_bytes - each.start_bytes
        table.add_row(
            f"{each.files:,} files",
            f"{each.rows:,}",
            f"{each.units:,}",
            *(f"{taken:.1f} s" for taken in seconds),
            f"{each.json_bytes / 1e6:.1f} MB",
            f"{each.start_bytes / 1e6:.0f} + {grown / 1e6:.0f} MB",
        )
    console.print(table)
    for heading, values in (
        ("assumed", asdict(assumed)),
        ("needed, each as if alone", asdict(needed)),
    ):
        listed = Table(heading, "", box=None)
        listed.columns[1].justify = "right"
        for name, value in values.items():
            listed.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:,.6g}")
        console.print(listed)


if __name__ == "__main__":
    main()
