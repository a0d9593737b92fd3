"""What was measured, as rows, limits and targets: plain numbers, ready for the table and for JSON.

Knows nothing of how they were taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.machine import Machine
from benchmarks.quiet import Quiet


@dataclass(frozen=True)
class Row:
    """One line of the table: `rounds` are pairs/s, none where `note` says why it was not measured.

    `largest_difference` is that of a probability from the Hugging Face pipeline's in fp32, `same_label` the share of
    pairs that get its label; None where there is nothing to compare. `cores` is None for all. `limit_shares` are the
    speeds of the rounds against the limit that was measured around them; none where it was not.
    """

    name: str
    settings: str
    precision: str
    rounds: tuple[float, ...] = ()
    note: str = ""
    largest_difference: float | None = None
    same_label: float | None = None
    cores: int | None = None
    limit_shares: tuple[float, ...] = ()

    @property
    def pairs_per_second(self) -> float | None:
        """The median round."""
        return statistics.median(self.rounds) if self.rounds else None


@dataclass(frozen=True)
class Limit:
    """The fastest that the products alone would allow in one precision, on so many cores; None is all of them.

    `ways` are the best readings of each way when the best was chosen, `readings` those of the best in all rounds, in
    GFLOP/s. `pairs_per_second` follows from their median.
    """

    precision: str
    ways: dict[str, float]
    pairs_per_second: float
    cores: int | None = None
    readings: tuple[float, ...] = ()

    @property
    def best_way(self) -> str:
        """The way to compute the products that sets the limit."""
        return max(self.ways, key=lambda way: self.ways[way])


@dataclass(frozen=True)
class Target:
    """A promise of the project: `found` must reach `wanted`; None where this machine cannot tell."""

    claim: str
    wanted: float
    found: float | None
    figure: str

    @property
    def verdict(self) -> str:
        """What the run says of it."""
        if self.found is None:
            return "not applicable here"
        return "met" if self.found >= self.wanted else "missed"


@dataclass(frozen=True)
class Work:
    """The pairs of the in-process rows and what they cost."""

    shape: str
    workload: str
    source: str
    pairs: int
    mean_tokens: float
    longest_tokens: int
    micro_batch_tokens: int
    # Operations of the whole forward pass, and of the products that an exact one cannot save.
    forward_tflop: float
    needed_product_tflop: float


@dataclass(frozen=True)
class Speed:
    """A row's median in three units; None where it was not measured. TFLOP/s are of `Work.forward_tflop`."""

    pairs_per_second: float | None
    tokens_per_second: float | None
    tflop_per_second: float | None


@dataclass(frozen=True)
class Section:
    """One shape on one workload: its rows, of which the first is what the others are compared with, and limits."""

    work: Work
    rows: Sequence[Row]
    limits: Sequence[Limit]
    quiet: Quiet | None = None

    def limit(self, precision: str, cores: int | None = None) -> Limit | None:
        """The limit of a precision on so many cores, if it was measured."""
        return next((each for each in self.limits if (each.precision, each.cores) == (precision, cores)), None)

    def share_of_limit(self, row: Row) -> float | None:
        """The median of the row's ratios to the limit around it; of the medians, if the limit was not around it."""
        if row.limit_shares:
            return statistics.median(row.limit_shares)
        limit, speed = self.limit(row.precision, row.cores), row.pairs_per_second
        return None if limit is None or speed is None else speed / limit.pairs_per_second

    def speed(self, row: Row) -> Speed:
        """The row's speed in every unit."""
        pairs = row.pairs_per_second
        if pairs is None:
            return Speed(None, None, None)
        return Speed(pairs, pairs * self.work.mean_tokens, pairs * self.work.forward_tflop / self.work.pairs)

    def to_json(self) -> dict[str, Any]:
        """Everything, derived figures included."""
        return {
            "work": asdict(self.work),
            "rows": [
                asdict(row) | asdict(self.speed(row)) | {"share_of_limit": self.share_of_limit(row)}
                for row in self.rows
            ],
            "limits": [asdict(limit) | {"best_way": limit.best_way} for limit in self.limits],
            "quiet": self.quiet and asdict(self.quiet) | {"is_quiet": self.quiet.is_quiet},
        }


@dataclass(frozen=True)
class Results:
    """One run of the benchmark. The targets are judged by the first section, which has the rows of the whole jobs."""

    machine: Machine
    sections: Sequence[Section]
    targets: Sequence[Target]
    job_pairs: int
    job_report: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Everything, derived figures included."""
        return {
            **asdict(self),
            "sections": [section.to_json() for section in self.sections],
            "targets": [asdict(target) | {"verdict": target.verdict} for target in self.targets],
        }
