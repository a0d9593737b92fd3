"""A program of test_overlap that starts a job again and again, each time when a file appears."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from job_runs import INLINE_JOB


def flip(folder: Path, name: str, rounds: int, flags: Sequence[str]) -> int:
    """Start N waits for `folder/go.N` and leaves its exit code in `folder/name.N`.

    `folder/name.ready` says that the first may come.
    """
    (folder / f"{name}.ready").touch()
    for number in range(rounds):
        while not (folder / f"go.{number}").exists():
            time.sleep(0.001)
        ended = folder / f".{name}.{number}"
        ended.write_text(str(INLINE_JOB(flags)))
        ended.rename(folder / f"{name}.{number}")
    return 0
