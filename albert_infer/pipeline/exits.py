"""Ends a worker process that hangs at its exit. It would keep its GPU memory."""

from __future__ import annotations

import atexit
import signal
from functools import cache
from typing import Final

EXIT_SECONDS: Final = 30.0


@cache
def limit_exit(seconds: float = EXIT_SECONDS) -> None:
    """Have the kernel end this process if it is still there `seconds` after Python has begun to exit.

    Ray asks a worker to exit, and the worker disconnects first, so Ray does not see when its process stays. With Ray
    2.60 one stayed: its stack shows `CoreWorkerProcess::HandleAtExit`, in which `~Publisher` waits for a mutex forever.
    SIGALRM ends a process that has no handler for it.
    """
    atexit.register(signal.setitimer, signal.ITIMER_REAL, seconds)
