"""Signals that ask a job to end, SIGTERM and SIGHUP, made what Ctrl-C is: a KeyboardInterrupt in the main thread."""

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

# SIGHUP comes when a terminal or an SSH connection closes.
ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
# A service manager sends both of them, at once: the second must not cut short what the first began.
ONE_ENDING_SECONDS: Final = 1.0
# What to do where nothing was begun.
RUN_AGAIN: Final = "run the same command again"


class Ending:
    """Which signal asked for the end; None if none has."""

    def __init__(self) -> None:
        self.asked_by: signal.Signals | None = None
        self._deaf_until = 0.0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt: Ray, asyncio and thread pools know it, and end what they do."""
        now = time.monotonic()
        if now < self._deaf_until:
            return
        self.asked_by, self._deaf_until = signal.Signals(number), now + ONE_ENDING_SECONDS
        raise KeyboardInterrupt(f"by {self.asked_by.name}")

    def is_near(self) -> None:
        """From now on no signal interrupts: what is left is to say how it ended."""
        self._deaf_until = math.inf


@contextmanager
def ending_as_interrupt() -> Iterator[Ending]:
    """Interrupt the block where one of the signals comes. One that the process ignores, as below `nohup`, stays so."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
        yield ending
        return
    before = {each: signal.getsignal(each) for each in ENDING}
    taken = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}
    for each in taken:
        signal.signal(each, ending)
    try:
        yield ending
    finally:
        for each, handler in taken.items():
            # None: it was not set from Python, and cannot be set from there.
            if handler is not None:
                signal.signal(each, handler)


def interruption(asked: str, asked_by: signal.Signals | None, kept: str = RUN_AGAIN) -> InfrastructureError:
    """The error of what Ctrl-C ended, or one of the signals; `kept` says what is left and how to go on."""
    found = f"ended from outside by {asked_by.name}" if asked_by else "interrupted"
    return InfrastructureError(asked, found, kept)


@contextmanager
def starting(script: str) -> Iterator[None]:
    """Where a job script imports its parts, which takes seconds: Ctrl-C or a signal ends it there as it does later."""
    begun, program = time.monotonic(), Path(script).name
    with ending_as_interrupt() as ending:
        try:
            yield
        except KeyboardInterrupt:
            ending.is_near()
            error = interruption("the job", ending.asked_by)
            sys.stderr.write(f"{program}: {error}\n")
            facts = {"program": program, "exit_code": error.exit_code, "error": str(error)}
            if not sys.stdout.isatty():
                sys.stdout.write(f"summary {json.dumps({**facts, 'seconds': round(time.monotonic() - begun, 1)})}\n")
            sys.exit(error.exit_code)
