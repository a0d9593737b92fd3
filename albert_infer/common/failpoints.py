"""Named points of a run at which a test can make the process fail. One environment variable arms them.

`NLI_FAIL_POINT=POINT[@TEXT]:ACTION:HITS:FOLDER` arms a point. Several are separated by `;`. With TEXT, a hit counts
only if the name of the current unit or file contains TEXT. Hits within HITS (`2`, or `1-3`) act: `kill` and `segfault`
end the process like the kernel, `wait` stops it until FOLDER has a file `go`, and `lose_gpu` raises an error of a lost
GPU. Each hit creates a file with the process id in FOLDER, so hits are counted across processes, and a test sees that
its fault happened. Without the variable, a point costs one call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

VARIABLE: Final = "NLI_FAIL_POINT"


@dataclass(frozen=True)
class FailPoint:
    """One fail point of `VARIABLE`."""

    point: str
    text: str
    action: str
    first: int
    last: int
    folder: Path

    @classmethod
    def parsed(cls, armed: str) -> FailPoint:
        """Parse one fail point. Raises ValueError for a value in another form."""
        where, action, hits, folder = armed.split(":", 3)
        if action not in ACTIONS:
            raise ValueError(f"{VARIABLE}={armed}: {action} is no action, choose from {', '.join(ACTIONS)}")
        point, _, text = where.partition("@")
        first, _, last = hits.partition("-")
        return cls(point, text, action, int(first), int(last or first), Path(folder))

    def reach(self, point: str, working_on: str) -> None:
        """Count the hit if the point matches, and act if the hit is within the range."""
        if point == self.point and self.text in working_on and self.first <= self._hit(point) <= self.last:
            ACTIONS[self.action](self.folder)

    def _hit(self, point: str) -> int:
        """The number of this hit, from 1: the first number that no other process has."""
        number = 1
        while True:
            try:
                with (self.folder / f"{point}.{number}").open("x") as hit:
                    hit.write(str(os.getpid()))
            except FileExistsError:
                number += 1
            else:
                return number


def _kill(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(folder: Path) -> None:
    ctypes.string_at(0)


def _wait(folder: Path) -> None:
    while not (folder / "go").exists():
        time.sleep(0.02)


def _lose_gpu(folder: Path) -> None:
    raise RuntimeError("CUDA error: unspecified launch failure")


ACTIONS: Final = {"kill": _kill, "segfault": _segfault, "wait": _wait, "lose_gpu": _lose_gpu}


def reach(point: str, working_on: str = "") -> None:
    """Report that the run is at `point`. `working_on` is the current unit or file."""
    for armed in _armed():
        armed.reach(point, working_on)


@cache
def _armed() -> tuple[FailPoint, ...]:
    """The fail points of the environment. A process reads them when it reaches its first point."""
    return tuple(FailPoint.parsed(armed) for armed in os.environ.get(VARIABLE, "").split(";") if armed)
