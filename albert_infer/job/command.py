"""Runs any job: parses argv, does the work, prints a report and a summary line on stdout, and returns an exit code.

The summary line is for schedulers. A terminal gets it only with `--log-format json`, because the report has the same
facts.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from signal import Signals
from typing import Generic

from pydantic import BaseModel

from albert_infer.common import logs
from albert_infer.common.logs import LogFormat
from albert_infer.common.printable import PrintableText, one_line
from albert_infer.config import Settings, parse_settings, requested_log_format
from albert_infer.errors import AlbertInferError, InfrastructureError
from albert_infer.job.signals import RUN_AGAIN, Ending, ending_as_interrupt, interruption
from albert_infer.job.streams import unfailing_streams


@dataclass(frozen=True)
class Done:
    """The result of a job: a text for a person, and the facts of the summary line."""

    text: PrintableText
    facts: Mapping[str, object] = field(default_factory=dict)
    # For a text that programs read: no summary line follows it.
    is_data: bool = False


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """A job: its settings, its work, and its help. Several programs may start it.

    `{call}` in the help is replaced by the command that starts the job. `given` are flags that the job always sets.
    """

    settings: type[Settings]
    work: Callable[[Settings], PrintableText | Done]
    about: str
    given: tuple[str, ...] = ()

    def run(self, argv: Sequence[str] | None, *, program: str, call: str) -> int:
        """Run the job with `argv`, and return its exit code. Messages name `program`, and the help shows `call`."""
        words = [*self.given, *(sys.argv[1:] if argv is None else argv)]
        return run_command(self.settings, self.work, words, program=program, about=self.about.replace("{call}", call))


def run_command(
    settings_type: type[Settings],
    work: Callable[[Settings], PrintableText | Done],
    argv: Sequence[str] | None,
    *,
    program: str,
    about: str,
) -> int:
    """Parse `argv` (None: the process's own), do the work, print its text, and return the exit code.

    An error is one line on stderr, with a traceback if `--debug` is set. SIGTERM and SIGHUP end the job like Ctrl-C.
    The last line on stdout is `summary` and a JSON object, after success and failure. This line is not printed for
    `--help`, and not on a terminal without `--log-format json`. A failed write to stdout or stderr is no failure.
    """
    job = _Job(program, about, sys.argv[1:] if argv is None else argv)
    with unfailing_streams(), ending_as_interrupt() as ending:
        return _ended(job, settings_type, work, ending)


@dataclass(frozen=True)
class _Job:
    """The call of a job. `started_at` is on the monotonic clock."""

    program: str
    about: str
    argv: Sequence[str]
    started_at: float = field(default_factory=time.monotonic)


def _ended(
    job: _Job, settings_type: type[Settings], work: Callable[[Settings], PrintableText | Done], ending: Ending
) -> int:
    """Do the work, report its result or its error, and return the exit code."""
    settings: Settings | None = None
    facts: Mapping[str, object]
    try:
        settings = parse_settings(settings_type, job.argv, program=job.program, about=job.about)
        if settings is None:
            return 0
        with logs.lines_on_stderr(_log_format(settings, job.argv)):
            done = work(settings)
        ending.ignore_signals()
        done = done if isinstance(done, Done) else Done(done)
        sys.stdout.write(f"{done.text}\n")
        if done.is_data:
            return 0
        code, facts = 0, done.facts
    except (Exception, KeyboardInterrupt) as raised:
        ending.ignore_signals()
        error = job_error(raised, "the job", ending.signal, remedy=_interrupt_remedy(settings, raised))
        with logs.lines_on_stderr(_log_format(settings, job.argv)):
            line = _log_error(error, job.program, debug=_debug(settings, job.argv))
        code, facts = error.exit_code, {"error": line}
    seconds = round(time.monotonic() - job.started_at, 1)
    summary = {"program": job.program, "exit_code": code, **facts, "seconds": seconds}
    _write_summary(summary, _log_format(settings, job.argv))
    return code


def refuse(error: AlbertInferError, program: str) -> int:
    """Report an error before any job started, in the two lines of a failed job, and return the exit code."""
    with unfailing_streams():
        with logs.lines_on_stderr("text"):
            line = _log_error(error, program, debug=False)
        _write_summary({"program": program, "exit_code": error.exit_code, "error": line, "seconds": 0.0}, "text")
    return error.exit_code


def job_error(
    raised: BaseException, asked: str, signal: Signals | None = None, *, remedy: str = RUN_AGAIN
) -> AlbertInferError:
    """Any exception as an error of the job, with the same traceback.

    `signal` is the signal that ended the job. `remedy` says what an interrupted job left, and how to resume.
    """
    if isinstance(raised, AlbertInferError):
        return raised
    if isinstance(raised, KeyboardInterrupt):
        error = interruption(asked, signal, remedy)
    else:  # an unexpected exception becomes one line, without a traceback
        reason = f"{type(raised).__name__}: {one_line(raised)[:300]}"
        error = InfrastructureError(
            asked, reason, "run it again; if the error stays, run it with --debug and report it"
        )
    return error.with_traceback(raised.__traceback__)


def _interrupt_remedy(settings: BaseModel | None, raised: BaseException) -> str:
    """What an interrupted job left, and how to resume: from the notes of the exception, else from the settings."""
    notes: list[str] = getattr(raised, "__notes__", [])
    return "; ".join([*notes, RUN_AGAIN]) if notes else getattr(settings, "after_interrupt", RUN_AGAIN)


def _debug(settings: BaseModel | None, argv: Sequence[str]) -> bool:
    """Whether to print tracebacks. Without valid settings, only the flag counts."""
    return bool(getattr(settings, "debug", "--debug" in argv))


def _log_format(settings: BaseModel | None, argv: Sequence[str]) -> LogFormat:
    """The log format of the settings. Without valid settings, that of the flag or the environment."""
    log_format: LogFormat = getattr(settings, "log_format", None) or requested_log_format(argv)
    return log_format


def _log_error(error: AlbertInferError, program: str, *, debug: bool) -> str:
    """Log the error that ended the job. Returns the line without the program."""
    line = one_line(error)
    facts = {"exit_code": error.exit_code, "kind": type(error).__name__}
    logs.log("failed", f"{program}: {line}", facts, level=logging.ERROR, error=error if debug else None)
    return line


def _write_summary(facts: Mapping[str, object], log_format: LogFormat) -> None:
    """Write the summary line for schedulers, the last line on stdout. A terminal gets it only with JSON logs."""
    if sys.stdout.isatty() and log_format != "json":
        return
    sys.stderr.flush()
    sys.stdout.write(f"summary {json.dumps(facts)}\n")
    sys.stdout.flush()
