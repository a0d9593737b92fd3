"""From a sample and a rate to what a run will take: counts, seconds, device hours and cost.

Plain numbers in, plain numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from albert_infer.engine import AlbertShape
from albert_infer.job.estimate import earlier, rate_table
from albert_infer.job.estimate.earlier import EarlierRun
from albert_infer.job.estimate.rate_table import Rate, Sizes
from albert_infer.schema import DeviceKind, ExecutorKind, Precision

# On Ray: the session, the checks, the actors. In a process: the import of torch, and the checks. Both are without
# the comparison with fp32, from `python -m benchmarks.startup`.
STARTUP_SECONDS: Final = {ExecutorKind.RAY: 9.0, ExecutorKind.PROCESS: 2.0}
# A healthy publication of 10,000 units took 42 s: `python -m benchmarks.publishing`.
PUBLISHING_SECONDS_A_UNIT: Final = 0.004


@dataclass(frozen=True)
class Sampled:
    """What a sample says of a row: shares of its `rows`, and tokens of all of them together.

    `repeated` is the share of pairs that the engine does not compute, because an earlier pair of the unit is identical.
    `pairs` are the pairs of all rows together; None if each row is one pair.
    """

    rows: int
    tokens: int
    truncated: int
    rejected: Mapping[str, int]
    repeated: float = 0.0
    # The mean length of the pair that a token belongs to.
    length: float = rate_table.LENGTH
    pairs: int | None = None

    @property
    def tokens_a_pair(self) -> float:
        """The mean; 0 of an empty sample."""
        pairs = self.rows if self.pairs is None else self.pairs
        return self.tokens / pairs if pairs else 0.0

    @property
    def tokens_a_row(self) -> float:
        """The mean; 0 of an empty sample."""
        return self.tokens / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Counts:
    """Estimated counts of all rows of a run. `pairs` is None if each row is one pair."""

    labelled: int
    rejected: dict[str, int]
    tokens: int
    truncated: int
    pairs: int | None = None

    @classmethod
    def of(cls, sample: Sampled, rows: int) -> Counts:
        """What `rows` rows hold if they are as the sample."""
        times = rows / sample.rows if sample.rows else 0.0
        rejected = {reason: round(count * times) for reason, count in sorted(sample.rejected.items())}
        return cls(
            labelled=rows - sum(rejected.values()) if sample.rows else 0,
            rejected=rejected,
            tokens=round(sample.tokens * times),
            truncated=round(sample.truncated * times),
            pairs=None if sample.pairs is None else round(sample.pairs * times),
        )


@dataclass(frozen=True)
class Work:
    """What there is to do: rows and units without labels, all rows, and the pairs that are compared with fp32 first."""

    rows: int
    units: int
    all_rows: int
    compared_pairs: int = 0


@dataclass(frozen=True)
class Workers:
    """Who does it: `count` workers of `cores` cores each, or of `gpus` cards, and the entry of the rate table."""

    count: int
    device: DeviceKind
    # None for a GPU of which nothing is known.
    card: str | None
    gpus: float = 0.0
    cores: int = 0

    @property
    def devices_each(self) -> float:
        """Cards or cores of one worker."""
        return self.gpus if self.device is DeviceKind.CUDA else float(self.cores)


@dataclass(frozen=True)
class Seconds:
    """Estimated seconds of a start, as `seconds` of a report has them."""

    startup: float
    planning: float
    labelling: float
    publishing: float

    @property
    def total(self) -> float:
        """From the command to the end."""
        return self.startup + self.planning + self.labelling + self.publishing


@dataclass(frozen=True)
class Speed:
    """The rate of one device for a checkpoint in a precision, in fp32 too, and the run that it was taken from."""

    rate: Rate
    fp32: Rate | None = None
    earlier: EarlierRun | None = None


def speed_of(
    runs: Sequence[EarlierRun],
    *,
    digest: str,
    shape: AlbertShape,
    precision: Precision,
    workers: Workers,
    length: float = rate_table.LENGTH,
) -> Speed | None:
    """How fast a worker's device is: as earlier runs were, else as the table says; None where neither knows.

    `length` is the token-weighted mean length of the pairs; earlier runs had pairs of their own.
    """
    alike = earlier.matching(runs, digest, workers.device, workers.card, precision)
    if alike:
        run, several = earlier.typical(alike), f"the last {len(alike)} runs" if len(alike) > 1 else "the last run"
        where = f"{several} at this output or at that of a night before"
        rate = Rate(
            card=run.card or workers.card or str(workers.device),
            shape=str(Sizes.of(shape)),
            precision=precision,
            tokens_per_second=run.tokens_per_second,
            basis="earlier runs",
            where=where,
            when="",
        )
        return Speed(rate, earlier=run)
    if workers.card is None:
        return None
    listed = rate_table.rate_of(workers.card, shape, precision, length)
    return None if listed is None else Speed(listed, rate_table.rate_of(workers.card, shape, Precision.FP32, length))


def seconds_of(
    work: Work, sample: Sampled, speed: Speed, workers: Workers, *, planning: float, executor: ExecutorKind
) -> Seconds:
    """How long it takes. No more workers are busy than there are units.

    `planning` is measured. `executor` is the name of the one that labels.
    """
    a_second = speed.rate.tokens_per_second * workers.devices_each
    # An earlier run's rate counts all tokens, so it has its share of repeated pairs in it.
    repeated = 0.0 if speed.earlier else sample.repeated
    busy = max(min(workers.count, work.units), 1)
    labelling = work.rows * sample.tokens_a_row * (1 - repeated) / (a_second * busy)
    startup = STARTUP_SECONDS[executor]
    if speed.earlier is not None:
        if speed.earlier.executor == executor:
            startup = speed.earlier.startup_seconds
        publishing = speed.earlier.publishing_seconds_a_unit * work.units
        return Seconds(startup if work.units else 0.0, planning, labelling, publishing)
    if speed.rate.precision is not Precision.FP32 and speed.fp32 is not None:
        tokens = min(work.compared_pairs, work.all_rows) * sample.tokens_a_pair
        startup += tokens / a_second + tokens / (speed.fp32.tokens_per_second * workers.devices_each)
    return Seconds(startup if work.units else 0.0, planning, labelling, PUBLISHING_SECONDS_A_UNIT * work.units)


@dataclass(frozen=True)
class Estimate:
    """What a start expected, as `report.json` has it next to the outcome.

    `differences` says for each figure by which share of the estimate the outcome was more, or less where negative; it
    is empty until the run is published.
    """

    sampled_rows: int
    counts: Counts
    seconds: Seconds | None
    card: str | None
    workers: int
    rate: Rate | None
    workers_used: int | None = None
    differences: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Every estimated figure, by its name in `differences`."""
        figures: dict[str, float] = {
            "labelled": self.counts.labelled,
            "rejected": sum(self.counts.rejected.values()),
            "tokens": self.counts.tokens,
            "truncated": self.counts.truncated,
        }
        if self.counts.pairs is not None:
            figures |= {"pairs": self.counts.pairs}
        if self.seconds is not None:
            names = ("startup", "labelling", "publishing", "total")
            figures |= {f"seconds.{name}": getattr(self.seconds, name) for name in names}
        return figures

    def compared(self, outcome: Mapping[str, float]) -> Estimate:
        """The same with the differences of the figures of this outcome."""
        shares = {
            name: round(outcome[name] / value - 1, 4)
            for name, value in self.figures().items()
            if value and name in outcome
        }
        return replace(self, differences=shares)
