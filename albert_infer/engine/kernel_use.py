"""Whether an engine computes with compiled kernels, and what keeps it from them."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from albert_infer.common.printable import how_many


class KernelState(StrEnum):
    """The layers of an engine: with compiled kernels, without them, or in fp32, which has none."""

    COMPILED = "compiled"
    MISSING = "missing"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True)
class Obstacle:
    """What keeps an engine from the kernels, or a machine from keeping them. `remedy` may be empty."""

    problem: str
    remedy: str = ""


@dataclass(frozen=True)
class KernelUse:
    """The kernels of an engine on a machine. `asked` is the precision and the device, for people."""

    machine: str
    asked: str
    state: KernelState
    problem: str = ""
    remedy: str = ""

    @classmethod
    def here(cls, asked: str, state: KernelState, obstacle: Obstacle | None) -> KernelUse:
        """The kernels of an engine of this process."""
        return cls(platform.node(), asked, state, *((obstacle.problem, obstacle.remedy) if obstacle else ()))

    def to_text(self) -> str:
        """One line for a person: what was asked for, the problem, and what to do."""
        effect = ", so labelling is slower" if self.state is KernelState.MISSING else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"compiled kernels for {self.asked}: {self.problem}{effect}{remedy}"


def slow_line(kernels: Iterable[KernelUse]) -> dict[str, str]:
    """The line of a report on machines without kernels, or with kernels that are not kept; empty without any."""
    machines = Counter(use.to_text() for use in kernels if use.problem)
    parts = [f"{text} ({how_many(count, 'machine')})" for text, count in machines.items()]
    return {"slow": "; ".join(parts)} if parts else {}
