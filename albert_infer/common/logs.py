"""Logs the lines of a job on stderr: as text for a person, or as JSON objects for a log store.

Uses the standard library's `logging`, so a program that imports the package decides where its lines go. The two formats
are formatters of `logging`. Knows nothing of the contents of the lines.
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
    """Log one line: `text`, and in JSON also the name of the event and its facts.

    With `error`, an exception, logs its traceback too.
    """
    LOG.log(level, "%s", text, exc_info=error, extra={"event": event, "facts": facts})


def warn(event: str, text: str) -> None:
    """Log a warning. The run goes on."""
    log(event, text, {}, level=logging.WARNING)


@contextmanager
def lines_on_stderr(log_format: LogFormat) -> Iterator[None]:
    """Write the lines to stderr only, during the block."""
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
    """Whether stderr may show a moving line: it is a terminal, and the log format is not JSON."""
    return sys.stderr.isatty() and not any(isinstance(lines.formatter, JsonLines) for lines in LOG.handlers)


class TextLines(logging.Formatter):
    """Formats a record as one printable line, with the prefix `warning: ` for a warning. A traceback comes before."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Only a traceback has several lines."""
        before = f"{printed(self.formatException(record.exc_info))}\n" if record.exc_info else ""
        kind = "warning: " if record.levelno == logging.WARNING else ""
        return f"{before}{kind}{printable(record.getMessage())}"


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object: time, level, event and message, the event's facts, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII, for any facts."""
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
    """Writes to the current `sys.stderr`, because a moving line replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)
