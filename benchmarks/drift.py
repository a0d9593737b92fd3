"""`python -m benchmarks.drift --pairs DIR`: how often drift is reported on ordinary nights, and how often a fault is.

Labels real pairs once, then draws nights from them: ordinary ones, and nights with a fault. DIR holds
snli_dev.parquet, snli_test_a.parquet and mnli_dev_a.parquet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from albert_infer.config.drift import DriftGate
from albert_infer.job.drift import RunCounts, compared
from albert_infer.labeler import Labeler
from albert_infer.output.distribution import CONFIDENCE_EDGES, TOKEN_EDGES, Distribution
from albert_infer.schema import HYPOTHESIS, N_TOKENS, PREMISE, PROBABILITIES, NliLabel
from benchmarks import machine

ROWS: Final = 2_000
REFERENCES: Final = 7
MAX_ALARMS: Final = 0.01
MIN_POWER: Final = 0.95


@dataclass(frozen=True)
class Labelled:
    """Labelled rows, as the counts need them: probabilities (rows, labels), tokens (rows)."""

    probabilities: NDArray[np.float32]
    tokens: NDArray[np.int32]

    def drawn(self, chance: np.random.Generator, rows: int) -> Labelled:
        """Rows drawn with replacement."""
        drawn = chance.integers(len(self.tokens), size=rows)
        return Labelled(self.probabilities[drawn], self.tokens[drawn])

    def mixed(self, other: Labelled, chance: np.random.Generator, share: float) -> Labelled:
        """The same rows, of which a share is as in the other."""
        taken = chance.random(len(self.tokens)) < share
        return Labelled(
            np.where(taken[:, None], other.probabilities, self.probabilities),
            np.where(taken, other.tokens, self.tokens),
        )

    def counts(self) -> RunCounts:
        """What a run with these rows is compared by."""
        codes, largest = self.probabilities.argmax(axis=1), self.probabilities.max(axis=1)
        confidence = {
            str(label): tuple(map(int, np.histogram(largest[codes == code], CONFIDENCE_EDGES)[0]))
            for code, label in enumerate(NliLabel)
        }
        bins = np.searchsorted(TOKEN_EDGES, self.tokens, side="left") - 1
        tokens = tuple(map(int, np.bincount(bins, minlength=len(TOKEN_EDGES))))
        labels = {label: sum(rows) for label, rows in confidence.items()}
        return RunCounts(labels, {}, Distribution(len(codes), len(codes), confidence, tokens))


@dataclass(frozen=True)
class Case:
    """One kind of night: how many of the nights drawn were reported."""

    name: str
    nights: int
    reported: int
    is_fault: bool

    @property
    def share(self) -> float:
        """Reported nights, as a share of all."""
        return self.reported / self.nights

    @property
    def is_met(self) -> bool:
        """Whether the share is what is wanted."""
        return self.share >= MIN_POWER if self.is_fault else self.share < MAX_ALARMS


def main(argv: Sequence[str] | None = None) -> None:
    """Label, draw, compare, and print the share of nights that are reported."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="the folder of the pairs")
    parser.add_argument("--model", default="builtin", help="the checkpoint that labels")
    parser.add_argument("--limit", type=int, default=4_000, help="pairs of each source to label")
    parser.add_argument("--nights", type=int, default=300, help="nights of each kind to draw")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args(argv)
    cases = [*drawn_cases(labelled_sources(given.pairs, given.model, given.limit), given.nights)]
    _show(cases)
    if given.json:
        given.json.write_text(json.dumps([asdict(case) for case in cases], indent=1) + "\n")


def labelled_sources(folder: Path, model: str, limit: int) -> dict[str, Labelled]:
    """The pairs of each source and fault, labelled. All but `new domain` are the same pairs of SNLI."""
    labeler = Labeler(model, precision="bf16")
    snli = pa.concat_tables([_pairs(folder / f"{name}.parquet") for name in ("snli_dev", "snli_test_a")])
    snli = snli.take(np.random.default_rng(0).permutation(len(snli))[:limit])
    mnli = _pairs(folder / "mnli_dev_a.parquet").slice(0, limit)
    premises, hypotheses = snli[PREMISE], snli[HYPOTHESIS]
    shuffled = hypotheses.take(np.random.default_rng(1).permutation(len(snli)))
    tables = {
        "ordinary": snli,
        "new domain": mnli,
        "columns exchanged": pa.table({PREMISE: hypotheses, HYPOTHESIS: premises}),
        "other hypotheses": pa.table({PREMISE: premises, HYPOTHESIS: shuffled}),
        "constant hypotheses": pa.table({PREMISE: premises, HYPOTHESIS: ["N/A"] * len(snli)}),
    }
    return {name: _labelled(labeler, pairs) for name, pairs in tables.items()}


def _pairs(path: Path) -> pa.Table:
    return pq.read_table(path, columns=[PREMISE, HYPOTHESIS])


def _labelled(labeler: Labeler, pairs: pa.Table) -> Labelled:
    rows = labeler.label(pairs)
    probabilities = np.stack([rows[name].to_numpy() for name in PROBABILITIES], axis=1)
    return Labelled(probabilities, rows[N_TOKENS].to_numpy())


def drawn_cases(labelled: Mapping[str, Labelled], nights: int) -> list[Case]:
    """Each kind of night, drawn and compared with seven ordinary nights."""
    usual = labelled["ordinary"]

    def ordinary(chance: np.random.Generator) -> Labelled:
        return usual.drawn(chance, ROWS)

    def swapped(chance: np.random.Generator) -> Labelled:
        night = ordinary(chance)
        return Labelled(night.probabilities[:, ::-1], night.tokens)

    def all_of(name: str) -> Callable[[np.random.Generator], Labelled]:
        return lambda chance: labelled[name].drawn(chance, ROWS)

    def tenth_of(name: str) -> Callable[[np.random.Generator], Labelled]:
        return lambda chance: usual.mixed(labelled[name], chance, 0.1).drawn(chance, ROWS)

    kinds: dict[str, Callable[[np.random.Generator], Labelled]] = {
        "ordinary nights": ordinary,
        "label order swapped": swapped,
        "another domain: MultiNLI after SNLI": all_of("new domain"),
        "premise and hypothesis exchanged": all_of("columns exchanged"),
        "10 % of hypotheses of other rows": tenth_of("other hypotheses"),
        "10 % of hypotheses are `N/A`": tenth_of("constant hypotheses"),
    }
    return [_case(name, kind, ordinary, nights) for name, kind in kinds.items()]


def _case(
    name: str,
    kind: Callable[[np.random.Generator], Labelled],
    ordinary: Callable[[np.random.Generator], Labelled],
    nights: int,
) -> Case:
    reported = 0
    limit = DriftGate().max_drift
    for number in range(nights):
        chance = np.random.default_rng([number, len(name)])
        references = {str(each): ordinary(chance).counts() for each in range(REFERENCES)}
        reported += bool(compared(kind(chance).counts(), references, max_distance=limit, draws=2_000).drifted)
    return Case(name, nights, reported, is_fault=kind is not ordinary)


def _show(cases: Sequence[Case]) -> None:
    header = machine.this_machine()
    console = Console(highlight=False)
    nights = f"nights of {ROWS:,} rows after {REFERENCES}"
    console.print(f"{header.processor}, {header.cores} cores, {header.date}; {nights}")
    table = Table("night", box=None, header_style="bold")
    for name in ("drawn", "reported", "wanted", ""):
        table.add_column(name, justify="right")
    for case in cases:
        wanted = f"at least {MIN_POWER:.0%}" if case.is_fault else f"below {MAX_ALARMS:.0%}"
        table.add_row(case.name, str(case.nights), f"{case.share:.1%}", wanted, "met" if case.is_met else "missed")
    console.print(table)


if __name__ == "__main__":
    main()
