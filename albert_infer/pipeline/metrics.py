"""The metrics that a run exports to Prometheus. Ray's agent on each node serves them, with `ray_` before each name.

Only the driver exports, from the counts of the board. So no counts are lost with a killed worker, and a unit that is
labelled again counts once. Recording is local and never waits. A run is the same with and without a Prometheus server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from albert_infer import storage
from albert_infer.pipeline.progress import RunProgress

PREFIX: Final = "albert_infer_"

# Records a value and its tags.
Record = Callable[[float, dict[str, str]], None]


@dataclass(frozen=True)
class Declared:
    """One metric: its name without the prefix, its meaning, and its tags besides `plan_id`."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    tags: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"ray_{PREFIX}{self.name}"


ROWS: Final = Declared("counter", "rows_total", "Pairs classified by this start, each once.")
TOKENS: Final = Declared("counter", "tokens_total", "Their tokens, special ones included.")
PADDING: Final = Declared("gauge", "padding_ratio", "Share of padded forward passes that would have been padding.")
REJECTED: Final = Declared("counter", "rejected_rows_total", "Rows committed without a label.", ("reason",))
UNITS: Final = Declared("gauge", "units", "Units of the plan: `done`, by any start, or `to_do`.", ("state",))
S3_RETRIES: Final = Declared("counter", "s3_retries_total", "Requests to S3 that were sent again.")
# The rates of these counters are a worker's pairs per second and the busy share of its device. They are counters
# because a gauge of a dead worker would keep its last value.
ACTOR_ROWS: Final = Declared("counter", "actor_rows_total", "Pairs classified by one worker.", ("actor",))
ACTOR_FORWARD: Final = Declared(
    "counter", "actor_forward_seconds_total", "Time that one worker's device spent in forward passes.", ("actor",)
)
ALL: Final = (ROWS, TOKENS, PADDING, REJECTED, UNITS, S3_RETRIES, ACTOR_ROWS, ACTOR_FORWARD)


class RunMetrics:
    """The metrics of one start of a run on `plan_id`. Safe to use from several threads.

    `retries_before` is the value of `storage.s3_retries` when the start began: the driver's own retries count too.
    `recorder` returns the function that records values of a metric.
    """

    def __init__(self, plan_id: str, *, retries_before: int, recorder: Callable[[Declared], Record]) -> None:
        self._lock = Lock()
        self._plan = {"plan_id": plan_id}
        self._record = {each: recorder(each) for each in ALL}
        self._reached: dict[tuple[Declared, tuple[str, ...]], float] = {}
        self._retries_before = retries_before
        self._worker_retries = 0

    def watched(self, so_far: Callable[[], RunProgress], *, done: int, to_do: int) -> Callable[[], RunProgress]:
        """A function that calls `so_far` and exports its result.

        `done` and `to_do` are the numbers of the plan's units when this start began.
        """

        def so_far_exported() -> RunProgress:
            progress = so_far()
            self.export(progress)
            self._set(UNITS, done + progress.committed, state="done")
            self._set(UNITS, to_do - progress.committed, state="to_do")
            return progress

        return so_far_exported

    def export(self, progress: RunProgress) -> None:
        """Export the progress of the run."""
        self._raise_to(ROWS, progress.done.rows)
        self._raise_to(TOKENS, progress.done.tokens)
        self._set(PADDING, progress.padding_share)
        for reason, rows in progress.rejected.items():
            self._raise_to(REJECTED, rows, reason=reason)
        for actor, done in progress.actors.items():
            self._raise_to(ACTOR_ROWS, done.rows, actor=actor)
            self._raise_to(ACTOR_FORWARD, done.forward_seconds, actor=actor)
        self._worker_retries = progress.s3_retries
        self.export_s3_retries()

    def export_s3_retries(self) -> None:
        """Export the number of S3 retries: of the workers in their last report, and of the driver until now."""
        self._raise_to(S3_RETRIES, self._worker_retries + storage.s3_retries() - self._retries_before)

    def _set(self, gauge: Declared, value: float, **tags: str) -> None:
        self._record[gauge](value, self._plan | tags)

    def _raise_to(self, counter: Declared, value: float, **tags: str) -> None:
        """Raise the counter to `value`, but never lower it: a unit that starts again reports less at first."""
        with self._lock:
            key = counter, tuple(tags.values())
            if (increase := value - self._reached.get(key, 0)) > 0:
                self._reached[key] = value
                self._record[counter](increase, self._plan | tags)
