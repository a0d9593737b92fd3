"""Where the shapes of a report's pictures lie. The template draws them; texts and numbers in them are escaped there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from albert_infer.job.pace import PacePoint

# In the units of a picture's view box, which the page scales.
BARS_WIDTH: Final = 480
BARS_HEIGHT: Final = 150
PACE_HEIGHT: Final = 150
FLOW_HEIGHT: Final = 150
FLOW_GAP: Final = 26
# So that a handful of rows among millions is seen.
LEAST_HEIGHT: Final = 2.0
# Of a shorter time a speed says nothing.
LEAST_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Bar:
    """One bin of a histogram: the bar, its rows and share of all rows, and the range of values that it counts."""

    x: float
    y: float
    width: float
    height: float
    rows: int
    share: float
    name: str


def bars(counts: Sequence[int], names: Sequence[str]) -> list[Bar]:
    """A bar for each count, side by side; the largest is as high as the picture."""
    total, largest = sum(counts), max(counts, default=0)
    step = BARS_WIDTH / max(len(counts), 1)
    drawn = []
    for number, (rows, name) in enumerate(zip(counts, names, strict=True)):
        height = max(BARS_HEIGHT * rows / largest, LEAST_HEIGHT) if rows else 0.0
        drawn.append(
            Bar(
                x=step * number + 1,
                y=BARS_HEIGHT - height,
                width=step - 2,
                height=height,
                rows=rows,
                share=rows / total if total else 0.0,
                name=name,
            )
        )
    return drawn


@dataclass(frozen=True)
class Ribbon:
    """The rows of one outcome: a ribbon from the input on the left to a block on the right."""

    name: str
    rows: int
    share: float
    left: float
    right: float
    height: float

    @property
    def path(self) -> str:
        """The ribbon, as an SVG path."""
        top = f"M 12 {self.left:.1f} C 180 {self.left:.1f}, 180 {self.right:.1f}, 348 {self.right:.1f}"
        low_right, low_left = self.right + self.height, self.left + self.height
        return f"{top} L 348 {low_right:.1f} C 180 {low_right:.1f}, 180 {low_left:.1f}, 12 {low_left:.1f} Z"


def flow(outcomes: Mapping[str, int]) -> list[Ribbon]:
    """A ribbon for each outcome that has rows, from top to bottom; as high as its share of the rows."""
    total = sum(outcomes.values())
    left = right = 4.0
    ribbons = []
    for name, rows in outcomes.items():
        if rows:
            height = max(FLOW_HEIGHT * rows / total, LEAST_HEIGHT)
            ribbons.append(Ribbon(name, rows, rows / total, left, right, height))
            left += height
            right += max(height, LEAST_HEIGHT) + FLOW_GAP
    return ribbons


@dataclass(frozen=True)
class PaceLines:
    """Pairs a second, and workers, over the seconds of a start: points of two lines, and the values of their tops."""

    speed: str
    workers: str
    most_speed: float
    most_workers: int
    first_second: float
    last_second: float


def pace_lines(points: Sequence[PacePoint]) -> PaceLines | None:
    """The lines through the points; None where there are too few to draw one."""
    if len(points) < 3:
        return None
    first_rows = next((number for number, point in enumerate(points) if point.rows), 0)
    points = points[max(first_rows - 1, 0) :]
    speeds = [
        (now.seconds, (now.rows - before.rows) / max(now.seconds - before.seconds, 1e-3), now.workers)
        for before, now in itertools.pairwise(points)
    ]
    first, last = speeds[0][0], speeds[-1][0]
    most_speed = max(speed for _, speed, _ in speeds)
    most_workers = max(workers for _, _, workers in speeds)

    def line(values: Sequence[tuple[float, float]], most: float) -> str:
        across, up = BARS_WIDTH / max(last - first, 1e-3), PACE_HEIGHT / max(most, 1e-3)
        return " ".join(f"{across * (second - first):.1f},{PACE_HEIGHT - up * value:.1f}" for second, value in values)

    return PaceLines(
        speed=line([(second, speed) for second, speed, _ in speeds], most_speed),
        workers=line([(second, float(workers)) for second, _, workers in speeds], most_workers),
        most_speed=most_speed,
        most_workers=most_workers,
        first_second=first,
        last_second=last,
    )
