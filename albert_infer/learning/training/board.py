"""How far a training run is: a small Ray actor that a worker tells, and the line that a person or a log sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from albert_infer.common import logs
from albert_infer.pipeline.progress import LOG_SECONDS, TERMINAL_SECONDS

# Messages to the board; finer is of no use to a person.
SECONDS_BETWEEN_MESSAGES = 0.5


@dataclass(frozen=True)
class TrainingProgress:
    """Steps done of all, the last milestone, and steps a second since this start; zeros and None before the first."""

    step: int = 0
    steps: int = 0
    milestone: dict[str, Any] | None = None
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
        """A new, empty board. It takes no CPU, or it could take the last one."""
        told: Any = ray.remote(_Told)
        return cls(told.options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote())

    def tell(self, step: int, steps: int) -> None:
        """Say which step is done; does not wait, and not every step is sent."""
        if time.monotonic() - self._told >= SECONDS_BETWEEN_MESSAGES:
            self._told = time.monotonic()
            self._actor.tell.remote(step, steps, time.time())

    def tell_milestone(self, milestone: dict[str, Any]) -> None:
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
        self._milestone: dict[str, Any] | None = None

    def tell(self, step: int, steps: int, now: float) -> None:
        # A worker that was killed begins again from its last milestone: so does the clock.
        if self._first is None or step < self._last[0]:
            self._first = (step, now)
        self._last = (step, steps, now)

    def tell_milestone(self, milestone: dict[str, Any]) -> None:
        self._milestone = milestone

    def so_far(self) -> TrainingProgress:
        step, steps, now = self._last
        first, begun = self._first or (0, now)
        speed = (step - first) / (now - begun) if now > begun else 0.0
        return TrainingProgress(step, steps, self._milestone, speed)


@contextmanager
def shown(so_far: Callable[[], TrainingProgress]) -> Iterator[None]:
    """Show how far training is while the block goes on: a moving line in a terminal, else one line every 10 s."""
    stop = threading.Event()
    show = _in_terminal if logs.for_a_terminal() else _in_log
    thread = threading.Thread(target=show, args=(so_far, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _in_terminal(so_far: Callable[[], TrainingProgress], stop: threading.Event) -> None:
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps · {task.fields[found]} ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("train", total=None, found="starting workers")
        while not stop.wait(TERMINAL_SECONDS):
            now = so_far()
            if now.steps:
                bar.update(task, total=now.steps, completed=now.step, found=_found(now))


def _in_log(so_far: Callable[[], TrainingProgress], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        now = so_far()
        counts = {"step": now.step, "steps": now.steps, "milestone": now.milestone}
        logs.tell("training", log_line(now), {**counts, "seconds_left": now.seconds_left})


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
