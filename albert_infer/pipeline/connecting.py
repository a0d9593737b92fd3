"""Opens and closes a Ray session: the one that is open, one on a cluster, or one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import ray
from ray._private import ray_constants

from albert_infer.common import logs
from albert_infer.pipeline.joining import Cluster, cluster_to_join, opening_error, wait_for_answer
from albert_infer.pipeline.resources import Node

# The resource of a node that names the kind of its GPUs begins with this.
CARD_KIND: Final = "accelerator_type:"


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
