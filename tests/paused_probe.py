"""Runs the job on a cluster of two nodes on this machine and pauses one of them; for test_node_loss."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from job_runs import STORE_BYTES, cluster_head, descendants, wait_until
from label_pairs import main

from albert_infer.common.failpoints import VARIABLE


def probe(points: Path, flags: Sequence[object]) -> dict[str, Any]:
    """Run the job on a head and two nodes, of which one is paused on the way.

    Every commit on that node waits at `part_ready` for a file `go` in the folder `points`. At the first of them the
    whole node is stopped, as a machine is whose host freezes, and `go` is made. Once the job has ended the node's
    workers go on: `points` gets a file `part_put.N` for each late PUT. Gives the exit code, the seconds that the job
    went on after the pause, and how many commits were late.
    """
    cluster = cluster_head(num_cpus=1)
    armed = {VARIABLE: ";".join(f"{point}:wait:1-99:{points}" for point in ("part_ready", "part_put"))}
    paused = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES, env_vars=armed)
    cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    raylet = paused.all_processes["raylet"][0].process.pid
    with ThreadPoolExecutor(1) as thread:
        # Not the job, but its nodes need the main thread: Ray sets signal handlers with each.
        job = thread.submit(main, list(map(str, flags)))
        wait_until(lambda: hits(points, "part_ready") > 0 or job.done())
        workers = descendants(raylet, "ray::")
        everything = [raylet, *descendants(raylet)]
        signalled(everything, signal.SIGSTOP)
        begun, late = time.monotonic(), hits(points, "part_ready")
        (points / "go").touch()
        exit_code = job.result()
        seconds = time.monotonic() - begun
    signalled(workers, signal.SIGCONT)
    wait_until(lambda: hits(points, "part_put") >= late)
    signalled(everything, signal.SIGCONT)
    ray.shutdown()
    cluster.shutdown()
    return {"exit_code": exit_code, "seconds": seconds, "late": late}


def hits(points: Path, point: str) -> int:
    """How often the paused node has come to the point."""
    return len(list(points.glob(f"{point}.*")))


def signalled(pids: list[int], number: signal.Signals) -> None:
    """Send the signal to each process that is there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
