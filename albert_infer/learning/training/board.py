"""Reports the progress of a training run: a small Ray actor that a worker updates, and lines for people and logs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray

from albert_infer.common import display
from albert_infer.common.display import Progressed
from albert_infer.learning.training.record import Milestone
from albert_infer.pipeline.board import started
from albert_infer.pipeline.progress import SECONDS_BETWEEN_MESSAGES


@dataclass(frozen=True)
class TrainingProgress:
    """Finished steps, all steps, the last milestone, and the speed of this start in steps per second."""

    step: int = 0
    steps: int = 0
    milestone: Milestone | None = None
    steps_per_second: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """The remaining seconds at the speed of this start, without evaluations; None before the first step."""
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else None


class TrainingBoard:
    """A handle of the board for any process."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._sent_at = 0.0

    @classmethod
    def start(cls) -> TrainingBoard:
        """A new, empty board."""
        return cls(started(_BoardState))

    def report(self, step: int, steps: int) -> None:
        """Report a finished step, without waiting. Not every step is sent."""
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_MESSAGES:
            self._sent_at = time.monotonic()
            self._actor.report.remote(step, steps, time.time())

    def report_milestone(self, milestone: Milestone) -> None:
        """Report a milestone, without waiting."""
        self._actor.report_milestone.remote(milestone)

    def so_far(self) -> TrainingProgress:
        """The progress that workers have reported."""
        progress: TrainingProgress = ray.get(self._actor.so_far.remote())
        return progress


class _BoardState:
    """The state of the board, in the process of its actor."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, int, float] = (0, 0, 0.0)
        self._milestone: Milestone | None = None

    def report(self, step: int, steps: int, now: float) -> None:
        # A restarted worker resumes from its last milestone. The clock starts again.
        if self._first is None or step < self._last[0]:
            self._first = (step, now)
        self._last = (step, steps, now)

    def report_milestone(self, milestone: Milestone) -> None:
        self._milestone = milestone

    def so_far(self) -> TrainingProgress:
        step, steps, now = self._last
        first, started_at = self._first or (0, now)
        speed = (step - first) / (now - started_at) if now > started_at else 0.0
        return TrainingProgress(step, steps, self._milestone, speed)


def shown(so_far: Callable[[], TrainingProgress]) -> AbstractContextManager[None]:
    """Show the progress of training during the block."""
    return display.shown("training", lambda: progressed(so_far()))


def progressed(at: TrainingProgress) -> Progressed:
    """The progress for a display: steps, loss and accuracy."""
    fields = {
        "step": at.step,
        "steps": at.steps,
        "milestone": at.milestone,
        "seconds_left": at.seconds_left,
    }
    return Progressed(at.step, at.steps or None, log_line(at), fields)


def log_line(at: TrainingProgress) -> str:
    """One line for a job log: steps, share, loss, accuracy, time left."""
    if not at.steps:
        return "training: starting workers"
    seconds = at.seconds_left
    rest = "" if seconds is None else f", {timedelta(seconds=round(seconds))} left"
    return f"training: step {at.step:,} of {at.steps:,} ({at.step / at.steps:.0%}), {_results(at)}{rest}"


def _results(at: TrainingProgress) -> str:
    if at.milestone is None:
        return "not evaluated yet"
    return f"loss {at.milestone['train_loss']:.3f}, {at.milestone['eval_accuracy']:.1%} of the eval set right"
