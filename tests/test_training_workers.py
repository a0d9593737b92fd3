"""Who trains follows from the settings and what the cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from albert_infer.config import FinetuneSettings
from albert_infer.errors import SettingsError
from albert_infer.learning.training.workers import TrainingWorkers, training_workers
from albert_infer.pipeline.resources import Node
from albert_infer.schema import DeviceKind

LAPTOP = [Node(cpus=8, gpus=0)]
GPU_NODES = [Node(cpus=8, gpus=0), Node(cpus=8, gpus=4), Node(cpus=8, gpus=4)]


def settings(**changed: Any) -> FinetuneSettings:
    return FinetuneSettings(train="train", eval="eval", output="out", **changed)


def test_a_laptop_has_one_worker_with_all_its_cores() -> None:
    assert training_workers(settings(), LAPTOP) == TrainingWorkers(DeviceKind.CPU, 1, 0, 8, 8)


def test_workers_on_cpus_share_the_cores() -> None:
    assert training_workers(settings(workers=3), LAPTOP) == TrainingWorkers(DeviceKind.CPU, 3, 0, 2, 2)


def test_each_gpu_has_a_worker() -> None:
    assert training_workers(settings(), GPU_NODES) == TrainingWorkers(DeviceKind.CUDA, 8, 1, 0, None)
    assert training_workers(settings(workers=2), GPU_NODES).count == 2


@pytest.mark.parametrize(("nodes", "workers", "has"), [(GPU_NODES, 9, "8 GPUs"), (LAPTOP, 9, "8 CPUs")])
def test_more_workers_than_there_is_room_for_are_refused(nodes: list[Node], workers: int, has: str) -> None:
    with pytest.raises(SettingsError, match=has):
        training_workers(settings(workers=workers), nodes)
