"""A process whose exit hangs in C is ended by the kernel, and another one ends as it did before."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import ray
from job_runs import RAY_WARNING

from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.exits import limit_exit

# Ray's handler at exit is a function in C too, and comes after all of Python's.
EXITS = """
import ctypes, sys, time
from albert_infer.pipeline.exits import limit_exit
limit_exit(0.2)
libc = ctypes.CDLL(None)
if sys.argv[1] == "hangs":
    libc.on_exit(ctypes.cast(libc.pause, ctypes.c_void_p), None)
else:
    time.sleep(0.4)
sys.exit(3)
"""


@pytest.mark.process
@pytest.mark.parametrize(("how", "ends"), [("hangs", -signal.SIGALRM), ("works for longer", 3)])
def test_a_process_that_cannot_exit_is_ended_and_another_keeps_its_exit_code(how: str, ends: int) -> None:
    ended = subprocess.run([sys.executable, "-c", EXITS, how], timeout=60, check=False)
    assert ended.returncode == ends


@pytest.mark.ray
@pytest.mark.filterwarnings(RAY_WARNING)
@pytest.mark.usefixtures("session")
def test_the_exits_of_the_board_and_of_a_worker_that_begins_a_unit_are_limited() -> None:
    board = RunBoard.start()

    def limits(_actor: object = None) -> int:
        return limit_exit.cache_info().currsize

    @ray.remote
    def in_a_worker() -> int:
        with board.attempt("read", "unit"):
            return limits()

    assert ray.get(in_a_worker.remote()) == 1
    assert ray.get(board.actor.__ray_call__.remote(limits)) == 1
