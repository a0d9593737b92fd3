"""A job whose extra is not installed says so in one line, with the command that installs it; its help needs none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from albert_infer.common.extras import LIBRARIES, Extra, installing, refuse_missing
from albert_infer.errors import SettingsError

ROOT = Path(__file__).parents[1]
# The job as a script, where Python does not find what it is told to do without.
WITHOUT = """
import runpy, sys
job, *missing = sys.argv[1].split(",")
sys.modules.update(dict.fromkeys(missing))
del sys.argv[0]
sys.argv[0] = job
runpy.run_path(job, run_name="__main__")
"""
FLAGS = {"finetune": ("--train=a", "--eval=b"), "evaluate": ("--pairs=a",)}
EXTRAS: dict[str, Extra] = {"finetune": "training", "evaluate": "evaluation"}


def without_extra(job: str, *argv: str) -> subprocess.CompletedProcess[str]:
    script = ",".join([str(ROOT / "jobs" / f"{job}.py"), *LIBRARIES[EXTRAS[job]]])
    command = [sys.executable, "-c", WITHOUT, script, *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize("job", EXTRAS)
def test_help_needs_no_extra(job: str) -> None:
    shown = without_extra(job, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--output" in shown.stdout


@pytest.mark.process
@pytest.mark.parametrize("job", EXTRAS)
def test_a_job_without_its_extra_names_the_command_of_this_environment(job: str, tmp_path: Path) -> None:
    refused = without_extra(job, *FLAGS[job], f"--output={tmp_path / 'out'}")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    installs = f"{sys.executable} -m pip install 'albert-infer[{EXTRAS[job]}]'"
    assert refused.stderr.endswith(f"{LIBRARIES[EXTRAS[job]][0]} is not installed; {installs}\n")


def test_the_first_library_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="fine-tuning: no_such_library is not installed"):
        refuse_missing("fine-tuning", "training", ["json", "no_such_library"])


def test_an_environment_without_pip_is_installed_into_by_uv() -> None:
    assert installing("training", has_pip=True) == f"{sys.executable} -m pip install 'albert-infer[training]'"
    command = f"uv pip install --python {sys.executable} 'albert-infer[training]'"
    assert installing("training", has_pip=False) == command


def test_every_extra_that_is_named_is_one_of_the_package() -> None:
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
    assert set(LIBRARIES) <= declared
