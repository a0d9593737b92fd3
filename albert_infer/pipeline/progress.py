"""How far a run is: the counts that the workers report, and what a person or a job log sees of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Final, Protocol

from albert_infer.common import display, logs
from albert_infer.common.display import Progressed
from albert_infer.common.printable import how_many
from albert_infer.schema import ComputedBatch, DeviceKind

# Seconds between two messages to a board from one worker. A person needs no finer ones.
SECONDS_BETWEEN_MESSAGES: Final = 0.5
STARTING: Final = "starting"
NOTHING_KEPT: Final = "no part of the input is labelled yet"
DEVICE_MISSING: Final = (
    "Ray gave a worker a GPU, but torch finds no CUDA device there, so it labels on the CPU; "
    "mend the node's driver or torch, or give --gpus-per-worker 0"
)


@dataclass(frozen=True)
class UnitProgress:
    """How far one unit is.

    `padded_tokens` is what its micro-batches would hold if each were padded to its longest; `halved` of them did not
    fit into the device's memory. `forward_seconds` passed in its forward passes.
    """

    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    halved: int = 0
    forward_seconds: float = 0.0

    def after(self, batch: ComputedBatch) -> UnitProgress:
        """One micro-batch further."""
        return UnitProgress(
            rows=self.rows + batch.pairs_done,
            tokens=self.tokens + int(batch.lengths.sum()),
            padded_tokens=self.padded_tokens + len(batch.lengths) * int(batch.lengths.max()),
            halved=self.halved + batch.halved,
            forward_seconds=self.forward_seconds + batch.seconds,
        )

    @classmethod
    def total(cls, units: Iterable[UnitProgress]) -> UnitProgress:
        """Many units together."""
        counts = map(attrgetter("rows", "tokens", "padded_tokens", "halved", "forward_seconds"), units)
        return cls(*map(sum, zip(*counts, strict=True)))


@dataclass(frozen=True)
class RunProgress:
    """The units of this start together, and when the first of them was told (seconds since the epoch, None before).

    `devices` are those that the workers really use; `actors` are the classify actors, each with its part of `done`.
    `committed` of the units are durable, and of their rows so many were `rejected`, by reason. `s3_retries` are those
    of the workers.
    """

    units: int
    done: UnitProgress
    first_told: float | None
    devices: frozenset[DeviceKind] = frozenset()
    actors: Mapping[str, UnitProgress] = field(default_factory=dict)
    committed: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    s3_retries: int = 0

    @property
    def padding_share(self) -> float:
        """Share of a padded forward pass that would be padding; the packed one computes none of it."""
        return 1 - self.done.tokens / self.done.padded_tokens if self.done.padded_tokens else 0.0

    @property
    def rows_per_second(self) -> float:
        """Since the first was told; 0 before."""
        return 0.0 if self.first_told is None else self.done.rows / max(time.time() - self.first_told, 1e-3)


class Board(Protocol):
    """Hears how far the units are."""

    def tell_device(self, device: DeviceKind) -> None:
        """A worker is ready, on this device."""

    def tell(self, unit_id: str, done: UnitProgress, actor: str) -> None:
        """The unit is so far, in the hands of this actor."""

    def tell_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """The unit is durable, and of its rows so many have no label, by reason."""


class ProgressCounts:
    """What the workers told last of each unit; one that is labelled again starts over and counts once."""

    def __init__(self) -> None:
        self._units: dict[str, tuple[str, UnitProgress]] = {}
        self._first_told: float | None = None
        self._devices: frozenset[DeviceKind] = frozenset()
        self._rejected: dict[str, Mapping[str, int]] = {}
        self._s3_retries: dict[str, int] = {}

    def tell_device(self, device: DeviceKind) -> None:
        """A worker is ready, on this device."""
        self._devices |= {device}

    def tell(self, unit_id: str, done: UnitProgress, actor: str = "") -> None:
        """The unit is so far, in the hands of this actor."""
        if self._first_told is None:
            self._first_told = time.time()
        self._units[unit_id] = (actor, done)

    def tell_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """The unit is durable, and of its rows so many have no label, by reason."""
        self._rejected[unit_id] = rejected

    def tell_s3_retries(self, attempt_id: str, retries: int) -> None:
        """During this attempt at a unit so many S3 requests were sent again."""
        self._s3_retries[attempt_id] = retries

    def so_far(self) -> RunProgress:
        """All units together."""
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
            first_told=self._first_told,
            devices=self._devices,
            actors=actors,
            committed=len(self._rejected),
            rejected=rejected,
            s3_retries=sum(self._s3_retries.values()),
        )


class Shown:
    """A run that is shown: its step before the first pair is labelled, and what was heard last of its units."""

    def __init__(self) -> None:
        self.step = STARTING
        self.heard: RunProgress | None = None

    def begin(self, step: str) -> None:
        """Show this step until the first pair is labelled; a log has a line of it at once."""
        self.step = step
        if not logs.for_a_terminal():
            tell_step(step)


@contextmanager
def shown(total_rows: int, done_rows: int, so_far: Callable[[], RunProgress], planned: DeviceKind) -> Iterator[Shown]:
    """Show how far the run is while the block goes on: `done_rows` of the `total_rows` were labelled before.

    Says so when a worker does not use the `planned` device.
    """
    so_far, run = _warning_once(so_far, planned), Shown()

    def look() -> Progressed:
        now = run.heard = so_far()
        return progressed(total_rows, done_rows + now.done.rows, now.rows_per_second, run.step)

    with display.shown("labelling", look):
        yield run
        so_far()  # a run that ends before the first line warns too


@contextmanager
def counted(run: Shown, *, done: int, units: int) -> Iterator[None]:
    """Note in an interrupt how many of the `units` are labelled; `done` of them were before this start."""
    try:
        yield
    except KeyboardInterrupt as error:
        kept = done + (run.heard.committed if run.heard else 0)
        parts = how_many(units, "part")
        error.add_note(f"at least {kept:,} of {parts} of the input are labelled and kept" if kept else NOTHING_KEPT)
        raise


def progressed(total: int, done: int, speed: float, step: str = STARTING) -> Progressed:
    """Rows done of all, at `speed` rows per second; it is 0 before the first row, while the run is at the `step`."""
    seconds_left = round((total - done) / speed) if speed else None
    text = f"labelling: {done:,} of {how_many(total, 'pair')}"
    if seconds_left is None:
        text += f", {step}"
    else:
        text += f" ({done / total:.0%}), {speed:,.0f} pairs/s, {timedelta(seconds=seconds_left)} left"
    fields = {"rows_done": done, "rows_total": total, "pairs_per_second": round(speed, 1), "seconds_left": seconds_left}
    return Progressed(done, total, text, fields)


def _warning_once(so_far: Callable[[], RunProgress], planned: DeviceKind) -> Callable[[], RunProgress]:
    """`so_far`, with one warning when it first tells of a device that was not planned."""
    told = threading.Event()

    def so_far_warning() -> RunProgress:
        now = so_far()
        if not now.devices <= {planned} and not told.is_set():
            told.set()
            logs.warn("device_missing", DEVICE_MISSING)
        return now

    return so_far_warning


def tell_step(step: str) -> None:
    """One line about what the run does before it labels."""
    logs.tell("starting", f"labelling: {step}", {})


def tell_waiting(text: str) -> None:
    """One line about what the run waits for."""
    logs.tell("waiting", f"labelling: {text}", {})
