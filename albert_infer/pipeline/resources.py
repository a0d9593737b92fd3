"""Who runs where: classify actors, their GPUs, CPUs and threads, from the settings and what the cluster has.

Policy only: plain numbers in, plain numbers out. Nothing here asks Ray or touches a device. The rules keep Ray from
hanging: reading and committing need one whole logical CPU that no actor holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from albert_infer.common.printable import how_many
from albert_infer.config import LabelSettings
from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind

# More threads than this in one forward pass gain little; another actor gains more.
MAX_DEFAULT_CPUS_PER_WORKER: Final = 4


@dataclass(frozen=True)
class Node:
    """The logical resources of one machine of the cluster."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class WorkerResources:
    """The classify actors: how many, and what each takes.

    Without `max_workers` there are as many as the cluster has room for, now or later. `threads` is torch's, None to
    leave it alone.
    """

    device: DeviceKind
    min_workers: int
    max_workers: int | None
    num_gpus: float
    num_cpus: float
    threads: int | None


# Each is a worker process of 150 MB that Ray starts and keeps. Two, so that one may wait for the store; sixteen, of
# 0.3 s each, commit 50 units a second.
LEAST_COMMITS, MOST_COMMITS = 2, 16


def commits_at_once(workers: WorkerResources, cpus: float) -> int:
    """How many units may be committed at a time by a cluster that has so many `cpus` when labelling begins.

    As many as CPUs; the most where the actors, and so the cluster, may grow.
    """
    if workers.max_workers is None:
        return MOST_COMMITS
    return min(max(int(cpus), LEAST_COMMITS), MOST_COMMITS)


def worker_resources(settings: LabelSettings, nodes: Sequence[Node]) -> WorkerResources:
    """What the classify actors take. Raises SettingsError for what could never be scheduled on `nodes`.

    Whoever waits for GPUs says that other nodes will come: then `nodes` decide nothing.
    """
    waits = settings.gpu_wait_minutes is not None
    if not waits and not any(node.cpus >= 1 for node in nodes):
        found = "the cluster has no whole logical CPU for reading and committing"
        raise SettingsError("labelling", found, "give it one (a head started with --num-cpus=0 needs a CPU node)")
    gpus_per_worker = settings.gpus_per_worker
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if waits or any(node.gpus >= 1 for node in nodes) else 0.0
    if gpus_per_worker:
        return _on_gpus(settings, nodes, gpus_per_worker)
    return _on_cpus(settings, nodes)


def _on_gpus(settings: LabelSettings, nodes: Sequence[Node], gpus_per_worker: float) -> WorkerResources:
    # One actor never spans nodes, so the parts left over on each do not add up.
    room = sum(int(node.gpus // gpus_per_worker) for node in nodes)
    low, high = settings.worker_range or (1, None)
    if low > room and settings.gpu_wait_minutes is None:
        found = f"the cluster has room for {room}, of {how_many(sum(node.gpus for node in nodes), 'GPU')}"
        remedy = "lower one of them, add GPU nodes, or give --gpu-wait-minutes if they come on demand"
        raise SettingsError(f"{how_many(low, 'worker')} of {how_many(gpus_per_worker, 'GPU')}", found, remedy)
    # num_cpus=0: an actor's default of one logical CPU would leave none for reading on a machine of few cores.
    return WorkerResources(DeviceKind.CUDA, low, high, gpus_per_worker, 0, None)


def _on_cpus(settings: LabelSettings, nodes: Sequence[Node]) -> WorkerResources:
    # Whole ones: the parts left over on each node do not add up to one for reading.
    total = sum(int(node.cpus) for node in nodes)
    largest = int(max(node.cpus for node in nodes))
    spare = total - 1
    per_worker = settings.cpus_per_worker
    if per_worker is None:
        per_worker = max(0, min(MAX_DEFAULT_CPUS_PER_WORKER, spare, largest))
    room = 1 if per_worker == 0 else min(spare // per_worker, sum(int(node.cpus // per_worker) for node in nodes))
    low, high = settings.worker_range or (max(room, 1), max(room, 1))
    if per_worker and low > room:
        found = f"{how_many(total, 'logical CPU')}, one of them for reading, with room for {room}"
        raise SettingsError(
            f"{how_many(low, 'worker')} of {how_many(per_worker, 'CPU')}", found, "lower --workers or --cpus-per-worker"
        )
    # Ray would start as many as fit, and the last CPU would be gone for reading.
    high = min(high, room) if per_worker else high
    # The spare CPU is idle most of the time, so its share goes to torch's threads.
    threads = max(1, min(total // high, largest))
    return WorkerResources(DeviceKind.CPU, low, high, 0, per_worker, threads)
