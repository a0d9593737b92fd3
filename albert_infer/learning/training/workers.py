"""Chooses the number of training workers, their resources and their precision, by the card that a worker has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from albert_infer.common.printable import how_many
from albert_infer.config import FinetuneSettings
from albert_infer.engine.cards import Card, unusable
from albert_infer.engine.processor import cpu_flags, refuse_mixed_cards, resolved_precision
from albert_infer.errors import SettingsError
from albert_infer.pipeline.cards import card_of_worker
from albert_infer.pipeline.progress import log_waiting
from albert_infer.pipeline.resources import Node
from albert_infer.schema import DeviceKind, Precision


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


def _ask_card(workers: TrainingWorkers) -> Card:
    return card_of_worker(workers.num_gpus, log_waiting)


def computing_workers(
    settings: FinetuneSettings, nodes: Sequence[Node], ask_card: Callable[[TrainingWorkers], Card] = _ask_card
) -> tuple[TrainingWorkers, Precision]:
    """The workers and their precision, by the card that a worker has; `auto` is fp32 on a card without bf16.

    Raises SettingsError as `training_workers` and for a precision that the cards do not compute in, and DeviceError for
    a GPU that cannot be used, unless the settings allow CPUs.
    """
    workers = training_workers(settings, nodes)
    if workers.device is DeviceKind.CPU:
        return workers, resolved_precision(settings.precision, workers.device, cpu_flags())
    refuse_mixed_cards(settings.precision, {kind for node in nodes for kind in node.card_kinds})
    card = ask_card(workers)
    if card.obstacle and settings.allow_cpu:
        return computing_workers(settings, [Node(node.cpus, 0) for node in nodes])
    if card.obstacle:
        raise unusable(card)
    precision = resolved_precision(settings.precision, workers.device, cpu_flags(), card)
    # Gradients in fp16 would need a scaled loss.
    return workers, Precision.FP32 if precision is Precision.FP16 else precision
