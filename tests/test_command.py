"""Every end has its exit code and one line that says what to do; nobody sees a traceback who did not ask."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import pytest

from albert_infer import errors
from albert_infer.common.printable import PrintableText, text_of
from albert_infer.config import LabelSettings
from albert_infer.errors import AlbertInferError
from albert_infer.job.command import Done, run_command
from albert_infer.storage import AccessError, ArchivedError
from albert_infer.storage.folder import DeadLinkError, UnsupportedError

CODES = {
    errors.RefusedError: 2,
    errors.SettingsError: 2,
    errors.ModelError: 2,
    errors.InputError: 2,
    errors.NoInputError: 2,
    errors.LeftOutError: 2,
    errors.TableError: 2,
    errors.OutputError: 2,
    errors.LimitError: 3,
    errors.InfrastructureError: 4,
    errors.DeviceError: 4,
    errors.ObjectMissingError: 4,
    errors.ObjectChangedError: 4,
    AccessError: 4,
    ArchivedError: 4,
    UnsupportedError: 4,
    DeadLinkError: 4,
    errors.IntegrityError: 5,
    errors.SupersededError: 6,
    errors.AtWorkError: 6,
}


class Work:
    """A job that ends as it is told, and remembers with what it was called."""

    def __init__(self, end: BaseException | None = None, *, done: PrintableText | Done | None = None) -> None:
        self.end = end
        self.done = done or text_of(["the report"])
        self.seen: list[LabelSettings] = []

    def __call__(self, settings: LabelSettings) -> PrintableText | Done:
        """Do the work."""
        self.seen.append(settings)
        if self.end is not None:
            raise self.end
        return self.done


def run(work: Work, argv: Sequence[str] = ()) -> int:
    located = ["--input", "in", "--output", "out", *argv]
    return run_command(LabelSettings, work, located, program="job.py", about="A job.")


def summed_up(stdout: str) -> dict[str, Any]:
    """The summary line, the last on stdout, without the seconds, which no two runs share."""
    word, _, facts = stdout.splitlines()[-1].partition(" ")
    assert word == "summary"
    told: dict[str, Any] = json.loads(facts)
    assert 0 <= told.pop("seconds") < 60
    return told


def every_error() -> set[type[AlbertInferError]]:
    """All leaves and branches of the tree."""
    found = {AlbertInferError}
    while below := {kind for parent in found for kind in parent.__subclasses__()} - found:
        found |= below
    return {kind for kind in found - {AlbertInferError} if kind.__module__.startswith("albert_infer.")}


def test_every_kind_of_error_has_its_exit_code_here() -> None:
    assert every_error() == set(CODES)


@pytest.mark.parametrize(("kind", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_an_error_is_one_line_and_the_exit_code_of_its_kind(
    kind: type[AlbertInferError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Work(kind("asked for a", "found\nb", "do c"))) == code
    out, err = capsys.readouterr()
    assert err == "job.py: asked for a: found b; do c\n"
    assert summed_up(out) == {"program": "job.py", "exit_code": code, "error": "asked for a: found b; do c"}
    assert out.count("\n") == 1


def test_a_name_that_reaches_the_error_line_cannot_write_into_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(errors.LimitError("a\x1b[31m\r\nroot: ok", "b\u202ec\udcff", "é 日本"))) == 3
    assert capsys.readouterr().err == r"job.py: a\x1b[31m root: ok: b\u202ec\udcff; é 日本" + "\n"


def test_a_job_that_succeeds_prints_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert run(work, ["--unit-rows", "3"]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[:-1], err) == (["the report"], "")
    assert summed_up(out) == {"program": "job.py", "exit_code": 0}
    assert [settings.unit_rows for settings in work.seen] == [3]


def test_what_a_job_tells_of_itself_stands_in_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(done=Done(text_of(["two", "lines"]), {"rows": 7, "plan_id": None}))) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:-1] == ["two", "lines"]
    assert summed_up(out) == {"program": "job.py", "exit_code": 0, "rows": 7, "plan_id": None}


def test_a_name_cannot_end_the_summary_line_either(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(errors.LimitError("a\nsummary {}", "b\u2028c", "d"))) == 3
    out = capsys.readouterr().out
    assert out.isascii()
    assert len(out.splitlines()) == 1
    assert "summary {}" in summed_up(out)["error"]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(("log_format", "summaries"), [("text", 0), ("json", 1)])
@pytest.mark.parametrize("end", [None, errors.LimitError("a", "b", "c"), KeyboardInterrupt()])
def test_a_terminal_shows_the_summary_only_with_json(
    end: BaseException | None, log_format: str, summaries: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with redirect_stdout(Terminal()) as stdout:
        code = run(Work(end), ["--log-format", log_format])
    lines = stdout.getvalue().splitlines()
    assert [line.split()[0] for line in lines].count("summary") == summaries
    assert len(lines) == summaries + (code == 0)
    assert capsys.readouterr().err.count("\n") == (code != 0), "an error is told once"


def test_what_stdout_cannot_encode_is_escaped_and_no_error() -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with redirect_stdout(stdout):
        assert run(Work(done=text_of(["é\udcff\nsummary {}"]))) == 0
    told = stdout.buffer.getvalue().decode()
    assert told.splitlines()[0] == r"\xe9\udcff\nsummary {}"
    assert summed_up(told)["exit_code"] == 0


@pytest.mark.parametrize(("flag", "shown"), [("--help", "--carry"), ("--help-all", "--unit-rows")])
def test_help_is_no_failure_and_no_work(flag: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert run(work, [flag]) == 0
    out, err = capsys.readouterr()
    assert shown in out
    assert not out.splitlines()[-1].startswith("summary")
    assert (err, work.seen) == ("", [])


@pytest.mark.parametrize("argv", [["--unit-rows", "many"], ["--no-such-flag"], ["stray"]])
def test_settings_that_are_refused_are_one_line_and_no_work(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work()
    assert run(work, argv) == 2
    out, err = capsys.readouterr()
    assert (summed_up(out)["exit_code"], work.seen) == (2, [])
    assert err.count("\n") == 1
    assert argv[0] in err


@pytest.mark.parametrize("end", [ValueError("line one\nline two"), KeyboardInterrupt(), OSError(28, "disk full")])
def test_an_error_that_is_not_ours_is_one_line_without_a_traceback(
    end: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Work(end)) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("job.py: the job: ")
    assert re.search("run (it|the same command) again", err)
    assert "Traceback" not in err


@pytest.mark.parametrize("end", [errors.LimitError("a", "b", "c"), ValueError("d"), KeyboardInterrupt()])
def test_debug_adds_the_traceback_and_keeps_the_last_line(
    end: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(Work(end), ["--debug"])
    lines = capsys.readouterr().err.splitlines()
    assert code in {3, 4}
    assert any("Traceback" in line for line in lines)
    assert any("test_command.py" in line for line in lines)
    assert lines[-1].startswith("job.py: ")


def test_debug_in_the_environment_adds_the_traceback_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERT_INFER_DEBUG", "true")
    assert run(Work(errors.LimitError("a", "b", "c"))) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("end", [errors.LimitError("a", "b\x1b[31m", "c"), ValueError("d"), KeyboardInterrupt()])
@pytest.mark.parametrize("debug", [False, True])
def test_in_json_the_error_is_one_object_with_its_exit_code_and_with_debug_its_traceback(
    end: BaseException, debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(Work(end), ["--log-format", "json", *(["--debug"] if debug else [])])
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert (err.count("\n"), line["level"], line["event"], line["exit_code"]) == (1, "error", "failed", code)
    assert line["message"] == f"job.py: {summed_up(out)['error']}"
    assert ("traceback" in line) == debug
    assert not debug or "test_command.py" in line["traceback"]


REFUSED = ["--no-such-flag"]


@pytest.mark.parametrize(
    ("argv", "environment", "is_json"),
    [
        ([*REFUSED, "--log-format", "json"], "", True),
        (["--log-format=json", *REFUSED], "text", True),
        (REFUSED, "json", True),
        ([*REFUSED, "--log-format=text"], "json", False),
        ([*REFUSED, "json"], "", False),
    ],
)
def test_settings_that_are_refused_are_told_in_the_format_that_they_ask_for(
    argv: list[str],
    environment: str,
    is_json: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if environment:
        monkeypatch.setenv("ALBERT_INFER_LOG_FORMAT", environment)
    assert run(Work(), argv) == 2
    assert capsys.readouterr().err.startswith("{" if is_json else "job.py: ")


def test_a_log_format_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(), ["--log-format", "xml"]) == 2
    assert "--log-format Input should be 'text' or 'json'" in capsys.readouterr().err
