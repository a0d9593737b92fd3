"""The Ray session around the stages: connecting, settings, and telling errors."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

import ray
from ray._private import ray_constants
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from albert_infer.common import logs
from albert_infer.common.printable import one_line
from albert_infer.errors import AlbertInferError, InfrastructureError
from albert_infer.pipeline.joining import Cluster, cluster_to_join, opening_error, wait_for_answer
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.unit import MAX_PREPARED_BYTES
from albert_infer.schema import DeviceKind

Shared = TypeVar("Shared")

# Logical bytes a read task asks for. They bound how many run at once by memory; and because the classify actors ask
# for none, Ray does not fuse reading into them, where it would hold up the device.
READ_TASK_MEMORY: Final = 256 << 20

# What Ray Data writes behind the message of any error that ends a task, or as one of its arguments.
RETRY_ADVICE: Final = re.compile(r"(?:\\n|[\s:'])*Failed to [\w ]+ after \d+/\d+ attempts.*", re.DOTALL)


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
    cluster = cluster_to_join()
    if cluster is not None:
        wait_for_answer(cluster)
    logs.tell("starting", "starting Ray on this machine" if cluster is None else f"joining {cluster}", {})
    # Not set here: how often gRPC asks whether the other side still answers. It is for all processes of a cluster or
    # none, so deploy/Dockerfile sets it. A driver that asks more often than its cluster does is cut off by every worker
    # ("too_many_pings"), and Ray takes each of them for dead.
    try:
        with nullcontext() if debug else _quiet_backend(), own_signals(), _own_environment(cluster):
            ray.init(include_dashboard=False, log_to_driver=debug, logging_level=level)
    except Exception as error:  # of a time-out it raises the bare class
        raise opening_error(error, cluster) from error


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
def own_signals() -> Iterator[None]:
    """Keep this process's handlers where Ray sets some that exit, with code 15 behind a C++ stack, or with 0."""
    handlers: dict[Any, Any] = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except SystemExit as error:  # one of Ray's was called while it stood, with the signal's number or 0
        handler = handlers.get(error.code)
        if callable(handler):
            handler(error.code, None)  # which knows afterwards that the signal came
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for each, handler in handlers.items():
                # None: it was not set from Python, and cannot be set from there.
                if handler is not None:
                    signal.signal(each, handler)


@contextmanager
def _own_environment(cluster: Cluster | None) -> Iterator[None]:
    """Let workers on this machine run in this process's environment, below `uv run` too.

    There Ray would ship the working folder, whatever it is, and have uv make an environment for every worker. On
    machines that are joined that may be what brings the package.
    """
    before = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    # Read from the environment when Ray is imported, which may have happened long ago.
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before and cluster is not None
    try:
        yield
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before


@contextmanager
def session_settings() -> Iterator[None]:
    """What the stages rely on; a caller's own settings of the session come back afterwards."""
    # Imported here, because it takes a second to load, which the start of a run spends on its checks.
    from ray.data import DataContext

    _quiet_as_the_session()
    context = DataContext.get_current().copy()
    # A prepared unit is no larger, so Ray never splits a block; the commit checks it all the same.
    context.target_max_block_size = MAX_PREPARED_BYTES
    # A failed block is a lost unit: it must end the run, never be dropped.
    context.max_errored_blocks = 0
    # Ray's own in its place says nothing of it, and our exit code would be lost.
    context.raise_original_map_exception = True
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    # A night may wait for its first spot GPU longer than any sensible time-out.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    with DataContext.current(context):
        yield


def _quiet_as_the_session() -> None:
    """Ray Data's log says as much as Ray's own: it sets its level when it is imported."""
    level = logging.getLogger("ray").getEffectiveLevel()
    data_log = logging.getLogger("ray.data")
    data_log.setLevel(level)
    if level >= logging.ERROR:
        # What a task raised is told in our own line. Ray's account of it, two hundred lines, stays in its log file.
        for terminal in (handler for handler in data_log.handlers if isinstance(handler, logging.StreamHandler)):
            terminal.setLevel(logging.CRITICAL)


@contextmanager
def reserved(workers: WorkerResources) -> Iterator[Mapping[str, object]]:
    """On a cluster of one machine, CPUs for a run's actors and its reading that are its alone: all, or this waits.

    Yields the argument of Ray's that makes tasks and actors use them. Two runs that took CPU after CPU there could each
    hold some with their actors and leave none for reading: both would stand for ever. Not on several machines, where
    a lost one would leave its part of the reservation without a place; not for GPU actors, which take no CPU, nor for
    a pool that may grow.
    """
    machines = sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in ray.nodes())
    fixed = workers.num_cpus and workers.min_workers == workers.max_workers
    if workers.device is not DeviceKind.CPU or not fixed or machines > 1:
        yield {}
        return
    # Memory in each, so that whichever bundle the actors leave free is one to read in.
    cpus = [1, *[workers.num_cpus] * workers.min_workers]
    group = placement_group([{"CPU": count, "memory": READ_TASK_MEMORY} for count in cpus])
    try:
        ray.get(group.ready())
        # Deprecated as an argument in Ray 2.60, gone in 2.64. `DataContext.scheduling_strategy`, deprecated too, makes
        # Ray Data believe that the object store has no room, and so work unit after unit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RayDeprecationWarning)
            yield {"scheduling_strategy": PlacementGroupSchedulingStrategy(group)}
    finally:
        remove_placement_group(group)


def shared(value: Shared) -> ray.ObjectRef[Shared]:
    """Put `value` into the object store: it travels once to a node, whatever the number of tasks and actors there."""
    return ray.put(value)


def stage_error(error: BaseException, asked: str) -> AlbertInferError:
    """Our own error inside what Ray raised, else the failure to do what was `asked` as infrastructure."""
    root, reason = error, ""
    for inner in _chain(error):
        if isinstance(inner, AlbertInferError) and type(inner).__module__.startswith("albert_infer."):
            return inner
        # The innermost that says anything says what happened; those around it are Ray's.
        if told := RETRY_ADVICE.sub("", str(inner)).strip():
            root, reason = inner, told
    if isinstance(root, RayError):
        # It ends in what happened; a worker's whole traceback may stand before.
        reason = reason.rpartition("\n")[2]
    found = f"{type(root).__name__}: {one_line(reason)[:300]}"
    return InfrastructureError(asked, found, "run it again and it goes on; --debug shows more")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; Ray keeps a worker's error in `cause`."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = getattr(inner, "cause", None) or inner.__cause__
