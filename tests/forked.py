"""Programs that start in milliseconds: forked from a process that has imported what they import.

A forked program has a session, an environment and an output of its own, and a kill ends it alone. It ends without
Python's handlers for an exit. Tests of a start or of an exit run the command.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, Final

import pytest
import ray
from job_runs import PATIENCE_SECONDS, PROGRAM_PATH, Outcome, kill_family
from ray._raylet import Config  # type: ignore[attr-defined]

TESTS: Final = Path(__file__).parent
PATH: Final = f"{PROGRAM_PATH}:{TESTS}"
# This module, with what it imports, and what jobs import while they run.
IMPORTED: Final = ("forked", "label_nightly", "ray.data", "pandas", "pyarrow.dataset", "albert_infer.engine.cpu.fused")

# Held while the server starts. Meanwhile this process has the environment of the server.
STARTING: Final = threading.Lock()

# The `main` of a job.
Main = Callable[[Sequence[str]], int]


class Forked:
    """A forked program, with the methods of `subprocess.Popen` that the tests use. Its output is in `folder`."""

    def __init__(self, process: ForkServerProcess, folder: Path) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process
        self._folder = folder

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it wrote to stdout and stderr."""
        self.wait(timeout)
        return (self._folder / "stdout").read_text("utf-8"), (self._folder / "stderr").read_text("utf-8")

    def outcome(self, timeout: float = PATIENCE_SECONDS) -> Outcome:
        """Wait for its end; how it ended."""
        return Outcome(self.wait(timeout), *self.communicate())

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


@contextmanager
def forked(main: Main, *argv: object, env: Mapping[str, str] | None = None) -> Iterator[Forked]:
    """Start `main` in a session of its own; whatever is left of it in the end is killed."""
    # For tests/conftest.py, which asks for the mark of a test that starts Python.
    sys.audit("subprocess.Popen", sys.executable)
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        # `local`: a cluster that happens to run on this machine is none of the test's business.
        environment = {**os.environ, "RAY_ADDRESS": "local", **(env or {})}
        process = server.Process(target=_program, args=(main, [str(word) for word in argv], environment, folder))
        process.start()
        program = Forked(process, Path(folder))
        try:
            yield program
        finally:
            kill_family(program.pid)
            program.wait()


def run_forked(main: Main, *argv: object, env: Mapping[str, str] | None = None) -> Outcome:
    """Run `main` to its end; one that hangs fails the test."""
    with forked(main, *argv, env=env) as program:
        return program.outcome()


def run_probe(probe: Callable[..., object], *arguments: object, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Call a function that brings a Ray of its own in a forked program; what it returns, as JSON has it."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        # Workers import what they get from the module of the probe.
        environment = {"PYTHONPATH": PATH, **(env or {})}
        outcome = run_forked(partial(_answered, answer, probe, arguments), env=environment)
        assert outcome.exit_code == 0, outcome.stderr
        told: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return told


def _answered(answer: Path, probe: Callable[..., object], arguments: Sequence[object], _argv: Sequence[str]) -> int:
    try:
        answer.write_text(json.dumps(probe(*arguments)), "utf-8")
    finally:
        ray.shutdown()
    return 0


def _server() -> ForkServerContext:
    """The process that forks them; it ends with this one."""
    with STARTING:
        return _started_server()


@cache
def _started_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    with pytest.MonkeyPatch.context() as environment:
        # The server looks nowhere else: Python 3.11 does not give it this process's `sys.path`.
        environment.setenv("PYTHONPATH", PATH)
        forkserver.ensure_running()
    return context


def _program(main: Main, argv: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    """Run `main` as a program that was started with this environment, and whose output goes to files in `folder`."""
    os.setsid()
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        with Path(folder, name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    # The server ignores what its shell ignores.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    # Ray read the server's environment when it was imported. It has no public way to read another one.
    Config.initialize("")
    sys.exit(main(argv))
