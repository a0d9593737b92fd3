"""Runs the job on a cluster of several nodes on this machine and takes one away; started by test_node_loss.

python cluster_probe.py TOLD STAGED REPLACED FLAGS...: the node is killed once STAGED units are finished; REPLACED is
`yes` if another comes after it. Writes to the file TOLD, as JSON, the exit code and whether the node was killed before
the end.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from job_runs import STORE_BYTES, cluster_head
from label_pairs import main


def probe(staged: int, replaced: bool, flags: list[str]) -> dict[str, Any]:
    """Run the job on a head and two nodes, one of which dies on the way."""
    cluster = cluster_head(num_cpus=1)
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    units = Path(flags[flags.index("--output") + 1], "_units")
    with ThreadPoolExecutor(1) as thread:
        # Not the job, but its nodes need the main thread: Ray sets signal handlers with each.
        job = thread.submit(main, flags)
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


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(probe(int(sys.argv[2]), sys.argv[3] == "yes", sys.argv[4:])), "utf-8")
