"""Runs the job on a cluster of this machine to which GPU nodes come while it runs; for test_elasticity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from job_runs import STORE_BYTES, cluster_head, wait_until
from label_pairs import main
from ray.cluster_utils import Cluster
from ray.util import placement_group_table


def probe(growing: Path, tail: Path, flags: Sequence[object]) -> dict[str, Any]:
    """Run the job on a head without a GPU. One GPU node comes when it waits for it, two when an actor is at work.

    Classifying waits at two fail points, whose folders are `growing` and `tail`: at the first until three actors are at
    work, at the second with one unit until the actors that have nothing to do have left. Gives the exit code, the
    actors at work before and after the two nodes came, and the GPUs that are taken in the end.
    """
    cluster = cluster_head(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    with ThreadPoolExecutor(1) as thread:
        # Not the job, but its nodes need the main thread: Ray sets signal handlers with each.
        job = thread.submit(main, list(map(str, flags)))
        wait_unless_ended(job, waits_for_a_gpu)
        add_gpu_nodes(cluster, 1)
        wait_unless_ended(job, lambda: at_work(growing) == 1)
        first = at_work(growing)
        add_gpu_nodes(cluster, 2)
        wait_unless_ended(job, lambda: at_work(growing) == 3 and hits(growing) == 6)
        all_three = at_work(growing)
        (growing / "go").touch()
        wait_unless_ended(job, lambda: bool(list(tail.iterdir())) and gpus_taken() == 1)
        told = {"at_work": [first, all_three], "left": gpus_taken()}
        (tail / "go").touch()
        told["exit_code"] = job.result()
    ray.shutdown()
    cluster.shutdown()
    return told


def wait_unless_ended(job: Future[int], when: Callable[[], bool]) -> None:
    """Wait until `when` holds; a job that has ended tells its exit code."""
    # Some conditions ask Ray, so they are looked at less often.
    wait_until(lambda: when() or job.done(), every=0.1)


def add_gpu_nodes(cluster: Cluster, count: int) -> None:
    """Nodes as a cloud would start them; the GPU is one that torch does not find."""
    for _ in range(count):
        cluster.add_node(num_cpus=0, num_gpus=1, object_store_memory=STORE_BYTES)


def waits_for_a_gpu() -> bool:
    """Whether the job has asked for room that is not there."""
    return any(group["state"] == "PENDING" for group in placement_group_table().values())


def hits(growing: Path) -> int:
    """How many units were begun."""
    return len(list(growing.glob("classifying.*")))


def at_work(growing: Path) -> int:
    """How many actors have begun units; each waits in its first two."""
    return len({hit.read_text() for hit in growing.glob("classifying.*")} - {""})


def gpus_taken() -> float:
    """The number of GPUs that Ray counts as taken. Others may have the rest."""
    taken: float = ray.cluster_resources()["GPU"] - ray.available_resources().get("GPU", 0)
    return taken
