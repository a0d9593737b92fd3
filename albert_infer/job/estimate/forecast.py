"""What `albert-infer plan` reports: the plan as it is found, what is estimated of it, and both as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import NAME_WIDTH, fact_lines
from albert_infer.job.estimate.expected import Counts, Seconds, Workers
from albert_infer.job.estimate.rate_table import Rate
from albert_infer.job.expanded import ReportedExpansion, json_of
from albert_infer.schema import DeviceKind, ExecutorKind

# Files and stops of a plan that a person sees; JSON has all of them.
MAX_NAMED: Final = 5
BAR_WIDTH: Final = 40
SHORTEST: Final = 16
BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class BadFile:
    """An input file that cannot be read, and why; `rows` is None where its footer cannot be read."""

    uri: str
    reason: str
    detail: str
    rows: int | None


@dataclass(frozen=True)
class PlanFacts:
    """The plan, from listings and footers alone: nothing here is estimated.

    Units that an earlier run could not read are neither labelled nor to do.
    `state` is `published`, `sealed`, `to_label` or `another_plan`: another plan is published at the output.
    """

    input: str
    output: str
    plan_id: str
    state: str
    files: int
    rows: int
    bytes: int
    left_out: dict[str, str]
    quarantined: tuple[BadFile, ...]
    units: int
    units_labelled: int
    rows_labelled: int
    units_to_do: int
    rows_to_do: int


@dataclass(frozen=True)
class LengthCount:
    """The share of pairs with `least` to `most` tokens."""

    least: int
    most: int
    share: float


@dataclass(frozen=True)
class SampleNotes:
    """How the estimates were made.

    `tokens_margin` is half the width of a 95 % interval, as a share; `unreadable` are parts of files, by reason.
    """

    rows: int
    is_whole: bool
    seconds: float
    tokens_margin: float
    unreadable: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """What a run takes of devices; `price` is None where no price an hour was given."""

    seconds: Seconds
    total_seconds: float
    device_hours: float
    price: float | None


@dataclass(frozen=True)
class Forecast:
    """A plan with its estimates. `cost` and `rate` are None where no rate is known for the device."""

    plan: PlanFacts
    sample: SampleNotes
    counts: Counts
    repeated: float | None
    lengths: tuple[LengthCount, ...]
    longest: int
    precision: str
    shape: str
    workers: Workers
    executor: ExecutorKind
    rate: Rate | None
    cost: Cost | None
    price_per_hour: float | None
    # What would keep the labels from being published.
    stops: tuple[str, ...]
    # How a row becomes several pairs; None if each row is one pair.
    expansion: ReportedExpansion | None = None

    def to_json(self) -> PrintableText:
        """One JSON object; its keys are the fields."""
        return text_of(json.dumps(json_of(self), indent=1).split("\n"))

    def facts(self) -> Mapping[str, object]:
        """What a scheduler wants to know."""
        cost = self.cost
        return {
            "plan_id": self.plan.plan_id,
            "state": self.plan.state,
            "rows": self.plan.rows,
            "labelled": self.counts.labelled,
            **({"pairs": self.counts.pairs} if self.expansion is not None else {}),
            "tokens": self.counts.tokens,
            "estimated_seconds": None if cost is None else round(cost.total_seconds, 1),
            "estimated_cost": None if cost is None else cost.price,
        }

    def to_text(self, *, width: int | None = None) -> PrintableText:
        """Lines for a person; no wider than `width`, if there is one."""
        facts = {**self._plan_lines(), **self._estimate_lines(), **self._cost_lines()}
        lines = fact_lines(facts, width=width)
        after = next(number for number, line in enumerate(lines) if line.startswith("tokens")) + 1
        while after < len(lines) and lines[after].startswith(" "):
            after += 1
        stops = fact_lines({"would stop": "; ".join(self.stops)}, width=width) if self.stops else []
        return text_of([*lines[:after], *histogram(self.lengths), *lines[after:], *stops])

    def _plan_lines(self) -> dict[str, str]:
        plan = self.plan
        files = f"{how_many(plan.files, 'file')}, {how_many(plan.rows, 'row')}, {bytes_text(plan.bytes)}"
        to_do = f"{how_many(plan.units_to_do, 'unit')} with {how_many(plan.rows_to_do, 'row')}"
        if plan.units_labelled:
            rows = how_many(plan.rows_labelled, "row")
            to_do += f"; {how_many(plan.units_labelled, 'unit')} with {rows} labelled already"
        left_out = f"{how_many(len(plan.left_out), 'object')} of the input folder"
        questions = {} if self.expansion is None else self.expansion.lines(plan.output.rstrip("/"), {})
        return {
            "input": f"{files}, in {plan.input}",
            **questions,
            **({"left out": left_out} if plan.left_out else {}),
            "quarantined": self._quarantined(),
            "plan": f"{plan.plan_id}, {how_many(plan.units, 'unit')}; {self._state()}",
            "to do": to_do,
        }

    def _quarantined(self) -> str:
        bad = self.plan.quarantined
        if not bad:
            return "none"
        named = [f"{file.uri} ({file.reason})" for file in bad[:MAX_NAMED]]
        more = f", and {len(bad) - MAX_NAMED:,} more" if len(bad) > MAX_NAMED else ""
        return f"{how_many(len(bad), 'file')}: {', '.join(named)}{more}"

    def _state(self) -> str:
        output = self.plan.output
        return {
            "published": f"it is published in {output}, and a run has nothing to do",
            "sealed": f"it is labelled, and a run publishes it in {output}",
            "to_label": f"a run publishes it in {output}",
            "another_plan": f"another plan is published in {output}: a run needs --replace",
        }[self.plan.state]

    def _estimate_lines(self) -> dict[str, str]:
        counts, about = self.counts, "" if self.sample.is_whole else "about "
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in counts.rejected.items())
        margin = f" (± {self.sample.tokens_margin:.1%})" if self.sample.tokens_margin else ""
        pairs = counts.labelled if counts.pairs is None else counts.pairs
        a_pair = f", {counts.tokens / pairs:.1f} a pair, {self.longest:,} at most" if pairs else ""
        if counts.pairs is None:
            labelled, cut = how_many(pairs, "pair"), f"{how_many(counts.truncated, 'pair')}, longer"
        else:
            labelled = f"{how_many(counts.labelled, 'row')}, {how_many(pairs, 'pair')}"
            cut = f"{how_many(counts.truncated, 'row')} with a pair longer"
        return {
            "sample": self._sample(),
            "labelled": f"{about}{labelled}",
            "rejected": f"{about}{rejected}" if rejected else "none",
            "tokens": f"{about}{counts.tokens:,}{margin}{a_pair}",
            "truncated": f"{about}{cut} than the model reads ({counts.truncated / counts.labelled:.1%})"
            if counts.truncated
            else "none",
            "duplicates": self._duplicates(),
        }

    def _sample(self) -> str:
        sample = self.sample
        of = (
            "every row was read"
            if sample.is_whole
            else f"{sample.rows:,} of {how_many(self.plan.rows, 'row')} were read"
        )
        parts = how_many(sum(sample.unreadable.values()), "part")
        bad = f"; {parts} of files cannot be read ({', '.join(sample.unreadable)})" if sample.unreadable else ""
        return f"{of} in {sample.seconds:.1f} s{bad}"

    def _duplicates(self) -> str:
        if self.repeated is None:
            return "not estimated: no unit was read"
        part = "unit" if self.expansion is None else "part of a unit"
        share = f"about {self.repeated:.1%} of the pairs are equal to an earlier one of their {part}: computed once"
        return share if self.repeated else "none within a unit"

    def _cost_lines(self) -> dict[str, str]:
        workers, rate, cost = self.workers, self.rate, self.cost
        with_what = f"{how_many(workers.count, 'worker')} {self._device()}, in {self.precision}"
        if self.executor is ExecutorKind.PROCESS:
            with_what += ", without Ray"
        if rate is None or cost is None:
            why = f"no rate is known for {workers.card or 'this GPU'} in {self.precision}; name the card with --card"
            return {"workers": with_what, "time": f"not estimated: {why}"}
        each = "core" if workers.device is DeviceKind.CPU else "card"
        when = f", {rate.when}" if rate.when else ""
        seconds = cost.seconds
        steps = {
            "to list the input": seconds.planning,
            "to start": seconds.startup,
            "to label": seconds.labelling,
            "to publish": seconds.publishing,
        }
        times = ", ".join(f"{duration(value)} {step}" for step, value in steps.items())
        lines = {
            "workers": with_what,
            "rate": f"{rate.tokens_per_second:,.0f} tokens/s a {each}: {rate.basis}, {rate.where}{when}",
            "time": f"about {duration(cost.total_seconds)}: {times}",
            "device hours": f"about {cost.device_hours:.2g}",
        }
        if cost.price is not None:
            price = f"{cost.price:,.2f}" if cost.price >= 1 else f"{cost.price:.2g}"
            lines["cost"] = f"about {price}, at {self.price_per_hour:g} an hour"
        return lines

    def _device(self) -> str:
        workers = self.workers
        if workers.device is DeviceKind.CPU:
            return f"of {how_many(workers.cores, 'core')} ({workers.card})"
        return f"of {how_many(workers.gpus, 'GPU')} ({workers.card or 'unknown'})"


def length_counts(
    lengths: NDArray[np.int64], longest: int, pairs: NDArray[np.int64] | None = None
) -> tuple[LengthCount, ...]:
    """Shares of the lengths in ranges that double, from SHORTEST tokens to `longest`.

    `pairs` is the number of pairs of each length; one if None. Ranges at the end without any length are left out.
    """
    tops = [SHORTEST]
    while tops[-1] < max(longest, int(lengths.max(initial=0))):
        tops.append(tops[-1] * 2)
    counts = np.histogram(lengths, [0, *(top + 1 for top in tops)], weights=pairs)[0]
    last = int(np.flatnonzero(counts).max(initial=-1)) + 1
    bottoms = [1, *(top + 1 for top in tops)]
    shares = counts / max(counts.sum(), 1)
    return tuple(LengthCount(*bounds) for bounds in zip(bottoms, tops, map(float, shares), strict=False))[:last]


def histogram(lengths: tuple[LengthCount, ...]) -> Iterator[str]:
    """A line with a bar for each range of token lengths."""
    largest = max((count.share for count in lengths), default=0.0)
    for count in lengths:
        bar = "#" * round(BAR_WIDTH * count.share / largest) if largest else ""
        label = f"{count.least:,} to {count.most:,}"
        yield f"{'':<{NAME_WIDTH}} {label:>14} {count.share:>6.1%}  {bar}".rstrip()


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `51 s`, `12 min`, `3 h 20 min`, `2 days 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    time = timedelta(minutes=round(seconds / 60))
    hours, minutes = divmod(time.seconds // 60, 60)
    if time.days:
        return f"{how_many(time.days, 'day')} {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def bytes_text(count: int) -> str:
    """A number of bytes with three digits or less."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(BYTE_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {BYTE_UNITS[unit]}"
