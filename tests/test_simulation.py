"""The publish protocol under schedules drawn by the simulation, and the simulation's own tests.

Both in processes of their own, because the simulation changes modules of the project in the process that imports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
SCHEDULES = 5_000


def test_no_drawn_schedule_breaks_a_promise() -> None:
    assert_well("-m", "simulation", "--seeds", str(SCHEDULES), "--show", "1")


def test_the_simulation_repeats_itself_and_notices_protocols_that_are_wrong() -> None:
    assert_well("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/simulation/checks.py")


def assert_well(*argv: str) -> None:
    """Run Python to its end, which must be 0."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": "0"}
    # So that the pytest in it does not take itself for a worker of this one.
    environment = {name: text for name, text in environment.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, *argv], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
