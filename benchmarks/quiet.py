"""How quiet the machine was during a measurement: other processes, cores that the hypervisor took, a loop that spins.

Linux only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

# A whole number that Python counts to in a few milliseconds: it reads no memory, so only the core's time counts.
SPIN_STEPS: Final = 300_000
# Spins of one reading; the fastest counts, because the first may raise the clock.
SPINS: Final = 3
# The figures of a quiet machine.
MOST_OTHERS, MOST_STOLEN, LEAST_SPIN = 0.1, 0.01, 0.9


@dataclass(frozen=True)
class Quiet:
    """`others` is the mean number of cores that other processes used, `stolen` the share that the hypervisor took.

    `spin` is the speed of a loop without memory: the slowest reading against the fastest of the same run; 1 without
    other work. `load` is the mean of the last minute at the end, this process included.
    """

    others: float
    stolen: float
    spin: float
    load: float

    @property
    def is_quiet(self) -> bool:
        """Whether the figures may be trusted."""
        return self.others <= MOST_OTHERS and self.stolen <= MOST_STOLEN and self.spin >= LEAST_SPIN

    def to_text(self) -> str:
        """One line."""
        verdict = "the machine was quiet" if self.is_quiet else "the machine was NOT quiet"
        return (
            f"{verdict}: other processes used {self.others:.2f} cores, the hypervisor took {self.stolen:.1%}, "
            f"the slowest spin ran at {self.spin:.0%} of the fastest, load {self.load:.1f}"
        )


@dataclass
class Watch:
    """Watches the machine inside a `with` block; `spin` takes a reading between two measurements."""

    spins: list[float] = field(default_factory=list)
    _begun: _Times | None = None
    _ended: _Times | None = None

    def __enter__(self) -> Self:
        self.spin()
        self._begun = _Times.now()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = _Times.now()
        self.spin()

    def spin(self) -> None:
        """Time the loop."""
        self.spins.append(min(_spin_seconds() for _ in range(SPINS)))

    @property
    def quiet(self) -> Quiet:
        """What was seen up to now, or up to the end of the block."""
        begun, ended = self._begun or _Times.now(), self._ended or _Times.now()
        seconds = max(ended.clock - begun.clock, 1e-9)
        others = ended.busy - begun.busy - (ended.own - begun.own)
        return Quiet(
            others=max(0.0, others / seconds),
            stolen=(ended.stolen - begun.stolen) / seconds / (os.cpu_count() or 1),
            spin=min(self.spins) / max(self.spins) if self.spins else 1.0,
            load=round(os.getloadavg()[0], 2),
        )


@dataclass(frozen=True)
class _Times:
    """Seconds of all cores since the start of the machine: busy, taken by the hypervisor, and of this process."""

    clock: float
    busy: float
    stolen: float
    own: float

    @classmethod
    def now(cls) -> _Times:
        # user nice system idle iowait irq softirq steal; guest time is part of user time
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, steal = (int(each) / os.sysconf("SC_CLK_TCK") for each in first)
        of_us = os.times()
        own = of_us.user + of_us.system + of_us.children_user + of_us.children_system
        return cls(time.monotonic(), user + nice + system + irq + softirq, steal, own)


def _spin_seconds() -> float:
    begun = time.perf_counter()
    for _ in range(SPIN_STEPS):
        pass
    return time.perf_counter() - begun
