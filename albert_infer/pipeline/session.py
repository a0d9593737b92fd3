"""The settings of Ray Data around the stages, and the CPUs that they reserve."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import ray
from ray.util.annotations import RayDeprecationWarning
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.unit import MAX_PREPARED_BYTES
from albert_infer.schema import DeviceKind

Shared = TypeVar("Shared")

# The logical memory of a read task, in bytes. It limits the number of read tasks at a time. Classify actors reserve no
# memory, so Ray does not fuse reading into them, where reading would delay the device.
READ_TASK_MEMORY: Final = 256 << 20


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
