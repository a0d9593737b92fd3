"""Turns the signals that end a job, SIGTERM and SIGHUP, into a KeyboardInterrupt in the main thread, like Ctrl-C."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from albert_infer.errors import InfrastructureError

# SIGHUP is sent when a terminal or an SSH connection closes.
ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
# A service manager may send both signals at once. The second one must not interrupt the clean-up after the first.
ONE_ENDING_SECONDS: Final = 1.0
# The remedy for a job that has nothing to resume.
RUN_AGAIN: Final = "run the same command again"


class Ending:
    """A signal handler that ends the job. `signal` is the signal that ended it, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._ignores_until = 0.0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt. Ray, asyncio and thread pools stop their work for it."""
        now = time.monotonic()
        if now < self._ignores_until:
            return
        self.signal, self._ignores_until = signal.Signals(number), now + ONE_ENDING_SECONDS
        raise KeyboardInterrupt(f"by {self.signal.name}")

    def ignore_signals(self) -> None:
        """Ignore signals from now on, so that none interrupts the last lines of the job."""
        self._ignores_until = math.inf


@contextmanager
def ending_as_interrupt() -> Iterator[Ending]:
    """Interrupt the block if one of the signals arrives. Signals that the process ignores stay ignored (`nohup`)."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in the main thread only
        yield ending
        return
    before = {each: signal.getsignal(each) for each in ENDING}
    replaced = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}
    for each in replaced:
        signal.signal(each, ending)
    try:
        yield ending
    finally:
        for each, handler in replaced.items():
            # None: the handler was not set from Python, and Python cannot set it again.
            if handler is not None:
                signal.signal(each, handler)


def interruption(asked: str, by_signal: signal.Signals | None, remedy: str = RUN_AGAIN) -> InfrastructureError:
    """The error of a job that a signal or Ctrl-C ended. `remedy` says what is left, and how to resume."""
    cause = f"ended from outside by {by_signal.name}" if by_signal else "interrupted"
    return InfrastructureError(asked, cause, remedy)


@contextmanager
def starting(script: str) -> Iterator[None]:
    """Handle Ctrl-C and signals during the imports of a job script, which take seconds, like during the job."""
    started_at, program = time.monotonic(), Path(script).name
    with ending_as_interrupt() as ending:
        try:
            yield
        except KeyboardInterrupt:
            ending.ignore_signals()
            error = interruption("the job", ending.signal)
            sys.stderr.write(f"{program}: {error}\n")
            facts = {"program": program, "exit_code": error.exit_code, "error": str(error)}
            if not sys.stdout.isatty():
                seconds = round(time.monotonic() - started_at, 1)
                sys.stdout.write(f"summary {json.dumps({**facts, 'seconds': seconds})}\n")
            sys.exit(error.exit_code)
