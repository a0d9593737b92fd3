"""`python -m benchmarks.zero_shot`: topics for texts, next to Hugging Face's zero-shot pipeline.

All ways rank the same candidates for the same texts. Texts are dealt into blocks of equal lengths, and every way takes
a block in turn, so a slow minute of the machine falls on all of them. Prints the tables of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import PAIR_ID, PREMISE, DeviceKind, Precision
from benchmarks import checkpoint, devices, machine, ours, pairs, peers, topics, whole_jobs
from benchmarks.contender import Contender
from benchmarks.results import Row
from benchmarks.rounds import rows_of, take_rounds
from benchmarks.section import saved_model, tell
from benchmarks.shares import TOKENIZING, Shares, shares_of
from benchmarks.topics import Ranked, Way

PRECISIONS: Final = (Precision.FP32, Precision.BF16, Precision.INT8)
PAIRS_ROUNDS: Final = 3
JOB_FILES: Final = 4
UNIT_SHARE_OF_ENGINE: Final = 0.90
MOST_TOKENIZING: Final = 0.03
SCORE_TOLERANCE: Final = 1e-4
JOB_NAME: Final = "our job on Ray, while labelling"


@dataclass(frozen=True)
class Bar:
    """A promise: `value` must reach `wanted`, or stay below it if `is_limit`. None where it was not measured."""

    claim: str
    wanted: float
    value: float | None
    is_limit: bool = False

    @property
    def verdict(self) -> str:
        """Whether the run keeps it."""
        if self.value is None:
            return "not measured"
        return "met" if (self.value < self.wanted if self.is_limit else self.value >= self.wanted) else "missed"


@dataclass(frozen=True)
class Results:
    """One run. The first of `rows` is the pipeline in fp32. `pairs_rows` are rows on ordinary pairs."""

    machine: machine.Machine
    shape: str
    source: str
    texts: int
    candidates: int
    rows: Sequence[Row]
    pairs_rows: Sequence[Row]
    shares: Sequence[Shares]
    job_report: dict[str, Any]

    @property
    def speed(self) -> dict[str, float | None]:
        """The median of each row in pairs/s."""
        return {row.name: row.pairs_per_second for row in [*self.rows, *self.pairs_rows]}

    def bars(self) -> list[Bar]:
        """The promises, judged."""
        return [*self._ratios(), *self._shares_of_engine(), *self._tokenizing(), *self._agreement()]

    def ratio(self, name: str, other: str) -> float | None:
        """How many times as fast one row is as another; None where one of them was not measured."""
        numerator, denominator = self.speed.get(name), self.speed.get(other)
        return None if numerator is None or denominator is None else numerator / denominator

    def to_json(self) -> dict[str, Any]:
        """Everything, derived figures included."""
        return {
            **asdict(self),
            "rows": [_row_json(row) for row in self.rows],
            "pairs_rows": [_row_json(row) for row in self.pairs_rows],
            "shares": [
                asdict(each) | {"shares": {part: each.share(part) for part in each.seconds}} for each in self.shares
            ],
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }

    def _ratios(self) -> Iterator[Bar]:
        for precision in PRECISIONS:
            wanted = self.ratio(ours.engine_name(precision), peers.PIPELINE_SORTED_NAME)
            value = self.ratio(topics.unit_name(precision), topics.pipeline_name(Precision.FP32))
            if wanted is not None:
                claim = f"{topics.unit_name(precision)} / pipeline in fp32, next to this ratio on ordinary pairs"
                yield Bar(claim, wanted, value)

    def _shares_of_engine(self) -> Iterator[Bar]:
        for precision in PRECISIONS:
            name, engine = topics.unit_name(precision), topics.engine_name(precision)
            yield Bar(f"{name} / {engine}", UNIT_SHARE_OF_ENGINE, self.ratio(name, engine))
        if self.job_report:
            engine = topics.engine_name(self.job_report["precision"])
            yield Bar(f"{JOB_NAME} / {engine}", UNIT_SHARE_OF_ENGINE, self.ratio(JOB_NAME, engine))

    def _tokenizing(self) -> Iterator[Bar]:
        for each in self.shares:
            claim = f"share of tokenizing at {each.candidates} candidates, {each.precision}"
            yield Bar(claim, MOST_TOKENIZING, each.share(TOKENIZING), is_limit=True)

    def _agreement(self) -> Iterator[Bar]:
        names = (topics.engine_name(Precision.FP32), topics.unit_name(Precision.FP32))
        for row in self.rows:
            if row.name in names:
                yield Bar(f"scores of {row.name} differ by", SCORE_TOLERANCE, row.largest_difference, is_limit=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write them as JSON where asked."""
    given = parser().parse_args(argv)
    torch.set_num_threads(machine.cores())
    results = results_of(given)
    show(results)
    if given.json:
        given.json.write_text(json.dumps(results.to_json(), indent=1) + "\n")


def results_of(given: argparse.Namespace) -> Results:
    """Measure everything, in this process and in that of the job."""
    header = machine.this_machine()
    names, texts = topics.candidates(given.candidates), topics.texts_of(given.data, given.texts)
    with tempfile.TemporaryDirectory(prefix="albert-infer-zero-shot-") as scratch:
        model = saved_model(Path(scratch), given.shape)
        rows = ranked_rows(_ways(model, names, texts, Path(scratch)), texts, len(names), given.blocks)
        pairs_rows = _pairs_rows(model, given.data, given.pairs)
        shares = _shares(model, given, Path(scratch))
        report = _job_report(model, texts, names, Path(scratch)) if given.job else {}
    if report:
        rows.append(_job_row(report, len(texts) * len(names)))
    return Results(header, given.shape, given.data.name, len(texts), len(names), rows, pairs_rows, shares, report)


def ranked_rows(ways: Sequence[Way], texts: Sequence[str], candidates: int, blocks: int) -> list[Row]:
    """Every way on every block in turn; scores are compared with those of the first way."""
    rounds: list[list[Ranked]] = [[] for _ in ways]
    for way in ways:
        way.prepare(texts[:1])()  # the first passes load code
    for number in range(blocks):
        block = texts[number::blocks]
        for way, taken in zip(ways, rounds, strict=True):
            taken.append(way.prepare(block)())
            for name, seconds in taken[-1].seconds.items():
                tell(f"block {number + 1}: {name} {len(block) * candidates / seconds:.1f} pairs/s")
    expected = np.concatenate([ranked.scores for ranked in rounds[0]])
    return [row for way, taken in zip(ways, rounds, strict=True) for row in _rows_of_way(way, taken, expected)]


def _rows_of_way(way: Way, taken: Sequence[Ranked], expected: NDArray[np.float32]) -> Iterator[Row]:
    scores = np.concatenate([ranked.scores for ranked in taken])
    for name, settings in way.settings.items():
        yield Row(
            name,
            settings,
            way.precision,
            tuple(ranked.scores.size / ranked.seconds[name] for ranked in taken),
            largest_difference=float(np.abs(scores - expected).max()),
            same_label=float((scores.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        )


def _ways(model: Path, names: tuple[str, ...], texts: Sequence[str], scratch: Path) -> list[Way]:
    there = [precision for precision in PRECISIONS if not devices.obstacle(DeviceKind.CPU, precision)]
    trial = texts[:: -(-len(texts) // topics.TRIAL_TEXTS)]
    loaded = load_checkpoint(str(model))
    return [
        *(topics.pipeline_way(model, each, names, trial) for each in there if each in devices.FLOAT_DTYPES),
        *(topics.engine_way(loaded, each, names) for each in there),
        *(topics.unit_way(loaded, each, names, scratch) for each in there),
    ]


def _pairs_rows(model: Path, data: Path, count: int) -> list[Row]:
    """The text classification pipeline, sorted, and the engine alone, on ordinary pairs."""
    there = [precision for precision in PRECISIONS if not devices.obstacle(DeviceKind.CPU, precision)]
    contenders: list[Contender] = [
        peers.pipeline_contenders(model)[1],
        *(ours.engine_contender(model, precision) for precision in there),
    ]
    texts = pairs.text_pairs(pairs.read_pairs(data, count))
    return rows_of(contenders, take_rounds(contenders, {}, texts, PAIRS_ROUNDS, tell))


def _shares(model: Path, given: argparse.Namespace, scratch: Path) -> list[Shares]:
    names, loaded = topics.candidates(given.share_candidates), load_checkpoint(str(model))
    texts = topics.texts_of(given.data, given.share_texts)
    taken = []
    for precision in PRECISIONS[1:]:
        if not devices.obstacle(DeviceKind.CPU, precision):
            runner = topics.unit_runner(loaded, precision, names, scratch)
            runner(texts[:1])()  # the first passes load code
            taken.append(shares_of(precision, runner(texts), texts, len(names)))
            tell(f"shares, {precision}: {taken[-1].share(TOKENIZING):.2%} in {TOKENIZING}")
    return taken


def _job_report(model: Path, texts: Sequence[str], names: tuple[str, ...], scratch: Path) -> dict[str, Any]:
    ids = [f"text-{number:06d}" for number in range(len(texts))]
    table = pa.table({PAIR_ID: ids, PREMISE: list(texts)})
    pairs.write_files(scratch / "texts", table, rows_per_file=-(-len(texts) // JOB_FILES))
    job = whole_jobs.our_job(scratch / "texts", scratch / "labels", model, "--candidates", ",".join(names))
    tell(f"our job took {job.seconds:.1f} s")
    return job.report or {}


def _job_row(report: dict[str, Any], count: int) -> Row:
    settings = "python jobs/label_pairs.py --candidates …, its defaults; from when the first unit is on a device"
    return Row(JOB_NAME, settings, report["precision"], (count / report["seconds"]["labelling"],))


def _row_json(row: Row) -> dict[str, Any]:
    return asdict(row) | {"pairs_per_second": row.pairs_per_second}


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.zero_shot", description=__doc__)
    flags.add_argument("--shape", choices=list(checkpoint.SHAPES), default="base", help="ALBERT's sizes")
    flags.add_argument("--data", type=Path, default=pairs.default_source(), help="Parquet file or folder of pairs")
    flags.add_argument("--texts", type=int, default=500, help="different premises of the data")
    flags.add_argument("--candidates", type=int, default=20, help="topics of each text, at most 100")
    flags.add_argument("--blocks", type=int, default=5, help="parts of the texts; medians of their speeds are shown")
    flags.add_argument("--pairs", type=int, default=128, help="ordinary pairs that the ratios are compared with")
    flags.add_argument("--share-texts", type=int, default=100, help="texts of the unit whose parts are timed")
    flags.add_argument("--share-candidates", type=int, default=100, help="topics of each of these texts")
    flags.add_argument("--job", action=argparse.BooleanOptionalAction, default=True, help="run a whole job on Ray")
    flags.add_argument("--json", type=Path, help="write everything to this file")
    return flags


def show(results: Results) -> None:
    """Print the machine, and the tables in Markdown."""
    console = Console(highlight=False, soft_wrap=True, width=200)
    header = results.machine
    console.print(f"{header.processor}, {header.cores} cores, {header.date}, load {header.load} when this began")
    what = f"{results.texts} texts of {results.source} x {results.candidates} candidates"
    console.print(f"ALBERT-{results.shape} shape, random weights; {what}")
    _show_rows(console, results)
    for row in results.rows:
        console.print(f"[dim]{row.name}: {row.settings}[/dim]")
    _show_rows(console, results, of_pairs=True)
    _show_shares(console, results.shares)
    bars = _table("", "wanted", "value", "")
    for bar in results.bars():
        digits = ".1%" if bar.claim.startswith("share") else ".0e" if bar.wanted == SCORE_TOLERANCE else ".2f"
        value = "" if bar.value is None else format(bar.value, digits)
        bars.add_row(bar.claim, f"{'<' if bar.is_limit else '≥'} {bar.wanted:{digits}}", value, bar.verdict)
    console.print(bars)


def _show_rows(console: Console, results: Results, *, of_pairs: bool = False) -> None:
    rows = results.pairs_rows if of_pairs else results.rows
    table = _table(
        "ordinary pairs" if of_pairs else "", "pairs/s", "blocks", "times the pipeline", "differs by", "same best"
    )
    for row in rows:
        ratio = results.ratio(row.name, rows[0].name)
        table.add_row(
            row.name,
            f"{row.pairs_per_second:,.1f}",
            f"{min(row.rounds):,.1f} to {max(row.rounds):,.1f}",
            "" if ratio is None else f"{ratio:.1f}",
            "" if row.largest_difference is None else f"{row.largest_difference:.0e}",
            "" if row.same_label is None else f"{row.same_label:.1%}",
        )
    console.print(table)


def _show_shares(console: Console, shares: Sequence[Shares]) -> None:
    if not shares:
        return
    headings = [f"{each.precision}, {each.texts} x {each.candidates}" for each in shares]
    table = _table("part of a unit", *(name for heading in headings for name in (f"{heading}: s", "share")))
    for part in shares[0].seconds:
        cells = [(f"{each.seconds[part]:.3f}", f"{each.share(part):.2%}") for each in shares]
        table.add_row(part, *(cell for pair in cells for cell in pair))
    console.print(table)


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=box.MARKDOWN)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


if __name__ == "__main__":
    main()
