"""The number of classify actors, and their GPUs, CPUs and threads, from the settings and the nodes of the cluster.

Only computes numbers. Does not call Ray, and uses no device. The rules prevent a deadlock in Ray: reading and
committing need one whole logical CPU that no actor reserves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from albert_infer.common.printable import how_many
from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind

if TYPE_CHECKING:
    from albert_infer.config import LabelSettings  # which no worker loads

# More threads in one forward pass gain little. Another actor gains more.
MAX_DEFAULT_CPUS_PER_WORKER: Final = 4


@dataclass(frozen=True)
class Node:
    """The logical resources of one machine of the cluster."""

    cpus: float
    gpus: float
    # The kinds of its GPUs, by Ray's names.
    card_kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class WorkerResources:
    """The number of classify actors, and the resources of each.

    If `max_workers` is None, there are as many as fit on the cluster, which may grow. `threads` is the number of
    torch's threads, or None for torch's default. With `allow_cpu` a worker whose GPU cannot be used computes on the
    CPU.
    """

    device: DeviceKind
    min_workers: int
    max_workers: int | None
    num_gpus: float
    num_cpus: float
    threads: int | None
    allow_cpu: bool = False


# Ray keeps a worker process of 150 MB for each. With two, one may wait for the store. Sixteen commit 50 units per
# second, at 0.3 s each.
LEAST_COMMITS, MOST_COMMITS = 2, 16


def commits_at_once(workers: WorkerResources, cpus: float) -> int:
    """The number of units that may be committed at the same time. `cpus` are the cluster's CPUs when labelling begins.

    One for each CPU, within the limits. The most if the number of actors, and so the cluster, may grow.
    """
    if workers.max_workers is None:
        return MOST_COMMITS
    return min(max(int(cpus), LEAST_COMMITS), MOST_COMMITS)


def worker_resources(settings: LabelSettings, nodes: Sequence[Node]) -> WorkerResources:
    """The resources of the classify actors. Raises SettingsError if `nodes` can never have room for them.

    With a `gpu_wait_minutes`, more nodes are expected, so `nodes` do not limit the result.
    """
    waits = settings.gpu_wait_minutes is not None
    if not waits and not any(node.cpus >= 1 for node in nodes):
        reason = "the cluster has no whole logical CPU for reading and committing"
        raise SettingsError("labelling", reason, "give it one (a head started with --num-cpus=0 needs a CPU node)")
    gpus_per_worker = settings.gpus_per_worker
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if waits or any(node.gpus >= 1 for node in nodes) else 0.0
    if gpus_per_worker:
        return _on_gpus(settings, nodes, gpus_per_worker)
    return _on_cpus(settings, nodes)


def _on_gpus(settings: LabelSettings, nodes: Sequence[Node], gpus_per_worker: float) -> WorkerResources:
    # An actor runs on one node, so what is left over on two nodes does not add up.
    room = sum(int(node.gpus // gpus_per_worker) for node in nodes)
    low, high = settings.worker_range or (1, None)
    if low > room and settings.gpu_wait_minutes is None:
        reason = f"there is room for {room}, on {how_many(sum(node.gpus for node in nodes), 'GPU')}"
        remedy = "lower one of them, add GPU nodes, or give --gpu-wait-minutes if they come on demand"
        raise SettingsError(f"{how_many(low, 'worker')} of {how_many(gpus_per_worker, 'GPU')}", reason, remedy)
    # num_cpus=0: with the default of one logical CPU per actor, a small machine would have no CPU for reading.
    return WorkerResources(DeviceKind.CUDA, low, high, gpus_per_worker, 0, None, settings.allow_cpu)


def _on_cpus(settings: LabelSettings, nodes: Sequence[Node]) -> WorkerResources:
    # Whole CPUs only: what is left over on several nodes does not add up to one CPU for reading.
    total = sum(int(node.cpus) for node in nodes)
    largest = int(max(node.cpus for node in nodes))
    spare = total - 1
    per_worker = settings.cpus_per_worker
    if per_worker is None:
        per_worker = max(0, min(MAX_DEFAULT_CPUS_PER_WORKER, spare, largest))
    room = 1 if per_worker == 0 else min(spare // per_worker, sum(int(node.cpus // per_worker) for node in nodes))
    low, high = settings.worker_range or (max(room, 1), max(room, 1))
    if per_worker and low > room:
        reason = f"{how_many(total, 'logical CPU')}, one of them for reading, with room for {room}"
        raise SettingsError(
            f"{how_many(low, 'worker')} of {how_many(per_worker, 'CPU')}",
            reason,
            "lower --workers or --cpus-per-worker",
        )
    # Without this limit, Ray would start an actor on the last CPU, which reading needs.
    high = min(high, room) if per_worker else high
    # The spare CPU is idle most of the time, so torch's threads use it too.
    threads = max(1, min(total // high, largest))
    return WorkerResources(DeviceKind.CPU, low, high, 0, per_worker, threads)
