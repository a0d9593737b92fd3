"""What cannot be printed decides no exit code: a closed pipe, a full disk, an encoding without the letter."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from albert_infer.job.streams import unfailing_streams

JOBS = Path(__file__).parents[1] / "jobs"
NAMES = sorted(job.stem for job in JOBS.glob("*.py"))
on_a_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
# A job that prints all that a job can print: lines, its report, its summary.
JOB = """
import sys
from albert_infer.common import logs
from albert_infer.job.command import run_command
from albert_infer.config import LabelSettings
from albert_infer.common.printable import text_of
def work(settings):
    logs.warn("any", "é 日本")
    sys.stdout.write("a line\\n")
    sys.stdout.flush()
    return text_of(["é 日本", "x" * 100_000])
sys.exit(run_command(LabelSettings, work, ["--input", "a", "--output", "b"], program="job.py", about="A job."))
"""


def ended(shell: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run the job as `$JOB` in a shell."""
    variables = {**os.environ, "PYTHON": sys.executable, "JOB": JOB, **env}
    return subprocess.run(["bash", "-c", shell], env=variables, capture_output=True, check=False)


@pytest.mark.process
@on_a_full_disk
@pytest.mark.parametrize("streams", [">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_a_full_disk_is_no_failure(streams: str) -> None:
    assert ended(f'"$PYTHON" -c "$JOB" {streams}').returncode == 0


@pytest.mark.process
@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_not_there_is_no_failure(streams: str) -> None:
    assert ended(f'"$PYTHON" -c "$JOB" {streams}').returncode == 0


@pytest.mark.process
@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_pipe_that_nobody_reads_any_more_is_no_failure(streams: str) -> None:
    # The reader is gone before Python has started.
    job = ended(f'("$PYTHON" -c "$JOB" {streams}; echo $? >&3) 3>&2 | true')
    assert job.stderr.splitlines()[-1] == b"0", job.stderr


@pytest.mark.process
@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_what_an_encoding_lacks_is_escaped(env: dict[str, str]) -> None:
    job = ended('"$PYTHON" -c "$JOB"', **env)
    assert job.returncode == 0
    assert rb"\u65e5\u672c" in job.stdout
    assert rb"\u65e5\u672c" in job.stderr
    assert job.stdout.splitlines()[-1].startswith(b"summary ")


@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_help_is_printed_in_every_job_and_encoding(name: str) -> None:
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = ended(f'"$PYTHON" "{JOBS}/{name}.py" --help', PYTHONPATH=str(JOBS.parent), **env)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.isascii()
    assert b"--config" in shown.stdout


@pytest.mark.process
@on_a_full_disk
def test_help_on_a_full_disk_is_no_failure() -> None:
    # Of one job: that every job's help is printed on such streams is what the test above shows.
    lost = ended(f'"$PYTHON" "{JOBS}/verify_labels.py" --help >/dev/full', PYTHONPATH=str(JOBS.parent))
    assert (lost.returncode, lost.stderr) == (0, b"")


def test_a_stream_in_memory_escapes_too_and_one_of_text_is_left_alone() -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with redirect_stdout(stdout), unfailing_streams():
        sys.stdout.write("é\udcff")
    assert stdout.buffer.getvalue() == rb"\xe9\udcff"
    with redirect_stdout(io.StringIO()) as text, unfailing_streams():
        sys.stdout.write("é")
    assert text.getvalue() == "é"


def test_the_streams_are_those_of_before_afterwards() -> None:
    before = sys.stdout, sys.stderr
    with unfailing_streams():
        pass
    assert (sys.stdout, sys.stderr) == before
