"""What every job calls: argv to settings, the work, a report and a summary line on stdout, an exit code.

The summary line is for schedulers. A terminal shows it only with `--log-format json`: a person has read it all above.
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
    """What a job has to say once it is done: a text for a person, and the facts of its summary line."""

    text: PrintableText
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """A job, whichever program starts it: its settings, its work, and its help.

    In the help `{call}` stands for the words that start it. `given` are flags that the job gives itself.
    """

    settings: type[Settings]
    work: Callable[[Settings], PrintableText | Done]
    about: str
    given: tuple[str, ...] = ()

    def run(self, argv: Sequence[str] | None, *, program: str, call: str) -> int:
        """Do the job with `argv` as `run_command` does. Messages name `program`, and the help shows `call`."""
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
    """Parse `argv` (None: the process's own), do the work, print the text that it returns; the exit code.

    An end that the operator must hear about is one line on stderr; with `--debug` a traceback too. SIGTERM and SIGHUP
    end the job as Ctrl-C does. The last line on stdout, whatever the end, is `summary` and a JSON object; it is left
    out if only help was asked for, and on a terminal that is not shown JSON. What the streams cannot take or encode is
    lost or escaped, and no failure.
    """
    job = _Job(program, about, sys.argv[1:] if argv is None else argv)
    with unfailing_streams(), ending_as_interrupt() as ending:
        return _ended(job, settings_type, work, ending)


@dataclass(frozen=True)
class _Job:
    """How a job is called, and when it began on the monotonic clock."""

    program: str
    about: str
    argv: Sequence[str]
    begun: float = field(default_factory=time.monotonic)


def _ended(
    job: _Job, settings_type: type[Settings], work: Callable[[Settings], PrintableText | Done], ending: Ending
) -> int:
    """Do the work, and tell how it ended; the exit code."""
    settings: Settings | None = None
    facts: Mapping[str, object]
    try:
        settings = parse_settings(settings_type, job.argv, program=job.program, about=job.about)
        if settings is None:
            return 0
        with logs.lines_on_stderr(_log_format(settings, job.argv)):
            done = work(settings)
        ending.is_near()
        done = done if isinstance(done, Done) else Done(done)
        sys.stdout.write(f"{done.text}\n")
        code, facts = 0, done.facts
    except (Exception, KeyboardInterrupt) as raised:
        ending.is_near()
        error = job_error(raised, "the job", ending.asked_by, kept=_kept(settings, raised))
        with logs.lines_on_stderr(_log_format(settings, job.argv)):
            line = _tell(error, job.program, debug=_debug(settings, job.argv))
        code, facts = error.exit_code, {"error": line}
    seconds = round(time.monotonic() - job.begun, 1)
    summary = {"program": job.program, "exit_code": code, **facts, "seconds": seconds}
    _sum_up(summary, _log_format(settings, job.argv))
    return code


def refuse(error: AlbertInferError, program: str) -> int:
    """Tell why no job was started, in the two lines of a job that was refused; the exit code."""
    with unfailing_streams():
        with logs.lines_on_stderr("text"):
            line = _tell(error, program, debug=False)
        _sum_up({"program": program, "exit_code": error.exit_code, "error": line, "seconds": 0.0}, "text")
    return error.exit_code


def job_error(
    raised: BaseException, asked: str, asked_by: Signals | None = None, *, kept: str = RUN_AGAIN
) -> AlbertInferError:
    """What a job ends with, of whatever was raised, with its traceback.

    `asked_by` is the signal that ended it, `kept` what is left of an interrupted job and how to go on.
    """
    if isinstance(raised, AlbertInferError):
        return raised
    if isinstance(raised, KeyboardInterrupt):
        error = interruption(asked, asked_by, kept)
    else:  # the last line of defence: nobody sees a traceback for what they can mend
        found = f"{type(raised).__name__}: {one_line(raised)[:300]}"
        error = InfrastructureError(asked, found, "run it again; if it stays, run it with --debug and report it")
    return error.with_traceback(raised.__traceback__)


def _kept(settings: BaseModel | None, raised: BaseException) -> str:
    """What is left of an interrupted job and how to go on: what was counted when it ended, else the job's rule."""
    counted: list[str] = getattr(raised, "__notes__", [])
    return "; ".join([*counted, RUN_AGAIN]) if counted else getattr(settings, "after_interrupt", RUN_AGAIN)


def _debug(settings: BaseModel | None, argv: Sequence[str]) -> bool:
    """Whether tracebacks were asked for, wherever the settings came from; of refused ones only the flag is known."""
    return bool(getattr(settings, "debug", "--debug" in argv))


def _log_format(settings: BaseModel | None, argv: Sequence[str]) -> LogFormat:
    """The format that was asked for; of refused settings what flag or environment say."""
    log_format: LogFormat = getattr(settings, "log_format", None) or requested_log_format(argv)
    return log_format


def _tell(error: AlbertInferError, program: str, *, debug: bool) -> str:
    """Tell how the job ended; the line without the program."""
    line = one_line(error)
    found = {"exit_code": error.exit_code, "kind": type(error).__name__}
    logs.log("failed", f"{program}: {line}", found, level=logging.ERROR, error=error if debug else None)
    return line


def _sum_up(facts: Mapping[str, object], log_format: LogFormat) -> None:
    """The line that a scheduler looks for: the last one on stdout. A terminal has it only in JSON."""
    if sys.stdout.isatty() and log_format != "json":
        return
    sys.stderr.flush()
    sys.stdout.write(f"summary {json.dumps(facts)}\n")
    sys.stdout.flush()
