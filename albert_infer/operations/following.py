"""Follows a submitted job: copies its log, and waits for its end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from ray.job_submission import JobSubmissionClient

from albert_infer.common import logs
from albert_infer.common.printable import printed
from albert_infer.errors import InfrastructureError

POLL_SECONDS: Final = 1.0
# A lost tunnel or a restarted dashboard is back within this time; the job continues meanwhile.
UNREACHED_SECONDS: Final = 600.0


def follow(name: str, client: JobSubmissionClient, earlier_log: str) -> None:
    """Copy the log of the job `name` to stdout until the job has ended. Ctrl-C stops only the copying.

    The log begins with `earlier_log`, that of an earlier job of the same name, which is not copied. Raises
    InfrastructureError after Ctrl-C, and the errors of the client if the server is away for UNREACHED_SECONDS.
    """
    try:
        asyncio.run(_copy_log(name, client, earlier_log))
        _wait_for_end(name, client)
    except KeyboardInterrupt as error:
        raise interrupted(name, error) from error


def interrupted(name: str, error: KeyboardInterrupt) -> InfrastructureError:
    """The error after Ctrl-C or a signal during the following."""
    cause = " ".join(["interrupted", *error.args])
    remedy = f"follow it with `ray job logs --follow {name}`, or end it with `ray job stop {name}`"
    return InfrastructureError(f"following {name}", f"{cause}, and the job goes on", remedy)


def _wait_for_end(name: str, client: JobSubmissionClient) -> None:
    """Wait until the job has ended. The server may be away for UNREACHED_SECONDS: giving up would not stop the job."""
    answered = time.monotonic()
    while True:
        try:
            if client.get_job_status(name).is_terminal():
                return
            answered = time.monotonic()
        except (OSError, RuntimeError):  # the server is away, or its answer is not understood
            if time.monotonic() - answered > UNREACHED_SECONDS:
                raise
        time.sleep(POLL_SECONDS)


async def _copy_log(name: str, client: JobSubmissionClient, earlier_log: str) -> None:
    try:
        await write_log(client.tail_job_logs(name), earlier_log)
    except Exception as error:  # the log is only for people: the job's end is requested separately
        logs.warn("log_lost", f"no log of {name} ({type(error).__name__}); waiting for its end")


async def write_log(pieces: AsyncIterator[str], earlier_log: str = "") -> None:
    """Write a job's log to stdout as it arrives; control characters such as colours are escaped.

    The log also has lines of Ray and of other processes of the job. If it begins with `earlier_log`, only the rest is
    written.
    """
    arrived = ""
    async for piece in pieces:
        arrived += piece
        if len(arrived) < len(earlier_log) and earlier_log.startswith(arrived):
            continue  # it may still be the log of the earlier job
        sys.stdout.write(printed(arrived.removeprefix(earlier_log)))
        sys.stdout.flush()
        arrived, earlier_log = "", ""
