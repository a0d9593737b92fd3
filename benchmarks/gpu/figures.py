"""A figure of a step, its bar, and the verdict. Knows nothing of devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The result of a figure or of a step."""

    PASS = "PASS"  # noqa: S105  (no password)
    MISS = "MISS"
    # The figure has no bar, or its bar is for a card and this run has none.
    SHOWN = ""
    SKIP = "SKIP"
    FAIL = "FAIL"
    # The time budget was over before the step.
    CUT = "CUT"


class SkippedError(Exception):
    """A step cannot run here; the text says why."""


@dataclass(frozen=True)
class Figure:
    """One figure. `least` or `most` is its bar. A bar that is only `on_card` is not applied on a CPU."""

    name: str
    value: float | str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    on_card: bool = False

    def verdict(self, *, card: bool) -> Verdict:
        """Whether the figure reaches its bar; `card` says that the run is on a card."""
        has_bar = self.least is not None or self.most is not None
        if not has_bar or isinstance(self.value, str) or (self.on_card and not card):
            return Verdict.SHOWN
        # Written so that NaN reaches no bar.
        reached = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return Verdict.PASS if reached else Verdict.MISS

    @property
    def bar(self) -> str:
        """The bar as text."""
        if self.least is not None:
            return f"at least {number(self.least)}"
        return "" if self.most is None else f"at most {number(self.most)}"

    def line(self, *, card: bool) -> str:
        """The figure as a line of the output."""
        value = self.value if isinstance(self.value, str) else f"{number(self.value)} {self.unit}".strip()
        verdict = "not judged without a card" if self.on_card and not card else self.verdict(card=card)
        return f"    {self.name:<58} {value:<24} {self.bar:<20} {verdict}".rstrip()

    def to_json(self, *, card: bool) -> dict[str, Any]:
        """The figure with its bar and verdict."""
        bar = {"least": self.least, "most": self.most}
        return {"name": self.name, "value": self.value, "unit": self.unit, **bar, "verdict": self.verdict(card=card)}


def number(value: float) -> str:
    """Three digits, with commas."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e12):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
