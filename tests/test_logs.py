"""A log is lines of text, or of JSON: one object a line, whatever stands in it."""

from __future__ import annotations

import io
import json
import logging
from contextlib import redirect_stderr
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.common import logs


def lines(log_format: logs.LogFormat, *told: Any) -> list[str]:
    """What is written when each of `told`, a function, tells its line."""
    stderr = io.StringIO()
    with redirect_stderr(stderr), logs.lines_on_stderr(log_format):
        for tell in told:
            tell()
    return stderr.getvalue().split("\n")[:-1]


def test_text_is_the_line_itself_and_a_warning_says_that_it_is_one() -> None:
    told = lines("text", lambda: logs.log("a", "50 % of it", {"rows": 1}), lambda: logs.warn("b", "mind"))
    assert told == ["50 % of it", "warning: mind"]


def test_json_has_the_time_in_utc_the_level_the_event_and_its_facts() -> None:
    before = datetime.now(UTC)
    told = lines("json", lambda: logs.log("a", "50 % of it", {"rows": 1, "left": None}), lambda: logs.warn("b", "mind"))
    first, second = map(json.loads, told)
    time = datetime.fromisoformat(first.pop("time"))
    assert time.utcoffset() == UTC.utcoffset(None)
    assert abs((time - before).total_seconds()) < 60
    assert first == {"level": "info", "event": "a", "message": "50 % of it", "rows": 1, "left": None}
    assert (second["level"], second["event"], second["message"]) == ("warning", "b", "mind")


@PROPERTY
@given(text=st.text(), fact=st.text())
def test_whatever_a_text_holds_json_is_one_line_of_ascii(text: str, fact: str) -> None:
    (line,) = lines("json", lambda: logs.log("event", text, {"fact": fact}))
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line)
    assert (told["message"], told["fact"]) == (text, fact)


@PROPERTY
@given(text=st.text(st.characters(exclude_categories=())))
def test_whatever_a_text_holds_text_is_one_printable_line(text: str) -> None:
    (line,) = lines("text", lambda: logs.log("event", text, {}))
    assert line.isprintable()
    (warning,) = lines("text", lambda: logs.warn("event", text))
    assert warning == f"warning: {line}"


def test_a_traceback_keeps_its_lines_and_colours_none_of_them() -> None:
    told = lines("text", lambda: logs.log("a", "failed", {}, error=ValueError("one\x1b[31m\ntwo")))
    assert told == [r"ValueError: one\x1b[31m", "two", "failed"]


def test_outside_of_the_block_lines_are_their_callers_business(caplog: pytest.LogCaptureFixture) -> None:
    assert lines("json", lambda: None) == []
    stderr = io.StringIO()
    with redirect_stderr(stderr), caplog.at_level(logging.INFO):
        logs.log("a", "told", {})
    assert (stderr.getvalue(), caplog.messages) == ("", ["told"])


def test_a_line_moves_in_a_terminal_that_is_not_shown_json() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            """It is one."""
            return True

    with redirect_stderr(Terminal()):
        with logs.lines_on_stderr("text"):
            assert logs.for_a_terminal()
        with logs.lines_on_stderr("json"):
            assert not logs.for_a_terminal()
    with redirect_stderr(io.StringIO()):
        assert not logs.for_a_terminal()


def test_a_line_goes_to_what_is_stderr_when_it_is_told() -> None:
    """As in a terminal, where the moving line takes the others in."""
    later = io.StringIO()

    def tell() -> None:
        with redirect_stderr(later):
            logs.log("a", "told", {})

    assert lines("text", tell) == []
    assert later.getvalue() == "told\n"
