"""Runs the job while Ray's object store is nearly full, so that it has to spill; for test_pressure."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
from job_runs import descendants, kill
from label_pairs import main

STORE_BYTES = 100 << 20
# With these held, some blocks of the job have to go to the disk.
HELD_MEGABYTES = 88
# Ray gives up no sooner than the disk does; a handful shows that a spill may die.
MAX_KILLS = 3


def probe(spill_folder: Path, kills: bool, flags: Sequence[object]) -> dict[str, object]:
    """Run the job in a session whose object store is as good as full.

    `kills`: processes that spill are killed a few times. Gives the exit code, how many were killed, the megabytes that
    were held, and whether the folder was used.
    """
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=STORE_BYTES, object_spilling_directory=str(spill_folder),
    )  # fmt: skip
    held = [ray.put(np.random.default_rng(0).bytes(1 << 20)) for _ in range(HELD_MEGABYTES)]
    killed: list[int] = []
    if kills:
        threading.Thread(target=kill_spilling, args=(killed,), daemon=True).start()
    code = main(list(map(str, flags)))
    used = any(path.is_file() for path in spill_folder.rglob("*")) or bool(killed)
    return {"exit_code": code, "killed": len(killed), "held": len(held), "spilled": used}


def kill_spilling(killed: list[int]) -> None:
    """Kill the first processes that spill as soon as they are seen."""
    while len(killed) < MAX_KILLS:
        for pid in descendants(os.getpid(), "ray::SPILL"):
            kill(pid)
            killed.append(pid)
        time.sleep(0.002)
