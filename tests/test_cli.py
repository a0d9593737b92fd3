"""`albert-infer`: each job is a command of one program, with the settings, the messages and the code of its script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from albert_infer import __version__
from albert_infer.operations import cli
from albert_infer.operations.cli import COMMANDS
from albert_infer.operations.commands import JOBS
from albert_infer.operations.program import this_program

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "label": "label_pairs",
    "plan": "plan_labels",
    "nightly": "label_nightly",
    "submit": "submit_nightly",
    "verify": "verify_labels",
    "report": "report_labels",
    "review": "review_labels",
    "evaluate": "evaluate",
    "finetune": "finetune",
    "clean": "clean_runs",
    "convert": "convert_checkpoint",
    "demo": "demo",
}
# What only the work of a job needs.
HEAVY = ("ray", "torch", "transformers", "s3fs")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(argv)
    return code, *capsys.readouterr()


def test_every_script_is_a_command() -> None:
    assert set(COMMANDS) == set(JOBS) == set(SCRIPTS)
    assert {f"{script}.py" for script in SCRIPTS.values()} == {path.name for path in (ROOT / "jobs").glob("*.py")}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_help_of_its_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = told(capsys, name, "--help-all")
    assert import_module(SCRIPTS[name]).main(["--help-all"]) == code == 0
    script = capsys.readouterr().out
    assert f"Usage: albert-infer {name} " in shown
    assert flags(shown) == flags(script) != []
    assert words_that_start(f"python jobs/{SCRIPTS[name]}.py", script)
    assert words_that_start(f"albert-infer {name}", shown)
    assert "jobs/" not in shown


def flags(page: str) -> list[str]:
    return re.findall(r"^│ (?:\*  |   )?((?:--)?[a-z][a-z0-9_-]+)", page, re.MULTILINE)


def words_that_start(call: str, page: str) -> bool:
    """Whether an example of the page begins with these words."""
    return any(
        line.strip().removeprefix("ray job submit --working-dir . -- ").startswith(call) for line in page.splitlines()
    )


def test_the_help_is_one_short_table_of_the_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = told(capsys, "--help")
    assert code == 0
    lines = shown.splitlines()
    assert (len(lines) <= 24, max(map(len, lines)) <= 80) == (True, True), shown
    assert [name for name in flags(shown) if not name.startswith("-")] == list(COMMANDS)
    for name, line in COMMANDS.items():
        assert re.search(rf"^│ {name} +{re.escape(line)} *│$", shown, re.MULTILINE), "one line for each"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--version") == (0, f"{__version__}\n", "")


def test_without_a_command_the_help_is_shown_and_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = told(capsys)
    assert code == 2
    assert "Usage: albert-infer COMMAND" in shown


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["lable", "--input", "a"], 'Unknown command "lable". Did you mean "label"?'),
        (["--input", "a"], "--input"),
        (["--require-version", "0.0.9", "label"], f"albert-infer 0.0.9: {__version__} is installed here"),
        (["--require-version"], f"{__version__} is installed here"),
        (["label", "--inptu", "a", "--output", "b"], "albert-infer label: the settings of albert-infer label: --inptu"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    argv: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(capsys, *argv)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("albert-infer")
    assert found in err
    summary = json.loads(out.splitlines()[-1].removeprefix("summary "))
    assert (summary["exit_code"], err) == (2, f"{summary['program']}: {summary['error']}\n")


def test_a_command_of_the_version_that_is_asked_for_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = told(capsys, "--require-version", __version__, "verify", "--help")
    assert code == 0
    assert "Usage: albert-infer verify" in shown


def test_a_command_ends_with_the_code_of_its_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "verify", "--output", str(tmp_path / "none"))
    assert code == 2
    assert err.startswith("albert-infer verify: ")
    assert json.loads(out.splitlines()[-1].removeprefix("summary "))["program"] == "albert-infer verify"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_the_flags_of_each(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "completion"
    code, out, _ = told(capsys, "--install-completion", "--shell", shell, "--output", str(script))
    assert code == 0
    assert str(script) in out
    written = script.read_text("utf-8")
    for name, flag in (*((name, name) for name in COMMANDS), ("label", "min-agreement"), ("submit", "no-wait")):
        assert flag in written, name


def test_a_completion_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = told(capsys, "--install-completion", "--shell", "bash", "--output", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)


def test_the_program_is_called_by_its_name_only_where_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "albert-infer"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert this_program() == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert this_program() == "albert-infer"


LOADED = """
import sys
from albert_infer.operations import cli
at_once = [name for name in sys.modules if name.split(".")[0] in {"cyclopts", "pydantic", "rich"}]
cli.main(sys.argv[1:])
print(at_once, [name for name in %r if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("argv", "unneeded"),
    [
        (["--help"], (*HEAVY, "pyarrow", "numpy", "pydantic")),
        (["--version"], (*HEAVY, "pyarrow", "numpy", "pydantic")),
        (["label", "--help"], HEAVY),
        (["submit", "--help"], HEAVY),
        (["evaluate", "--output", "a"], HEAVY),
    ],
)
def test_what_is_said_before_any_work_waits_for_nothing_that_the_work_needs(
    argv: list[str], unneeded: tuple[str, ...]
) -> None:
    script = LOADED % (unneeded,)
    told = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stderr.splitlines()[-1] == "[] []"
