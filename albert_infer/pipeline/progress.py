"""The progress of a run: the counts that workers report, and the lines that a terminal or a log shows."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Final, Protocol

from albert_infer.common import display, logs
from albert_infer.common.display import Progressed
from albert_infer.common.printable import how_many
from albert_infer.engine.kernel_use import KernelState, KernelUse
from albert_infer.schema import ComputedBatch, DeviceKind

# Seconds between two messages of a worker to the board. This is often enough for a person.
SECONDS_BETWEEN_MESSAGES: Final = 0.5
STARTING: Final = "starting"
NOTHING_LABELLED: Final = "no part of the input is finished, and only finished parts are kept"
DEVICE_MISSING: Final = (
    "a worker has a GPU that torch cannot use, so it labels on the CPU, because of --allow-cpu; "
    "repair the machine's driver or torch, or set --gpus-per-worker 0"
)


@dataclass(frozen=True)
class UnitProgress:
    """The progress of one unit.

    `padded_tokens` is the number of tokens if each micro-batch were padded to its longest pair. `halved` micro-batches
    did not fit into the device's memory. `forward_seconds` is the time of all forward passes.
    """

    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    halved: int = 0
    forward_seconds: float = 0.0

    def after(self, batch: ComputedBatch) -> UnitProgress:
        """The progress after one more micro-batch."""
        return UnitProgress(
            rows=self.rows + batch.pairs_done,
            tokens=self.tokens + int(batch.lengths.sum()),
            padded_tokens=self.padded_tokens + len(batch.lengths) * int(batch.lengths.max()),
            halved=self.halved + batch.halved,
            forward_seconds=self.forward_seconds + batch.seconds,
        )

    @classmethod
    def total(cls, units: Iterable[UnitProgress]) -> UnitProgress:
        """The sum over units."""
        counts = map(attrgetter("rows", "tokens", "padded_tokens", "halved", "forward_seconds"), units)
        return cls(*map(sum, zip(*counts, strict=True)))


@dataclass(frozen=True)
class RunProgress:
    """The progress of all units of this start.

    `first_reported` is the time of the first report of a unit (seconds since the epoch, None before). `devices` are
    the devices that workers really use. `kernels` says which machines have compiled kernels. `actors` has the share of
    each classify actor in `done`. `committed` units are durable. `rejected` is the number of their rejected rows, by
    reason. `s3_retries` counts retries of the workers. `lost_devices` has a line for each worker that ended because its
    GPU was lost.
    """

    units: int
    done: UnitProgress
    first_reported: float | None
    devices: frozenset[DeviceKind] = frozenset()
    kernels: frozenset[KernelUse] = frozenset()
    actors: Mapping[str, UnitProgress] = field(default_factory=dict)
    committed: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    s3_retries: int = 0
    lost_devices: tuple[str, ...] = ()
    # From the first message of each actor to its last, added up.
    actor_seconds: float = 0.0

    @property
    def device_busy_share(self) -> float:
        """Share of their time in which the actors' devices compute; 0 before the first."""
        return min(1.0, self.done.forward_seconds / self.actor_seconds) if self.actor_seconds else 0.0

    @property
    def padding_share(self) -> float:
        """The share of padding if forward passes were padded. The engine packs rows, so it computes no padding."""
        return 1 - self.done.tokens / self.done.padded_tokens if self.done.padded_tokens else 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows per second since the first report of a unit; 0 before."""
        return 0.0 if self.first_reported is None else self.done.rows / max(time.time() - self.first_reported, 1e-3)


class Board(Protocol):
    """Takes the reports of workers."""

    def report_device(self, device: DeviceKind, kernels: KernelUse) -> None:
        """Report a worker that is ready, by its device and its kernels."""

    def report_progress(self, unit_id: str, progress: UnitProgress, actor: str) -> None:
        """Report the progress of a unit, and its actor."""

    def report_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """Report that a unit is durable, and its rejected rows by reason."""


class ProgressCounts:
    """The last report of each unit. A unit that is labelled again replaces its report, so it counts once."""

    def __init__(self) -> None:
        self._units: dict[str, tuple[str, UnitProgress]] = {}
        self._first_reported: float | None = None
        self._devices: frozenset[DeviceKind] = frozenset()
        self._kernels: frozenset[KernelUse] = frozenset()
        self._rejected: dict[str, Mapping[str, int]] = {}
        self._s3_retries: dict[str, int] = {}
        self._lost_devices: list[str] = []
        # When each actor reported first and last, on this process's monotonic clock.
        self._spans: dict[str, tuple[float, float]] = {}

    def report_device(self, device: DeviceKind, kernels: KernelUse) -> None:
        """Report a worker that is ready, by its device and its kernels."""
        self._devices |= {device}
        self._kernels |= {kernels}

    def report_lost_device(self, line: str) -> None:
        """Report a worker that ends because its GPU is lost: which GPU, and the error."""
        self._lost_devices.append(line)

    def report_progress(self, unit_id: str, progress: UnitProgress, actor: str = "") -> None:
        """Report the progress of a unit, and its actor."""
        if self._first_reported is None:
            self._first_reported = time.time()
        self._units[unit_id] = (actor, progress)
        now = time.monotonic()
        self._spans[actor] = (self._spans.get(actor, (now, now))[0], now)

    def report_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """Report that a unit is durable, and its rejected rows by reason."""
        self._rejected[unit_id] = rejected

    def report_s3_retries(self, attempt_id: str, retries: int) -> None:
        """Report the number of S3 retries of an attempt."""
        self._s3_retries[attempt_id] = retries

    def so_far(self) -> RunProgress:
        """The progress of all units."""
        by_actor: dict[str, list[UnitProgress]] = {}
        for actor, done in self._units.values():
            by_actor.setdefault(actor, []).append(done)
        actors = {actor: UnitProgress.total(units) for actor, units in by_actor.items()}
        rejected: Counter[str] = Counter()
        for reasons in self._rejected.values():
            rejected.update(reasons)
        return RunProgress(
            units=len(self._units),
            done=UnitProgress.total(actors.values()),
            first_reported=self._first_reported,
            devices=self._devices,
            kernels=self._kernels,
            actors=actors,
            committed=len(self._rejected),
            rejected=rejected,
            s3_retries=sum(self._s3_retries.values()),
            lost_devices=tuple(self._lost_devices),
            actor_seconds=sum(last - first for first, last in self._spans.values()),
        )


class ShownRun:
    """A run whose progress is shown: its step before the first label, and the last progress of its units."""

    def __init__(self) -> None:
        self.step = STARTING
        self.last_progress: RunProgress | None = None

    def begin(self, step: str) -> None:
        """Show this step until the first pair is labelled. A log gets its line at once."""
        self.step = step
        log_step(step)


@contextmanager
def shown(
    total_rows: int, done_rows: int, so_far: Callable[[], RunProgress], planned: DeviceKind, unit: str = "pair"
) -> Iterator[ShownRun]:
    """Show the progress of a run during the block. `done_rows` of the `total_rows` were labelled by earlier starts.

    `unit` is the noun of a row of the input: `row` where a row becomes several pairs.
    Logs a warning if a worker does not use the `planned` device, or has no compiled kernels.
    """
    so_far, run = _warning_once(so_far, planned), ShownRun()

    def look() -> Progressed:
        progress = run.last_progress = so_far()
        return progressed(total_rows, done_rows + progress.done.rows, progress.rows_per_second, run.step, unit)

    with display.shown("labelling", look):
        yield run
        so_far()  # a run that ends before the first line warns too


@contextmanager
def counted(run: ShownRun, *, done: int, units: int) -> Iterator[None]:
    """Add the number of labelled units to a KeyboardInterrupt. `done` of all `units` are from earlier starts."""
    try:
        yield
    except KeyboardInterrupt as error:
        labelled = done + (run.last_progress.committed if run.last_progress else 0)
        parts = how_many(units, "part")
        note = f"at least {labelled:,} of {parts} of the input are labelled and kept" if labelled else NOTHING_LABELLED
        error.add_note(note)
        raise


def progressed(total: int, done: int, speed: float, step: str = STARTING, unit: str = "pair") -> Progressed:
    """The progress line: rows done of all, at `speed` rows per second. At speed 0 the line shows the `step` instead."""
    seconds_left = round((total - done) / speed) if speed else None
    text = f"labelling: {done:,} of {how_many(total, unit)}"
    if seconds_left is None:
        text += f", {step}"
    else:
        text += f" ({done / total:.0%}), {speed:,.0f} {unit}s/s, {timedelta(seconds=seconds_left)} left"
    fields = {
        "rows_done": done,
        "rows_total": total,
        f"{unit}s_per_second": round(speed, 1),
        "seconds_left": seconds_left,
    }
    return Progressed(done, total, text, fields)


def _warning_once(so_far: Callable[[], RunProgress], planned: DeviceKind) -> Callable[[], RunProgress]:
    """A function that calls `so_far`, and logs one warning if a worker uses a device that was not planned.

    It logs one warning for each lost device, and one for all workers without compiled kernels.
    """
    warned, lock = set[tuple[str, int]](), threading.Lock()

    def warn_once(event: str, number: int, text: str) -> None:
        with lock:
            is_new = (event, number) not in warned
            warned.add((event, number))
        if is_new:
            logs.warn(event, text)

    def so_far_warning() -> RunProgress:
        progress = so_far()
        if not progress.devices <= {planned}:
            warn_once("device_missing", 0, DEVICE_MISSING)
        if hindered := hindered_kernels(progress.kernels):
            warn_once("slow_path", 0, f"a worker on {hindered[0].machine}: {hindered[0].to_text()}")
        for number, line in enumerate(progress.lost_devices):
            warn_once("device_lost", number, f"{line}; its worker was ended, and Ray starts another")
        return progress

    return so_far_warning


def hindered_kernels(kernels: Iterable[KernelUse]) -> Sequence[KernelUse]:
    """The kernels that an operator can bring to their full speed, those that are missing first."""
    return sorted(
        (use for use in kernels if use.remedy), key=lambda use: (use.state is not KernelState.MISSING, use.machine)
    )


def log_step(step: str) -> None:
    """Log the step of the run before it labels. A terminal has no line for it: its moving line shows the step."""
    if not logs.for_a_terminal():
        logs.log("starting", f"labelling: {step}", {})


def log_waiting(text: str) -> None:
    """Log what the run waits for."""
    logs.log("waiting", f"labelling: {text}", {})
