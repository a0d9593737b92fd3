"""The pictures of the page, as SVG with the colours and the font of the page, for light and dark screens and paper."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from albert_infer.learning.evaluation.calibration import Calibration, Reliability, Threshold

# Unique colours for drawing. They are replaced by variables of the page.
INK: Final = "#010203"
MUTED: Final = "#818283"
ACCENT: Final = "#123457"
VARIABLES: Final = {INK: "var(--ink)", MUTED: "var(--muted)", ACCENT: "var(--accent)"}
STYLE: Final[dict[Any, Any]] = {
    # Keep text as text: it is smaller, and screen readers read it. Ids depend on the contents: pages are reproducible.
    "svg.fonttype": "none",
    "svg.hashsalt": "albert-infer",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def reliability(calibration: Calibration | Reliability, *, least: float = 1 / 3) -> str:
    """Accuracy by confidence with intervals, above the numbers of rows by confidence.

    The axis of the confidence begins at `least`, the accuracy of a guess.
    """
    with mpl.rc_context(STYLE):
        figure = Figure((4.6, 4.6), layout="constrained")
        curve, rows = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        curve.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle="--")
        _points(
            curve,
            [
                (bin_.confidence, bin_.accuracy.value, bin_.accuracy.low, bin_.accuracy.high)
                for bin_ in calibration.bins
            ],
        )
        curve.set(xlim=(least - 0.02, 1.02), ylim=(0, 1.02), ylabel="share of labels that are right")
        rows.bar(
            [(bin_.low + bin_.high) / 2 for bin_ in calibration.bins],
            [bin_.rows for bin_ in calibration.bins],
            width=0.9 / 15,
            color=ACCENT,
            alpha=0.6,
        )
        rows.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        rows.set(xlabel="probability of the label", ylabel="rows")
        return _svg(figure, "Reliability: share of right labels by probability of the label")


def kept_and_right(thresholds: tuple[Threshold, ...]) -> str:
    """Accuracy of the remaining rows, by the share of rows that people review."""
    with mpl.rc_context(STYLE):
        figure = Figure((4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        kept = [each for each in thresholds if each.kept]
        _points(
            axes,
            [(1 - each.kept_share, each.accuracy.value, each.accuracy.low, each.accuracy.high) for each in kept],
        )
        for each in kept:
            point = (1 - each.kept_share, each.accuracy.value)
            axes.annotate(f"{each.below:g}", point, (0, -12), textcoords="offset points", ha="left", color=MUTED)
        percent = "{:.0%}".format
        axes.xaxis.set_major_formatter(lambda value, _: percent(value))
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        axes.set(xlabel="rows to review", ylabel="accuracy of the other rows")
        return _svg(figure, "Accuracy of the remaining rows, by the share of rows to review")


def receiver_operating_characteristic(curve: Sequence[tuple[float, float]], chosen: tuple[float, float]) -> str:
    """The share of consistent rows above a threshold, by that of inconsistent rows; and the `chosen` threshold."""
    with mpl.rc_context(STYLE):
        figure = Figure((4.6, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle="--")
        axes.plot([point[0] for point in curve], [point[1] for point in curve], color=ACCENT, linewidth=1.4)
        axes.plot([chosen[0]], [chosen[1]], color=ACCENT, marker="o", markersize=6)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel="inconsistent rows at or above the threshold", ylabel="consistent rows at or above it")
        return _svg(figure, "Receiver operating characteristic of the score")


def _points(axes: Axes, points: list[tuple[float, float, float, float]]) -> None:
    """Draw a line through the points (x, y, low, high), with their intervals."""
    xs = [point[0] for point in points]
    axes.plot(xs, [point[1] for point in points], color=ACCENT, marker="o", markersize=4, linewidth=1.4)
    axes.vlines(xs, [point[2] for point in points], [point[3] for point in points], color=ACCENT, linewidth=1)


def _svg(figure: Figure, title: str) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    # Without width and height, the picture follows the size of the page.
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{title}"', svg, count=1)
    for drawn, variable in VARIABLES.items():
        svg = svg.replace(drawn, variable)
    return svg
