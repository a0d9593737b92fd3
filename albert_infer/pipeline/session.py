"""The settings of Ray Data around the stages, the CPUs that they reserve, and the translation of errors."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from albert_infer.common.printable import one_line
from albert_infer.errors import AlbertInferError, InfrastructureError
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.unit import MAX_PREPARED_BYTES
from albert_infer.schema import DeviceKind

Shared = TypeVar("Shared")

# The logical memory of a read task, in bytes. It limits the number of read tasks at a time. Classify actors reserve no
# memory, so Ray does not fuse reading into them, where reading would delay the device.
READ_TASK_MEMORY: Final = 256 << 20

# The text that Ray Data adds to the message of an error that ends a task.
RETRY_ADVICE: Final = re.compile(r"(?:\\n|[\s:'])*Failed to [\w ]+ after \d+/\d+ attempts.*", re.DOTALL)


@contextmanager
def session_settings() -> Iterator[None]:
    """The settings of Ray Data that the stages need. The caller's settings are restored after the block."""
    # Imported here, because Ray Data takes a second to load, and the checks do not need it.
    from ray.data import DataContext

    _quiet_as_the_session()
    context = DataContext.get_current().copy()
    # No prepared unit is larger, so Ray never splits a block. The commit checks this again.
    context.target_max_block_size = MAX_PREPARED_BYTES
    # A failed block is a lost unit. It must end the run, so Ray must not drop it.
    context.max_errored_blocks = 0
    # Without this, Ray raises its own error, and the exit code of the original error is lost.
    context.raise_original_map_exception = True
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    # The wait for a first spot GPU may be longer than any sensible time-out.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    with DataContext.current(context):
        yield


def _quiet_as_the_session() -> None:
    """Give Ray Data's log the level of Ray's log. Ray Data sets its own level when it is imported."""
    level = logging.getLogger("ray").getEffectiveLevel()
    data_log = logging.getLogger("ray.data")
    data_log.setLevel(level)
    if level >= logging.ERROR:
        # The job logs the error of a task in one line. Ray's two hundred lines stay in its log file.
        for terminal in (handler for handler in data_log.handlers if isinstance(handler, logging.StreamHandler)):
            terminal.setLevel(logging.CRITICAL)


@contextmanager
def reserved(workers: WorkerResources) -> Iterator[Mapping[str, object]]:
    """Reserve CPUs for a run's actors and its reading on a cluster of one machine. Waits until all are free.

    Yields the scheduling argument of Ray for tasks and actors. Without a reservation, the actors of two runs could take
    all CPUs, and both runs would wait for a CPU to read, forever. Reserves nothing on several machines, because a lost
    machine's part of the reservation may fit nowhere. Reserves nothing for GPU actors, which use no CPU, and for a pool
    that may grow.
    """
    machines = sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in ray.nodes())
    fixed = workers.num_cpus and workers.min_workers == workers.max_workers
    if workers.device is not DeviceKind.CPU or not fixed or machines > 1:
        yield {}
        return
    # Each bundle has memory, so a read task fits into any bundle that has no actor.
    cpus = [1, *[workers.num_cpus] * workers.min_workers]
    group = placement_group([{"CPU": count, "memory": READ_TASK_MEMORY} for count in cpus])
    try:
        ray.get(group.ready())
        # Ray 2.60 deprecates this argument, and 2.64 drops it. `DataContext.scheduling_strategy` is deprecated too, and
        # with it Ray Data finds no room in the object store, so it runs only one unit at a time.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RayDeprecationWarning)
            yield {"scheduling_strategy": PlacementGroupSchedulingStrategy(group)}
    finally:
        remove_placement_group(group)


def shared(value: Shared) -> ray.ObjectRef[Shared]:
    """Put `value` into the object store. Ray copies it to each node once, for all tasks and actors there."""
    return ray.put(value)


def stage_error(error: BaseException, asked: str) -> AlbertInferError:
    """The package's own error inside an error of Ray, else an InfrastructureError about `asked`."""
    root, reason = error, ""
    for inner in _chain(error):
        if isinstance(inner, AlbertInferError) and type(inner).__module__.startswith("albert_infer."):
            return inner
        # The innermost error with a message has the reason. The errors around it are Ray's.
        if message := RETRY_ADVICE.sub("", str(inner)).strip():
            root, reason = inner, message
    if isinstance(root, RayError):
        # The reason is the last line. A worker's traceback may be before it.
        reason = reason.rpartition("\n")[2]
    summary = f"{type(root).__name__}: {one_line(reason)[:300]}"
    return InfrastructureError(asked, summary, "run it again, and it resumes; --debug shows more")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then its causes. Ray has a worker's error in the attribute `cause`."""
    visited: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in visited:
        visited.add(id(inner))
        yield inner
        inner = getattr(inner, "cause", None) or inner.__cause__
