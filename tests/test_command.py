"""Every end has its exit code and one line that says what to do; nobody sees a traceback who did not ask."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from albert_infer import errors
from albert_infer.command import run_command
from albert_infer.config import LabelSettings
from albert_infer.errors import AlbertInferError
from albert_infer.storage import AccessError, ArchivedError

CODES = {
    errors.RefusedError: 2,
    errors.SettingsError: 2,
    errors.ModelError: 2,
    errors.InputError: 2,
    errors.NoInputError: 2,
    errors.OutputError: 2,
    errors.LimitError: 3,
    errors.InfrastructureError: 4,
    errors.ObjectMissingError: 4,
    errors.ObjectChangedError: 4,
    AccessError: 4,
    ArchivedError: 4,
    errors.IntegrityError: 5,
    errors.SupersededError: 6,
    errors.AtWorkError: 6,
}


class Work:
    """A job that ends as it is told, and remembers with what it was called."""

    def __init__(self, end: BaseException | None = None) -> None:
        self.end = end
        self.seen: list[LabelSettings] = []

    def __call__(self, settings: LabelSettings) -> str:
        """Do the work."""
        self.seen.append(settings)
        if self.end is not None:
            raise self.end
        return "the report"


def run(work: Work, argv: Sequence[str] = ()) -> int:
    located = ["--input", "in", "--output", "out", *argv]
    return run_command(LabelSettings, work, located, program="job.py", about="A job.")


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
    assert out == ""
    assert err == "job.py: asked for a: found b; do c\n"


def test_a_name_that_reaches_the_error_line_cannot_write_into_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(errors.LimitError("a\x1b[31m\r\nroot: ok", "b\u202ec\udcff", "é 日本"))) == 3
    assert capsys.readouterr().err == r"job.py: a\x1b[31m root: ok: b\u202ec\udcff; é 日本" + "\n"


def test_a_job_that_succeeds_prints_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert run(work, ["--unit-rows", "3"]) == 0
    assert capsys.readouterr() == ("the report\n", "")
    assert [settings.unit_rows for settings in work.seen] == [3]


def test_help_is_no_failure_and_no_work(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert run(work, ["--help"]) == 0
    out, err = capsys.readouterr()
    assert "--unit-rows" in out
    assert (err, work.seen) == ("", [])


@pytest.mark.parametrize("argv", [["--unit-rows", "many"], ["--no-such-flag"], ["stray"]])
def test_settings_that_are_refused_are_one_line_and_no_work(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work()
    assert run(work, argv) == 2
    out, err = capsys.readouterr()
    assert (out, work.seen) == ("", [])
    assert err.count("\n") == 1
    assert argv[0] in err


@pytest.mark.parametrize("end", [ValueError("line one\nline two"), KeyboardInterrupt(), OSError(28, "disk full")])
def test_an_error_that_is_not_ours_is_one_line_without_a_traceback(
    end: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Work(end)) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "run it again" in err
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
