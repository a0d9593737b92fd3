"""Timing in turn: A B C, A B C, …, so that a slow minute of the machine falls on all of them.

Shapes: R pairs, C = 3 labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from albert_infer.schema import DeviceKind
from benchmarks.contender import Absent, Contender, Pairs
from benchmarks.devices import finish
from benchmarks.results import Row

# Enough to load every lazy part and to choose kernels, short beside a round.
WARM_UP_PAIRS: Final = 16


@dataclass
class Timing:
    """The rounds of one contender and, for the check that all do the same work, its probabilities (R, C)."""

    contender: Contender
    pairs_per_second: list[float] = field(default_factory=list)
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))


@dataclass
class Rounds:
    """All that was measured in this process: contenders in their order, and the products alone by precision and way."""

    timings: list[Timing]
    product_gflops: dict[str, dict[str, list[float]]]


def take_rounds(
    contenders: Sequence[Contender],
    products: Mapping[str, Callable[[], dict[str, float]]],
    pairs: Pairs,
    rounds: int,
    tell: Callable[[str], None],
    device: DeviceKind = DeviceKind.CPU,
) -> Rounds:
    """Time every contender on `pairs` and every entry of `products` once a round, after warming the contenders up."""
    taken = Rounds([Timing(contender) for contender in contenders], {precision: {} for precision in products})
    for contender in contenders:
        contender.prepare(pairs[:WARM_UP_PAIRS])()
    labellings = [contender.prepare(pairs) for contender in contenders]
    for number in range(1, rounds + 1):
        for timing, labelling in zip(taken.timings, labellings, strict=True):
            finish(device)
            begun = time.perf_counter()
            timing.probabilities = labelling()
            finish(device)
            timing.pairs_per_second.append(len(pairs) / (time.perf_counter() - begun))
            tell(f"round {number}: {timing.contender.name} {timing.pairs_per_second[-1]:.1f} pairs/s")
        for precision, measure in products.items():
            for way, gflops in measure().items():
                taken.product_gflops[precision].setdefault(way, []).append(gflops)
    return taken


def rows_of(contenders: Sequence[Contender | Absent], taken: Rounds) -> list[Row]:
    """A row for each of `contenders`, in their order, compared with the first that was timed."""
    timings = iter(taken.timings)
    expected_RC = taken.timings[0].probabilities
    return [
        Row(each.name, each.reason, each.precision, note=each.reason)
        if isinstance(each, Absent)
        else _timed_row(next(timings), expected_RC)
        for each in contenders
    ]


def _timed_row(timing: Timing, expected_RC: NDArray[np.float32]) -> Row:
    return Row(
        timing.contender.name,
        timing.contender.settings,
        timing.contender.precision,
        tuple(timing.pairs_per_second),
        largest_difference=float(np.abs(timing.probabilities - expected_RC).max()),
        same_label=float((timing.probabilities.argmax(axis=1) == expected_RC.argmax(axis=1)).mean()),
    )
