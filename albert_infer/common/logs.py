"""The lines of a job's log, on stderr: text for a person, or one JSON object each for a log store.

Lines go through the standard library's `logging`, so that whoever calls the package decides what becomes of them; the
two formats are its formatters. Knows nothing of what the lines say.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

from albert_infer.common.printable import printable, printed

LogFormat = Literal["text", "json"]

LOG: Final = logging.getLogger("albert_infer")


def log(event: str, text: str, facts: Mapping[str, object], *, level: int = logging.INFO, error: Any = None) -> None:
    """One line: `text` for a person; for a log store the name of the event and its facts beside it.

    Of an `error`, an exception, the traceback is told too.
    """
    LOG.log(level, "%s", text, exc_info=error, extra={"event": event, "facts": facts})


def warn(event: str, text: str) -> None:
    """Say what a person should know while the run goes on."""
    log(event, text, {}, level=logging.WARNING)


@contextmanager
def lines_on_stderr(log_format: LogFormat) -> Iterator[None]:
    """Write the lines to stderr while the block goes on, and nowhere else."""
    lines = _StderrLines()
    lines.setFormatter(JsonLines() if log_format == "json" else TextLines())
    level, propagate = LOG.level, LOG.propagate
    LOG.addHandler(lines)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.removeHandler(lines)
        LOG.setLevel(level)
        LOG.propagate = propagate


def for_a_terminal() -> bool:
    """Whether a line may move: stderr is a terminal, and not one that is shown JSON."""
    return sys.stderr.isatty() and not any(isinstance(lines.formatter, JsonLines) for lines in LOG.handlers)


class TextLines(logging.Formatter):
    """A printable line, behind its traceback if it has one; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; of several lines only the traceback is."""
        before = f"{printed(self.formatException(record.exc_info))}\n" if record.exc_info else ""
        kind = "warning: " if record.levelno == logging.WARNING else ""
        return f"{before}{kind}{printable(record.getMessage())}"


class JsonLines(logging.Formatter):
    """An object with time, level, event and message, then the event's facts, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; whatever the facts hold, it is one line of ASCII."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _StderrLines(logging.StreamHandler[Any]):
    """Writes to what is stderr at that moment: a moving line puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)
