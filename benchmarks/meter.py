"""The limit of one precision on some cores, measured next to the rows that it belongs to.

A busy neighbour slows the rows and the limit of a round down together, so their ratio in one round holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from benchmarks.contender import Contender
from benchmarks.limit import Measure

# Readings of each way, in turn, from which the best way is chosen.
TRIES: Final = 2


class Ceiling(NamedTuple):
    """What a limit is of: a precision, and the number of cores; None is all."""

    precision: str
    cores: int | None


@dataclass
class Meter:
    """The products alone. `ways` has the best reading of each way, and `readings` all of the best way, in GFLOP/s."""

    ways: dict[str, float]
    measure: Measure
    seconds: float
    readings: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, ways: Mapping[str, Measure], seconds: float) -> Meter:
        """Try each way for `seconds`, and take the best of them from now on."""
        tries = [{name: measure(seconds) for name, measure in ways.items()} for _ in range(TRIES)]
        best = {name: max(each[name] for each in tries) for name in ways}
        return cls(best, ways[max(best, key=lambda name: best[name])], seconds)

    def read(self) -> float:
        """Measure once."""
        self.readings.append(self.measure(self.seconds))
        return self.readings[-1]


Meters = Mapping[Ceiling, Meter]


def ceilings_of(contenders: Sequence[Contender]) -> list[Ceiling]:
    """The limits that a table with these rows needs: of all cores in each precision, and of the rows on fewer."""
    rows = [(each.precision, None) for each in contenders]
    fewer = [(each.precision, each.cores) for each in contenders if each.cores is not None]
    return [Ceiling(*each) for each in dict.fromkeys([*rows, *fewer])]
