"""A fail point acts on the hits it was armed for, counted across processes, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from albert_infer.common.failpoints import VARIABLE, FailPoint

REACH = "from albert_infer.common.failpoints import reach; reach('part_put', 'unit 17'); print('went on')"


def ends(armed: str) -> list[int]:
    """The exit codes of three processes that reach a point one after the other."""
    env = {**os.environ, VARIABLE: armed}
    return [subprocess.run([sys.executable, "-c", REACH], env=env, check=False).returncode for _ in range(3)]


@pytest.mark.process
def test_the_hits_that_were_asked_for_end_their_process_and_are_counted(tmp_path: Path) -> None:
    assert ends(f"part_put:kill:2:{tmp_path}") == [0, -signal.SIGKILL, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"part_put.1", "part_put.2", "part_put.3"}


@pytest.mark.process
def test_hits_may_be_a_range_and_be_about_one_unit(tmp_path: Path) -> None:
    assert ends(f"part_put@unit 17:segfault:1-2:{tmp_path}") == [-signal.SIGSEGV, -signal.SIGSEGV, 0]
    assert ends(f"part_put@unit 18:segfault:1-9:{tmp_path}") == [0, 0, 0]
    assert ends(f"rejected_put:kill:1:{tmp_path}") == [0, 0, 0]


@pytest.mark.process
def test_several_points_may_be_armed_and_one_may_wait(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert ends(f"other:kill:1:{tmp_path};part_put:wait:1:{tmp_path}") == [0, 0, 0]
    (tmp_path / "go").unlink()
    env = {**os.environ, VARIABLE: f"part_put:wait:9:{tmp_path};part_put@17:wait:1-9:{tmp_path}"}
    with subprocess.Popen([sys.executable, "-c", REACH], env=env) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        (tmp_path / "go").touch()
        assert process.wait(10) == 0


def test_an_unknown_action_is_said() -> None:
    with pytest.raises(ValueError, match="choose from kill, segfault, wait, lose_gpu"):
        FailPoint.parsed("part_put:explode:1:folder")
