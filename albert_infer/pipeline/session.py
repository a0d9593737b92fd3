"""The Ray session around the stages: connecting, settings, counting progress, and telling errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import ray
from ray.data import DataContext
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from albert_infer.errors import AlbertInferError, InfrastructureError
from albert_infer.progress import ProgressCounts, RunProgress, UnitProgress
from albert_infer.resources import Node
from albert_infer.schema import DeviceKind

Shared = TypeVar("Shared")

# Above a unit's bytes, so that Ray never splits a block; the sink checks it all the same.
TARGET_MAX_BLOCK_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class ProgressBoard:
    """Where the workers tell how far they are and the driver reads it: a handle that may travel to any process."""

    actor: Any

    @classmethod
    def start(cls) -> ProgressBoard:
        """A new, empty board. It takes no CPU, or it could take the last one, and lives on the driver's own node."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        counts: Any = ray.remote(ProgressCounts)
        return cls(counts.options(num_cpus=0, scheduling_strategy=here).remote())

    def tell(self, unit_id: str, done: UnitProgress) -> None:
        """Say how far a unit is; does not wait."""
        self.actor.tell.remote(unit_id, done)

    def tell_device(self, device: DeviceKind) -> None:
        """Say which device a worker uses; does not wait."""
        self.actor.tell_device.remote(device)

    def so_far(self) -> RunProgress:
        """What was told until now."""
        told: RunProgress = ray.get(self.actor.so_far.remote())
        return told


@contextmanager
def connected(*, debug: bool) -> Iterator[list[Node]]:
    """A Ray session: the one that is open already, else the cluster of RAY_ADDRESS, else one on this machine.

    Yields the cluster's nodes; a session that was opened here is closed again. Raises InfrastructureError.
    """
    opened = not ray.is_initialized()
    if opened:
        _open(debug=debug)
    try:
        yield [
            Node(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0))
            for node in ray.nodes()
            if node["Alive"]
        ]
    finally:
        if opened:
            ray.shutdown()


def _open(*, debug: bool) -> None:
    level = logging.INFO if debug else logging.ERROR
    try:
        with nullcontext() if debug else _quiet_backend():
            ray.init(include_dashboard=False, log_to_driver=debug, logging_level=level)
    except (ConnectionError, RuntimeError, ValueError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        remedy = "check RAY_ADDRESS and the cluster, then run it again"
        raise InfrastructureError("connecting to Ray", found, remedy) from error
    logging.getLogger("ray.data").setLevel(level)


@contextmanager
def _quiet_backend() -> Iterator[None]:
    """Ray's C++ log keeps off the terminal: it calls every actor pool an error, and announces its own level."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with Path(os.devnull).open("w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def session_settings() -> Iterator[None]:
    """What the stages rely on; a caller's own settings of the session come back afterwards."""
    context = DataContext.get_current().copy()
    context.target_max_block_size = TARGET_MAX_BLOCK_BYTES
    # A failed block is a lost unit: it must end the run, never be dropped.
    context.max_errored_blocks = 0
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    # A night may wait for its first spot GPU longer than any sensible time-out.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    with DataContext.current(context):
        yield


def shared(value: Shared) -> ray.ObjectRef[Shared]:
    """Put `value` into the object store: it travels once to a node, whatever the number of tasks and actors there."""
    return ray.put(value)


def own_error(error: BaseException, asked: str) -> AlbertInferError:
    """Our own error inside what Ray raised, else the failure to do what was `asked` as infrastructure."""
    for inner in _chain(error):
        if isinstance(inner, AlbertInferError) and type(inner).__module__.startswith("albert_infer."):
            return inner
    lines = str(error).strip().splitlines() or [""]
    found = f"{type(error).__name__}: {lines[-1].strip()[:300]}"
    return InfrastructureError(asked, found, "run it again and it goes on; --debug shows more")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; Ray keeps a worker's error in `cause`."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = getattr(inner, "cause", None) or inner.__cause__
