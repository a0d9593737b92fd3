"""What every in-process row of the benchmark is: something that labels pairs, prepared first and timed after.

A row that this machine cannot measure is there all the same, and says why.

Shapes: R pairs, C = 3 labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Pairs = Sequence[tuple[str, str]]
# Does the whole work once and returns probabilities (R, C, float32), rows in the order of the pairs.
Labelling = Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class Samples:
    """Pairs that a row may choose its settings by: `trial` are some of the timed ones, `calibration` are others."""

    trial: Pairs
    calibration: Pairs = ()


@dataclass(frozen=True)
class Contender:
    """One way to label pairs; `prepare` does what is not timed, the `Labelling` that it returns is timed.

    `cores` is None for all. If it is `beside_limit`, its limit is measured before and after it in every round.
    """

    name: str
    settings: str
    precision: str
    prepare: Callable[[Pairs], Labelling]
    cores: int | None = None
    beside_limit: bool = False


@dataclass(frozen=True)
class Absent:
    """A row that cannot be measured here, and why."""

    name: str
    precision: str
    reason: str


def not_installed(*packages: str) -> str:
    """Which of `packages` this Python has not, as the reason of an `Absent`; empty where all are there."""
    missing = [package for package in packages if find_spec(package) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def rows_as_before(sorted_RC: NDArray[np.float32], order_R: NDArray[np.int64]) -> NDArray[np.float32]:
    """Row i of `sorted_RC` becomes row `order_R[i]`."""
    scattered_RC = np.empty_like(sorted_RC)
    scattered_RC[order_R] = sorted_RC
    return scattered_RC
