"""Timing in turn: A B C, A B C, …, so that a slow minute of the machine falls on all of them.

Shapes: R pairs, C = 3 labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.schema import DeviceKind
from benchmarks.contender import Absent, Contender, Labelling, Pairs
from benchmarks.devices import finish
from benchmarks.meter import Ceiling, Meters
from benchmarks.quiet import Watch
from benchmarks.results import Row

# Enough to load every lazy part and to choose kernels, short beside a round.
WARM_UP_PAIRS: Final = 16


@dataclass
class Timing:
    """The rounds of one contender and, for the check that all do the same work, its probabilities (R, C)."""

    contender: Contender
    pairs_per_second: list[float] = field(default_factory=list)
    # GFLOP/s of the products alone around it, a figure a round; none unless it is `beside_limit`.
    limit_gflops: list[float] = field(default_factory=list)
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))


def take_rounds(
    contenders: Sequence[Contender],
    meters: Meters,
    pairs: Pairs,
    rounds: int,
    tell: Callable[[str], None],
    device: DeviceKind = DeviceKind.CPU,
    watch: Watch | None = None,
) -> list[Timing]:
    """Time every contender on `pairs` once a round, after warming the contenders up.

    Each of `meters` is read before and after each row that is beside its limit, and at least once a round.
    """
    timings = [Timing(contender) for contender in contenders]
    for contender in contenders:
        contender.prepare(pairs[:WARM_UP_PAIRS])()
    labellings = [contender.prepare(pairs) for contender in contenders]
    for number in range(1, rounds + 1):
        if watch:
            watch.spin()
        for timing, labelling in zip(timings, labellings, strict=True):
            _take(timing, labelling, meters, len(pairs), device)
            tell(f"round {number}: {timing.contender.name} {timing.pairs_per_second[-1]:.1f} pairs/s")
        for meter in meters.values():
            if len(meter.readings) < number:
                meter.read()
    return timings


def _take(timing: Timing, labelling: Labelling, meters: Meters, pairs: int, device: DeviceKind) -> None:
    contender = timing.contender
    meter = meters.get(Ceiling(contender.precision, contender.cores)) if contender.beside_limit else None
    before = meter.read() if meter else 0.0
    finish(device)
    begun = time.perf_counter()
    timing.probabilities = labelling()
    finish(device)
    timing.pairs_per_second.append(pairs / (time.perf_counter() - begun))
    if meter:
        timing.limit_gflops.append((before + meter.read()) / 2)


def rows_of(contenders: Sequence[Contender | Absent], taken: Sequence[Timing], needed_gflop: float = 0.0) -> list[Row]:
    """A row for each of `contenders`, in their order, compared with the first that was timed.

    `needed_gflop` are the operations that no exact pass can save, in billions, of one pair.
    """
    timings = iter(taken)
    expected_RC = taken[0].probabilities
    return [
        Row(each.name, each.reason, each.precision, note=each.reason)
        if isinstance(each, Absent)
        else _timed_row(next(timings), expected_RC, needed_gflop)
        for each in contenders
    ]


def _timed_row(timing: Timing, expected_RC: NDArray[np.float32], needed_gflop: float) -> Row:
    shares = zip(timing.pairs_per_second, timing.limit_gflops, strict=False)
    return Row(
        timing.contender.name,
        timing.contender.settings,
        timing.contender.precision,
        tuple(timing.pairs_per_second),
        largest_difference=float(np.abs(timing.probabilities - expected_RC).max()),
        same_label=float((timing.probabilities.argmax(axis=1) == expected_RC.argmax(axis=1)).mean()),
        cores=timing.contender.cores,
        limit_shares=tuple(speed * needed_gflop / gflops for speed, gflops in shares),
    )
