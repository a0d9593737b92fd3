"""Chooses the number of training workers and their resources. It only computes: it does not use Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from albert_infer.common.printable import how_many
from albert_infer.config import FinetuneSettings
from albert_infer.errors import SettingsError
from albert_infer.pipeline.resources import Node
from albert_infer.schema import DeviceKind


@dataclass(frozen=True)
class TrainingWorkers:
    """The workers of a training, and the resources of each. `threads` is for torch; None does not change it."""

    device: DeviceKind
    count: int
    num_gpus: int
    num_cpus: int
    threads: int | None


def training_workers(settings: FinetuneSettings, nodes: Sequence[Node]) -> TrainingWorkers:
    """One worker per GPU, else one with all CPUs of a machine. Raises SettingsError for more workers than resources."""
    gpus = sum(int(node.gpus) for node in nodes)
    if gpus:
        count = settings.worker_count or gpus
        if count > gpus:
            raise SettingsError(
                f"--workers {count}", f"the cluster has {how_many(gpus, 'GPU')}", "lower it, or add GPU nodes"
            )
        return TrainingWorkers(DeviceKind.CUDA, count, num_gpus=1, num_cpus=0, threads=None)
    count, cpus = settings.worker_count or 1, sum(int(node.cpus) for node in nodes)
    if count > cpus:
        raise SettingsError(f"--workers {count}", f"the cluster has {how_many(cpus, 'CPU')}", "lower it, or add nodes")
    largest = max(int(node.cpus) for node in nodes)
    each = max(1, min(cpus // count, largest))
    return TrainingWorkers(DeviceKind.CPU, count, num_gpus=0, num_cpus=each, threads=each)
