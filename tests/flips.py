"""A program of test_overlap that starts a job again and again, each time when a file appears."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from job_runs import INLINE_JOB


def flip(argv: Sequence[str]) -> int:
    """FOLDER NAME ROUNDS FLAGS...: start N waits for FOLDER/go.N and leaves its exit code in FOLDER/NAME.N.

    FOLDER/NAME.ready says that the first may come.
    """
    folder, name, rounds, *flags = Path(argv[0]), *argv[1:]
    (folder / f"{name}.ready").touch()
    for number in range(int(rounds)):
        while not (folder / f"go.{number}").exists():
            time.sleep(0.001)
        ended = folder / f".{name}.{number}"
        ended.write_text(str(INLINE_JOB(flags)))
        ended.rename(folder / f"{name}.{number}")
    return 0
