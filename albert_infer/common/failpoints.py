"""Named points of a run at which a test can make its process fail; armed by one environment variable, read only here.

`NLI_FAIL_POINT=POINT[@TEXT]:ACTION:HITS:FOLDER`, several with `;` between them, arms a point, where TEXT is part of the
name of what is worked on. A hit that is within HITS (`2`, or `1-3`) acts: `kill` and `segfault` end the process as the
kernel would, `wait` stops it until FOLDER holds a file `go`. FOLDER gets one empty file a hit, so that hits are counted
across processes and a test sees that its fault happened. Without the variable a point costs a look at an empty list.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "NLI_FAIL_POINT"


@dataclass(frozen=True)
class FailPoint:
    """What `VARIABLE` says."""

    point: str
    text: str
    action: str
    first: int
    last: int
    folder: Path

    @classmethod
    def parsed(cls, armed: str) -> FailPoint:
        """The fail point of one value of the variable. Raises ValueError for what is none."""
        where, action, hits, folder = armed.split(":", 3)
        if action not in ACTIONS:
            raise ValueError(f"{VARIABLE}={armed}: {action} is no action, choose from {', '.join(ACTIONS)}")
        point, _, text = where.partition("@")
        first, _, last = hits.partition("-")
        return cls(point, text, action, int(first), int(last or first), Path(folder))

    def reach(self, point: str, working_on: str) -> None:
        """Count the hit, if it is one, and act if it is within the hits."""
        if point == self.point and self.text in working_on and self.first <= self._hit(point) <= self.last:
            ACTIONS[self.action](self.folder)

    def _hit(self, point: str) -> int:
        """Which hit this is, from 1: the first number that no other process has taken."""
        number = 1
        while True:
            try:
                (self.folder / f"{point}.{number}").touch(exist_ok=False)
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


ACTIONS: Final = {"kill": _kill, "segfault": _segfault, "wait": _wait}
_ARMED: Final = [FailPoint.parsed(armed) for armed in os.environ.get(VARIABLE, "").split(";") if armed]


def reach(point: str, working_on: str = "") -> None:
    """Say that the run is at `point`, with the unit or file that it works on."""
    for armed in _ARMED:
        armed.reach(point, working_on)
