"""Who trains follows from the settings and what the cluster has."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from albert_infer.config import FinetuneSettings
from albert_infer.engine.cards import Card
from albert_infer.errors import DeviceError, SettingsError
from albert_infer.learning.training.workers import TrainingWorkers, computing_workers, training_workers
from albert_infer.pipeline.resources import Node
from albert_infer.schema import DeviceKind, Precision

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


def computing(card: Card, nodes: list[Node] = GPU_NODES, **changed: Any) -> tuple[TrainingWorkers, Precision]:
    return computing_workers(settings(**changed), nodes, lambda workers: card)


@pytest.mark.parametrize(
    ("capability", "asked", "precision"),
    [
        ((9, 0), "auto", Precision.BF16),
        ((9, 0), "fp32", Precision.FP32),
        # Training in fp16 would need a scaled loss.
        ((7, 5), "auto", Precision.FP32),
    ],
)
def test_the_precision_of_training_is_one_that_the_card_computes_in(
    capability: tuple[int, int], asked: str, precision: Precision
) -> None:
    card = Card(name="a card", capability=capability, architectures=("compute_70",))
    workers, found = computing(card, precision=asked)
    assert (workers.device, found) == (DeviceKind.CUDA, precision)


def test_bf16_on_a_card_without_it_and_a_mixed_cluster_are_refused() -> None:
    old = Card(name="Tesla T4", capability=(7, 5), architectures=("sm_75",))
    with pytest.raises(SettingsError, match="Tesla T4"):
        computing(old, precision="bf16")
    mixed = [Node(8, 1, frozenset({"T4"})), Node(8, 1, frozenset({"A100"}))]
    with pytest.raises(SettingsError, match="cards of different precisions"):
        computing(old, mixed)


def test_a_gpu_that_cannot_be_used_ends_training_unless_cpus_are_allowed() -> None:
    missing = Card(torch="2.13.0+cu130", cuda="13.0", driver="535.0", machine="node-7")
    with pytest.raises(DeviceError, match=r"a GPU on node-7: .*driver 535\.0.*--allow-cpu"):
        computing(missing)
    workers, _ = computing(missing, allow_cpu=True)
    assert workers == TrainingWorkers(DeviceKind.CPU, 1, 0, 8, 8)


@pytest.mark.process
def test_the_task_of_the_workers_loads_neither_torch_nor_transformers() -> None:
    # Ray Train's controller unpickles the task before it starts the workers.
    module = "albert_infer.learning.training.task"
    program = f"import sys, {module}; print(sorted({{'torch', 'transformers'}} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
