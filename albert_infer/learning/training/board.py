"""How far a training run is: a small Ray actor that a worker tells, and the line that a person or a log sees."""

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
    """Steps done of all, the last milestone, and steps a second since this start; zeros and None before the first."""

    step: int = 0
    steps: int = 0
    milestone: Milestone | None = None
    steps_per_second: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the speed of this start, without evaluations; None before there is one."""
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else None


class TrainingBoard:
    """A handle of the board that may travel to any process."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._told = 0.0

    @classmethod
    def start(cls) -> TrainingBoard:
        """A new, empty board."""
        return cls(started(_Told))

    def tell(self, step: int, steps: int) -> None:
        """Say which step is done; does not wait, and not every step is sent."""
        if time.monotonic() - self._told >= SECONDS_BETWEEN_MESSAGES:
            self._told = time.monotonic()
            self._actor.tell.remote(step, steps, time.time())

    def tell_milestone(self, milestone: Milestone) -> None:
        """Say what was found at a milestone; does not wait."""
        self._actor.tell_milestone.remote(milestone)

    def so_far(self) -> TrainingProgress:
        """What was told until now."""
        told: TrainingProgress = ray.get(self._actor.so_far.remote())
        return told


class _Told:
    """What the board's process holds."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, int, float] = (0, 0, 0.0)
        self._milestone: Milestone | None = None

    def tell(self, step: int, steps: int, now: float) -> None:
        # A worker that was killed begins again from its last milestone: so does the clock.
        if self._first is None or step < self._last[0]:
            self._first = (step, now)
        self._last = (step, steps, now)

    def tell_milestone(self, milestone: Milestone) -> None:
        self._milestone = milestone

    def so_far(self) -> TrainingProgress:
        step, steps, now = self._last
        first, begun = self._first or (0, now)
        speed = (step - first) / (now - begun) if now > begun else 0.0
        return TrainingProgress(step, steps, self._milestone, speed)


def shown(so_far: Callable[[], TrainingProgress]) -> AbstractContextManager[None]:
    """Show how far training is while the block goes on."""
    return display.shown("training", lambda: progressed(so_far()))


def progressed(now: TrainingProgress) -> Progressed:
    """Steps done of all, with loss and accuracy."""
    fields = {"step": now.step, "steps": now.steps, "milestone": now.milestone, "seconds_left": now.seconds_left}
    return Progressed(now.step, now.steps or None, log_line(now), fields)


def log_line(now: TrainingProgress) -> str:
    """One line for a job log: steps, share, loss, accuracy, time left."""
    if not now.steps:
        return "training: starting workers"
    left = now.seconds_left
    rest = "" if left is None else f", {timedelta(seconds=round(left))} left"
    return f"training: step {now.step:,} of {now.steps:,} ({now.step / now.steps:.0%}), {_found(now)}{rest}"


def _found(now: TrainingProgress) -> str:
    if now.milestone is None:
        return "not evaluated yet"
    return f"loss {now.milestone['train_loss']:.3f}, {now.milestone['eval_accuracy']:.1%} of the eval set right"
