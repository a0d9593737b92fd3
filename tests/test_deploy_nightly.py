"""`deploy/nightly.sh` runs a night again where that can help and only there, and `deploy/crontab` calls it."""

from __future__ import annotations

import datetime
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest
from cronsim import CronSim
from deployment import DEPLOY, ends, placeholders, program

from albert_infer.errors import InfrastructureError

SCRIPT: Final = DEPLOY / "nightly.sh"
QUICK: Final = {**os.environ, "NIGHTLY_ATTEMPTS": "3", "NIGHTLY_PAUSE_SECONDS": "0"}


def night(tmp_path: Path, *commands: str) -> tuple[int, int]:
    """Exit code and number of runs of a night whose n-th run is the n-th shell command, the last one ever after."""
    cases = "".join(f"{number}) {command} ;;\n" for number, command in enumerate(commands, 1))
    counted = f'echo >>"{tmp_path}/runs"\ncase $(grep -c "" "{tmp_path}/runs") in\n{cases}*) {commands[-1]} ;;\nesac'
    ended = subprocess.run([SCRIPT, "sh", "-c", counted], env=QUICK, capture_output=True, check=False)
    return ended.returncode, runs(tmp_path)


def runs(tmp_path: Path) -> int:
    written = tmp_path / "runs"
    return len(written.read_text().splitlines()) if written.exists() else 0


@pytest.mark.parametrize("code", [0, 2, 3, 5, 6, 126, 127])
def test_an_answer_is_handed_on_at_once(tmp_path: Path, code: int) -> None:
    assert night(tmp_path, f"exit {code}") == (code, 1)


@pytest.mark.parametrize("ending", ["exit 4", "exit 1", "kill -9 $$", "kill -TERM $$"])
def test_a_night_that_was_ended_from_outside_is_run_again_until_it_answers(tmp_path: Path, ending: str) -> None:
    assert night(tmp_path, ending, ending, "exit 0") == (0, 3)


def test_a_night_that_is_refused_when_run_again_is_not_run_a_third_time(tmp_path: Path) -> None:
    assert night(tmp_path, "exit 4", "exit 3") == (3, 2)


def test_after_the_last_attempt_the_last_exit_code_is_handed_on(tmp_path: Path) -> None:
    assert night(tmp_path, "exit 4") == (4, 3)


def test_every_exit_code_of_the_job_has_its_place(tmp_path: Path) -> None:
    for end in ends():
        (tmp_path / end.__name__).mkdir()
        again = issubclass(end, InfrastructureError)
        assert night(tmp_path / end.__name__, f"exit {end.exit_code}") == (end.exit_code, 3 if again else 1)


def test_arguments_reach_the_command_as_they_were_given() -> None:
    given = ["--partition", "dt={date}", "a b", "", "$HOME"]
    ended = subprocess.run([SCRIPT, "printf", "%s\\n", *given], env=QUICK, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == given


def test_a_night_that_is_stopped_stays_stopped(tmp_path: Path) -> None:
    command = [str(SCRIPT), "sh", "-c", f'echo >>"{tmp_path}/runs"; sleep 60']
    with subprocess.Popen(command, env=QUICK, start_new_session=True, stderr=subprocess.PIPE) as script:
        deadline = time.monotonic() + 10
        while not runs(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        # As Ray stops a job: the whole group.
        os.killpg(script.pid, signal.SIGTERM)
        assert script.wait(timeout=10) == -signal.SIGTERM
    assert runs(tmp_path) == 1


def test_shellcheck_finds_nothing() -> None:
    subprocess.run([program("shellcheck"), SCRIPT], check=True)


def test_cron_runs_one_night_a_day_and_names_its_date(tmp_path: Path) -> None:
    schedule, command = cron_entry()
    fires = CronSim(schedule, datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC))
    assert next(fires) + datetime.timedelta(days=1) == next(fires)
    argv = shlex.split(command)
    assert argv[argv.index("--partition") + 1] == "dt={date}"
    named = subprocess.run(
        ["sh", "-c", f"echo {argv[argv.index('--date') + 1]}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date()
    assert named in {str(today - datetime.timedelta(days=1)), str(today - datetime.timedelta(days=2))}


def test_cron_reads_the_line_whole() -> None:
    # A bare % ends the command, and the rest becomes its standard input.
    [line] = entries()
    assert "%" not in line.replace("\\%", "")
    subprocess.run(["sh", "-n", "-c", cron_entry()[1]], check=True)


def test_what_to_fill_in_is_listed_on_top_of_the_crontab() -> None:
    text = (DEPLOY / "crontab").read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert placeholders("\n".join(comments)) == placeholders(body) != set()


def entries() -> list[str]:
    lines = (DEPLOY / "crontab").read_text().splitlines()
    return [line for line in lines if line and line[0] in "*0123456789"]


def cron_entry() -> tuple[str, str]:
    """The one schedule, and its command as cron gives it to the shell."""
    [line] = entries()
    fields = line.split(maxsplit=5)
    return " ".join(fields[:5]), fields[5].replace("\\%", "%")
