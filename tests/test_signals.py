"""A signal that asks a job to end is a Ctrl-C: one line, a summary, an exit code that a scheduler tries again."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_command import summed_up

from albert_infer.common.printable import PrintableText, text_of
from albert_infer.config import FinetuneSettings, LabelSettings, NightlySettings, VerifySettings
from albert_infer.config.shared import Job
from albert_infer.errors import InfrastructureError
from albert_infer.job.command import run_command
from albert_infer.job.signals import ENDING, ending_as_interrupt
from albert_infer.operations.following import interrupted
from albert_infer.pipeline.connecting import own_signals

pytestmark = pytest.mark.usefixtures("heeded_signals")

JOBS = Path(__file__).parents[1] / "jobs"
NIGHTLY = Path(__file__).parents[1] / "deploy" / "nightly.sh"
# A job that is ended as soon as it says that it works.
WAITING_JOB = """
import sys, time
from albert_infer.job.command import run_command
from albert_infer.config import LabelSettings
def work(settings):
    print("working", flush=True)
    time.sleep(60)
sys.exit(run_command(LabelSettings, work, ["--input", "a", "--output", "b"], program="job.py", about="A job."))
"""


def ends(work: Callable[[LabelSettings], PrintableText]) -> int:
    return run_command(LabelSettings, work, ["--input", "a", "--output", "b"], program="job.py", about="A job.")


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_job_with_one_line_a_summary_and_the_code_that_is_tried_again(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_settings: LabelSettings) -> PrintableText:
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")

    assert ends(work) == InfrastructureError.exit_code
    out, err = capsys.readouterr()
    told = "run the same command again: it resumes from the finished units"
    assert err == f"job.py: the job: ended from outside by {number.name}; {told}\n"
    assert summed_up(out)["exit_code"] == 4


def test_an_interrupted_job_says_what_was_counted_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_settings: LabelSettings) -> PrintableText:
        error = KeyboardInterrupt()
        error.add_note("at least 7 of 20 parts of the input are labelled and kept")
        raise error

    assert ends(work) == 4
    assert capsys.readouterr().err == (
        "job.py: the job: interrupted; at least 7 of 20 parts of the input are labelled and kept; "
        "run the same command again\n"
    )


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (LabelSettings, "run the same command again: it resumes from the finished units"),
        (NightlySettings, "run the same command again: it resumes from the finished units"),
        (FinetuneSettings, "run the same command again: it resumes from the last evaluation"),
        (VerifySettings, "run the same command again"),
    ],
)
def test_each_job_says_what_it_keeps(settings: type[Job], kept: str) -> None:
    assert settings.after_interrupt == kept


def test_a_signal_that_comes_while_rays_handler_stands_is_named_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(_settings: LabelSettings) -> PrintableText:
        with own_signals():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as `ray.init` does
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    assert ends(work) == InfrastructureError.exit_code
    assert "ended from outside by SIGTERM" in capsys.readouterr().err


@pytest.mark.parametrize("number", ENDING)
def test_a_following_that_a_signal_ends_names_it(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt) as raised, ending_as_interrupt():
        os.kill(os.getpid(), number)
    assert interrupted("nli", raised.value).problem == f"interrupted by {number.name}, and the job goes on"
    assert interrupted("nli", KeyboardInterrupt()).problem == "interrupted, and the job goes on"


def test_a_signal_that_comes_with_another_one_does_not_cut_short_what_the_first_began(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tidied = []

    def work(_settings: LabelSettings) -> PrintableText:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            tidied.append(True)
        raise AssertionError("it went on")

    assert (ends(work), tidied) == (4, [True])
    assert "SIGTERM" in capsys.readouterr().err


def test_handlers_are_those_of_before_once_the_job_is_over_and_what_is_ignored_stays_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(_settings: LabelSettings) -> PrintableText:
        os.kill(os.getpid(), signal.SIGHUP)
        return text_of(["done"])

    before = [signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)]
    try:
        assert ends(work) == 0
        assert [signal.getsignal(number) for number in ENDING] == [before[1], signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGHUP, before[0])
    assert summed_up(capsys.readouterr().out)["exit_code"] == 0


def test_once_a_job_is_done_a_signal_makes_no_failure_of_it() -> None:
    with ending_as_interrupt() as ending:
        ending.ignore_signals()
        os.kill(os.getpid(), signal.SIGTERM)
    assert ending.signal is None


def test_in_another_thread_a_job_runs_without_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(ends(lambda _: text_of(["done"]))))
    thread.start()
    thread.join()
    assert codes == [0]
    assert summed_up(capsys.readouterr().out)["exit_code"] == 0


@pytest.mark.process
def test_the_nightly_script_runs_a_job_again_that_a_signal_ended(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(WAITING_JOB)
    command = ["sh", "-c", f"{sys.executable} {job} & echo $! >{tmp_path}/pid; wait $!"]
    env = {**os.environ, "NIGHTLY_ATTEMPTS": "2", "NIGHTLY_PAUSE_SECONDS": "0"}
    with subprocess.Popen([NIGHTLY, *command], env=env, stdout=-1, stderr=-1, text=True) as night:
        assert night.stdout is not None
        told = []
        for line in night.stdout:
            told.append(line)
            if line == "working\n":
                os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        assert night.stderr is not None
        stderr = night.stderr.read()
    assert night.returncode == 4, told
    assert [line.split()[0] for line in told] == ["working", "summary"] * 2, (told, stderr)
    assert "exit code 4 in attempt 1 of 2; again" in stderr


# A script whose imports take so long that somebody ends it meanwhile.
STARTING_JOB = """
import os, signal
from albert_infer.job.signals import starting
with starting(__file__):
    os.kill(os.getpid(), signal.Signals.{number})
    import time
raise AssertionError("it went on")
"""


@pytest.mark.process
@pytest.mark.parametrize(("number", "found"), [("SIGINT", "interrupted"), ("SIGTERM", "ended from outside by SIGTERM")])
def test_a_job_that_is_ended_while_it_imports_says_so_in_one_line(number: str, found: str, tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(STARTING_JOB.format(number=number))
    ended = subprocess.run([sys.executable, job], capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert ended.stderr == f"job.py: the job: {found}; run the same command again\n"
    assert summed_up(ended.stdout)["error"] == f"the job: {found}; run the same command again"


@pytest.mark.parametrize("script", sorted(JOBS.glob("*.py")), ids=lambda script: script.name)
def test_a_job_script_imports_its_parts_where_it_can_be_ended(script: Path) -> None:
    tree = ast.parse(script.read_text())
    at_once = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    at_once |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in at_once if name.split(".")[0] not in sys.stdlib_module_names} == {
        "albert_infer.job.signals"
    }
    [block] = [node for node in tree.body if isinstance(node, ast.With)]
    assert ast.unparse(block.items[0]) == "starting(__file__)"
