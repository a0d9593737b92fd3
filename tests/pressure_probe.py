"""Runs the job while Ray's object store is nearly full, so that it has to spill; started by test_pressure.

python pressure_probe.py TOLD SPILL_FOLDER KILLS FLAGS...: KILLS is `yes` if processes that spill are killed a few
times. Writes to the file TOLD, as JSON, the exit code, how many spilling processes were killed, and whether the folder
was used.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
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


def probe(spill_folder: str, kills: bool, flags: list[str]) -> dict[str, object]:
    """Run the job in a session whose object store is as good as full."""
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=STORE_BYTES, object_spilling_directory=spill_folder,
    )  # fmt: skip
    held = [ray.put(np.random.default_rng(0).bytes(1 << 20)) for _ in range(HELD_MEGABYTES)]
    killed: list[int] = []
    if kills:
        threading.Thread(target=kill_spilling, args=(killed,), daemon=True).start()
    code = main(flags)
    used = any(path.is_file() for path in Path(spill_folder).rglob("*")) or bool(killed)
    return {"exit_code": code, "killed": len(killed), "held": len(held), "spilled": used}


def kill_spilling(killed: list[int]) -> None:
    """Kill the first processes that spill as soon as they are seen."""
    while len(killed) < MAX_KILLS:
        for pid in descendants(os.getpid(), "ray::SPILL"):
            kill(pid)
            killed.append(pid)
        time.sleep(0.002)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(probe(sys.argv[2], sys.argv[3] == "yes", sys.argv[4:])), "utf-8")
