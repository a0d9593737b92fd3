"""Runs the job on a cluster of several nodes on this machine and takes one away; for test_node_loss."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from job_runs import STORE_BYTES, cluster_head
from label_pairs import main


def probe(staged: int, replaced: bool, flags: Sequence[object]) -> dict[str, Any]:
    """Run the job on a head and two nodes, of which one is killed once `staged` units are finished.

    `replaced`: another one comes after it. Gives the exit code, and whether the node was killed before the end.
    """
    argv = list(map(str, flags))
    cluster = cluster_head(num_cpus=1)
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    units = Path(argv[argv.index("--output") + 1], "_units")
    with ThreadPoolExecutor(1) as thread:
        # Not the job, but its nodes need the main thread: Ray sets signal handlers with each.
        job = thread.submit(main, argv)
        while len(list(units.glob("*.parquet"))) < staged and not job.done():
            time.sleep(0.02)
        killed = not job.done()
        cluster.remove_node(nodes[0], allow_graceful=False)
        if replaced:
            cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        told = {"exit_code": job.result(), "killed": killed}
    ray.shutdown()
    cluster.shutdown()
    return told
