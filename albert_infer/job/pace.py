"""How fast a run labelled over time, and with how many workers: few points, however long the run takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from albert_infer.pipeline.progress import RunProgress

# Twice as many are never kept: a picture shows no more.
MAX_POINTS: Final = 120


@dataclass(frozen=True)
class PacePoint:
    """How far a run is, `seconds` after its start began.

    `rows` were labelled by this start until then; `workers` labelled some of them since the point before.
    """

    seconds: float
    rows: int
    workers: int


class Pace:
    """Notes how far a run is whenever somebody looks; each time there are too many points, every second one goes."""

    def __init__(self, begun: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._begun = begun
        self._clock = clock
        self._seconds_between = 1.0
        self._points: list[PacePoint] = []
        self._rows_of: dict[str, int] = {}

    @property
    def points(self) -> tuple[PacePoint, ...]:
        """The points, in order of time."""
        return tuple(self._points)

    def noted(self, so_far: Callable[[], RunProgress]) -> Callable[[], RunProgress]:
        """`so_far`, which notes what it returns."""

        def so_far_noted() -> RunProgress:
            progress = so_far()
            self.note(progress)
            return progress

        return so_far_noted

    def note(self, progress: RunProgress, *, last: bool = False) -> None:
        """Note a look, unless the one before was a moment ago; the `last` one is noted in any case."""
        seconds = self._clock() - self._begun
        if self._points and seconds - self._points[-1].seconds < self._seconds_between and not last:
            return
        rows_of = {actor: done.rows for actor, done in progress.actors.items()}
        workers = sum(rows > self._rows_of.get(actor, 0) for actor, rows in rows_of.items())
        self._rows_of = rows_of
        self._points.append(PacePoint(round(seconds, 2), progress.done.rows, workers))
        if len(self._points) >= 2 * MAX_POINTS:
            self._points = self._points[1::2]
            self._seconds_between *= 2
