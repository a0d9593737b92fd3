"""What a run exports to Prometheus. Through Ray each node's agent serves it, and puts `ray_` before every name.

The driver alone exports, from what the board was told: a worker that is killed takes no counts with it, and what is
labelled again counts once. Recording is local and never waits; whether anybody scrapes makes no difference to a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from albert_infer import storage
from albert_infer.pipeline.progress import RunProgress

PREFIX: Final = "albert_infer_"

# Takes a value and its tags.
Record = Callable[[float, dict[str, str]], None]


@dataclass(frozen=True)
class Declared:
    """One metric: its name without the prefix, what it means, and its tags beside `plan_id`."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    tags: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name that Prometheus stores."""
        return f"ray_{PREFIX}{self.name}"


ROWS: Final = Declared("counter", "rows_total", "Pairs classified by this start, each once.")
TOKENS: Final = Declared("counter", "tokens_total", "Their tokens, special ones included.")
PADDING: Final = Declared("gauge", "padding_ratio", "Share of padded forward passes that would have been padding.")
REJECTED: Final = Declared("counter", "rejected_rows_total", "Rows committed without a label.", ("reason",))
UNITS: Final = Declared("gauge", "units", "Units of the plan: `done`, by whichever start, or `to_do`.", ("state",))
S3_RETRIES: Final = Declared("counter", "s3_retries_total", "Requests to S3 that were sent again.")
# Counters, whose rates are a worker's pairs a second and the busy share of its device; those of a worker that is gone
# stand still, where a gauge would go on with its last value.
ACTOR_ROWS: Final = Declared("counter", "actor_rows_total", "Pairs classified by one worker.", ("actor",))
ACTOR_FORWARD: Final = Declared(
    "counter", "actor_forward_seconds_total", "Time that one worker's device spent in forward passes.", ("actor",)
)
ALL: Final = (ROWS, TOKENS, PADDING, REJECTED, UNITS, S3_RETRIES, ACTOR_ROWS, ACTOR_FORWARD)


class RunMetrics:
    """The metrics of one start of a run on `plan_id`; may be told by several threads.

    `retries_before` is what `storage.s3_retries` said when the start began: the driver's own requests count too.
    `recorder` gives what takes the numbers of a metric.
    """

    def __init__(self, plan_id: str, *, retries_before: int, recorder: Callable[[Declared], Record]) -> None:
        self._lock = Lock()
        self._plan = {"plan_id": plan_id}
        self._record = {each: recorder(each) for each in ALL}
        self._reached: dict[tuple[Declared, tuple[str, ...]], float] = {}
        self._retries_before = retries_before
        self._worker_retries = 0

    def watched(self, so_far: Callable[[], RunProgress], *, done: int, to_do: int) -> Callable[[], RunProgress]:
        """`so_far`, which exports what it gives; `done` and `to_do` are the plan's units when this start began."""

        def so_far_exported() -> RunProgress:
            now = so_far()
            self.tell(now)
            self._set(UNITS, done + now.committed, state="done")
            self._set(UNITS, to_do - now.committed, state="to_do")
            return now

        return so_far_exported

    def tell(self, now: RunProgress) -> None:
        """Export how far the run is."""
        self._reach(ROWS, now.done.rows)
        self._reach(TOKENS, now.done.tokens)
        self._set(PADDING, now.padding_share)
        for reason, rows in now.rejected.items():
            self._reach(REJECTED, rows, reason=reason)
        for actor, done in now.actors.items():
            self._reach(ACTOR_ROWS, done.rows, actor=actor)
            self._reach(ACTOR_FORWARD, done.forward_seconds, actor=actor)
        self._worker_retries = now.s3_retries
        self.tell_s3_retries()

    def tell_s3_retries(self) -> None:
        """Export how often an S3 request was sent again, by the workers as told last and by the driver until now."""
        self._reach(S3_RETRIES, self._worker_retries + storage.s3_retries() - self._retries_before)

    def _set(self, gauge: Declared, value: float, **tags: str) -> None:
        self._record[gauge](value, self._plan | tags)

    def _reach(self, counter: Declared, value: float, **tags: str) -> None:
        """Raise the counter to `value`. It never falls: a unit that starts over is told less at first."""
        with self._lock:
            key = counter, tuple(tags.values())
            if (more := value - self._reached.get(key, 0)) > 0:
                self._reached[key] = value
                self._record[counter](more, self._plan | tags)
