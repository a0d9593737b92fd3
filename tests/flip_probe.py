"""Starts a job again and again in one process, each time when a file appears; started by test_overlap.

python flip_probe.py FOLDER NAME ROUNDS FLAGS...: start N waits for FOLDER/go.N and leaves its exit code in
FOLDER/NAME.N; FOLDER/NAME.ready says that the first may come.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from inline_job import OneThread
from label_pairs import main


def flip(folder: Path, name: str, rounds: int, flags: list[str]) -> None:
    (folder / f"{name}.ready").touch()
    for number in range(rounds):
        while not (folder / f"go.{number}").exists():
            time.sleep(0.001)
        code = main(flags, OneThread())
        ended = folder / f".{name}.{number}"
        ended.write_text(str(code))
        ended.rename(folder / f"{name}.{number}")


if __name__ == "__main__":
    flip(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
