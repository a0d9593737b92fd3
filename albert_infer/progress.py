"""How far a run is: the counts that the workers tell, and the line that a person or a job log sees."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from albert_infer.schema import DeviceKind

# A terminal line may move; a line of a log stays, so there are few of them.
TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 10.0
DEVICE_MISSING: Final = (
    "Ray gave a worker a GPU, but torch finds no CUDA device there, so it labels on the CPU; "
    "mend the node's driver or torch, or give --gpus-per-worker 0"
)


@dataclass(frozen=True)
class UnitProgress:
    """How far one unit is.

    `padded_tokens` is what its micro-batches would hold if each were padded to its longest; `halved` of them did not
    fit into the device's memory.
    """

    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    halved: int = 0

    def after(self, lengths: NDArray[np.int64], *, rows_done: int, halved: bool) -> UnitProgress:
        """One micro-batch further; `lengths` are the tokens of what it computed, and `rows_done` are done with it."""
        return UnitProgress(
            rows=self.rows + rows_done,
            tokens=self.tokens + int(lengths.sum()),
            padded_tokens=self.padded_tokens + len(lengths) * int(lengths.max()),
            halved=self.halved + halved,
        )


@dataclass(frozen=True)
class RunProgress:
    """The units of this start together, and when the first of them was told (seconds since the epoch, None before).

    `devices` are those that the workers really use.
    """

    units: int
    done: UnitProgress
    first_told: float | None
    devices: frozenset[DeviceKind] = frozenset()

    @property
    def padding_share(self) -> float:
        """Share of a padded forward pass that would be padding; the packed one computes none of it."""
        return 1 - self.done.tokens / self.done.padded_tokens if self.done.padded_tokens else 0.0


class ProgressCounts:
    """What the workers told last of each unit; one that is labelled again starts over and counts once."""

    def __init__(self) -> None:
        self._units: dict[str, UnitProgress] = {}
        self._first_told: float | None = None
        self._devices: frozenset[DeviceKind] = frozenset()

    def tell_device(self, device: DeviceKind) -> None:
        """A worker is ready, on this device."""
        self._devices |= {device}

    def tell(self, unit_id: str, done: UnitProgress) -> None:
        """The unit is so far."""
        if self._first_told is None:
            self._first_told = time.time()
        self._units[unit_id] = done

    def so_far(self) -> RunProgress:
        """All units together."""
        units = self._units.values()
        done = UnitProgress(
            sum(unit.rows for unit in units),
            sum(unit.tokens for unit in units),
            sum(unit.padded_tokens for unit in units),
            sum(unit.halved for unit in units),
        )
        return RunProgress(len(units), done, self._first_told, self._devices)


@contextmanager
def shown(total_rows: int, done_rows: int, so_far: Callable[[], RunProgress], planned: DeviceKind) -> Iterator[None]:
    """Show how far the run is while the block goes on: a moving line in a terminal, else one line every 10 s.

    Says so when a worker does not use the `planned` device.
    """
    so_far = _warning_once(so_far, planned)
    stop = threading.Event()
    show = _in_terminal if sys.stderr.isatty() else _in_log
    thread = threading.Thread(target=show, args=(total_rows, done_rows, so_far, stop), daemon=True)
    thread.start()
    try:
        yield
        so_far()  # a run that ends before the first line warns too
    finally:
        stop.set()
        thread.join()


def _warning_once(so_far: Callable[[], RunProgress], planned: DeviceKind) -> Callable[[], RunProgress]:
    """`so_far`, with one line on stderr when it first tells of a device that was not planned."""
    told = threading.Event()

    def so_far_warning() -> RunProgress:
        now = so_far()
        if not now.devices <= {planned} and not told.is_set():
            told.set()
            warn(DEVICE_MISSING)
        return now

    return so_far_warning


def warn(text: str) -> None:
    """Say on stderr what a person should know while the run goes on."""
    sys.stderr.write(f"warning: {text}\n")
    sys.stderr.flush()


def tell(text: str) -> None:
    """Say on stderr how far the run is, once."""
    sys.stderr.write(f"labelling: {text}\n")
    sys.stderr.flush()


def _in_terminal(total: int, done: int, so_far: Callable[[], RunProgress], stop: threading.Event) -> None:
    columns = (
        TextColumn("labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pairs · {task.fields[speed]} ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("label", total=total, completed=done, speed="starting workers")
        while not stop.wait(TERMINAL_SECONDS):
            now = so_far()
            if now.first_told is not None:
                bar.update(task, completed=done + now.done.rows, speed=f"{_speed(now):,.0f} pairs/s")
        bar.update(task, completed=done + so_far().done.rows)


def _in_log(total: int, done: int, so_far: Callable[[], RunProgress], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        now = so_far()
        sys.stderr.write(log_line(total, done, now.done.rows, _speed(now)) + "\n")
        sys.stderr.flush()


def log_line(total: int, done: int, rows: int, speed: float) -> str:
    """One line for a job log: rows, share, rows per second, time left. `speed` is 0 before the first row."""
    if not speed:
        return f"labelling: {done:,} of {total:,} pairs, starting workers"
    now = done + rows
    left = timedelta(seconds=round((total - now) / speed))
    return f"labelling: {now:,} of {total:,} pairs ({now / total:.0%}), {speed:,.0f} pairs/s, {left} left"


def _speed(now: RunProgress) -> float:
    return 0.0 if now.first_told is None else now.done.rows / max(time.time() - now.first_told, 1e-3)
