"""The Ray session around the stages: the connection, the settings of Ray Data, and the translation of errors."""

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

# The logical memory of a read task, in bytes. It limits the number of read tasks at a time. Classify actors reserve no
# memory, so Ray does not fuse reading into them, where reading would delay the device.
READ_TASK_MEMORY: Final = 256 << 20

# The resource of a node that names the kind of its GPUs begins with this.
CARD_KIND: Final = "accelerator_type:"
# The text that Ray Data adds to the message of an error that ends a task.
RETRY_ADVICE: Final = re.compile(r"(?:\\n|[\s:'])*Failed to [\w ]+ after \d+/\d+ attempts.*", re.DOTALL)


@contextmanager
def connected(*, debug: bool) -> Iterator[list[Node]]:
    """A Ray session: the open one, else one on the cluster of RAY_ADDRESS, else one on this machine.

    Yields the nodes of the cluster. Closes the session if it was opened here. Raises InfrastructureError.
    """
    opened = not ray.is_initialized()
    if opened:
        _open(debug=debug)
    try:
        yield [_node(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        if opened:
            ray.shutdown()


def _node(resources: Mapping[str, float]) -> Node:
    kinds = (name.removeprefix(CARD_KIND) for name in resources if name.startswith(CARD_KIND))
    gpus = resources.get("GPU", 0)
    return Node(resources.get("CPU", 0), gpus, frozenset(kinds) if gpus else frozenset())


def _open(*, debug: bool) -> None:
    level = logging.INFO if debug else logging.ERROR
    cluster = cluster_to_join()
    if cluster is not None:
        wait_for_answer(cluster)
    logs.log("starting", "starting Ray on this machine" if cluster is None else f"joining {cluster}", {})
    # The interval of gRPC's keepalive pings is not set here, because it must be the same in all processes of a cluster:
    # deploy/Dockerfile sets it. Workers close the connection of a driver that pings more often than its cluster
    # ("too_many_pings"), and Ray then treats these workers as dead.
    try:
        with nullcontext() if debug else _quiet_backend(), own_signals(), _own_environment(cluster):
            ray.init(include_dashboard=False, log_to_driver=debug, logging_level=level)
    except Exception as error:  # a time-out raises the class `Exception` itself
        raise opening_error(error, cluster) from error


@contextmanager
def _quiet_backend() -> Iterator[None]:
    """Hide Ray's C++ log from the terminal: it logs every actor pool as an error, and logs its own level."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with Path(os.devnull).open("w") as devnull:
        stderr_copy = os.dup(2)
        os.dup2(devnull.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)


@contextmanager
def own_signals() -> Iterator[None]:
    """Restore this process's signal handlers after the block. Ray's handlers exit with 15 and a C++ stack, or 0."""
    handlers: dict[Any, Any] = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except SystemExit as error:  # raised by a handler of Ray, with the signal's number or 0
        handler = handlers.get(error.code)
        if callable(handler):
            handler(error.code, None)  # so that our handler records the signal
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for each, handler in handlers.items():
                # None: the handler was not set from Python, and Python cannot set it again.
                if handler is not None:
                    signal.signal(each, handler)


@contextmanager
def _own_environment(cluster: Cluster | None) -> Iterator[None]:
    """Run workers on this machine in this process's environment, also under `uv run`.

    Under `uv run`, Ray would upload the working folder, and uv would make an environment for each worker. For a cluster
    that is joined, nothing changes, because workers may get the package in this way.
    """
    before = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    # Ray reads the environment variable at its import, which may be long ago. So its constant is changed.
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before and cluster is not None
    try:
        yield
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before


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
