"""The loop of a Ray Train worker: it trains step by step, and evaluates and saves at every milestone.

A killed run resumes from a milestone. A milestone is also a point of the training curve.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ray
import ray.train
import ray.train.torch
import torch

from albert_infer.common import failpoints
from albert_infer.config import FinetuneSettings
from albert_infer.learning.training.batches import epoch_batches
from albert_infer.learning.training.learner import Evaluation, Group, Learner
from albert_infer.learning.training.pairs import TrainingPairs, gathered
from albert_infer.learning.training.record import Milestone, SavedCurve
from albert_infer.learning.training.start import starting_model, teacher_model
from albert_infer.learning.training.task import EVAL, TRAIN, TrainTask
from albert_infer.schema import Precision


@dataclass
class Curve:
    """The milestones so far, and the indices of the best one and of the one whose weights are kept."""

    milestones: list[Milestone] = field(default_factory=list)
    best: int = -1
    kept: int = -1

    def add(self, milestone: Milestone, keep: Literal["best", "last"]) -> bool:
        """Add a milestone. Returns whether to keep its weights. The best has most accuracy, then least loss."""
        self.milestones.append(milestone)
        index = len(self.milestones) - 1
        if self.best < 0 or _rank(self.milestones[index]) > _rank(self.milestones[self.best]):
            self.best = index
        if keep == "last" or self.best == index:
            self.kept = index
        return self.kept == index

    @property
    def since_best(self) -> int:
        """The number of milestones after the best one."""
        return len(self.milestones) - 1 - self.best

    @property
    def saved(self) -> SavedCurve:
        """The curve as JSON, for the saved state."""
        return SavedCurve(milestones=self.milestones, best=self.best, kept=self.kept)

    @property
    def diverged(self) -> bool:
        """Whether the last loss is not finite. Training cannot recover from that."""
        return bool(self.milestones) and not _finite(self.milestones[-1]["train_loss"])


def train_on_worker(config: dict[str, TrainTask]) -> None:
    """Train until the last step, or until patience ends; the task is under `task`."""
    task = config["task"]
    settings = task.settings
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    train_pairs, eval_pairs = (gathered(_batches_of(name)) for name in (TRAIN, EVAL))
    epochs = _epochs(settings, train_pairs)
    learner = _learner(task, steps=epochs.steps)
    curve, step, earlier_seconds = _resumed(learner)
    started = time.monotonic() - earlier_seconds
    while step < epochs.steps and curve.since_best < settings.patience and not curve.diverged:
        learner.step(step, train_pairs, epochs.batch(step))
        step += 1
        task.board.report(step, epochs.steps)
        failpoints.reach("trained", f"step {step:06}")
        if epochs.is_milestone(step):
            _milestone(learner, task, curve, learner.evaluate(eval_pairs), step, epochs, time.monotonic() - started)


@dataclass
class _Epochs:
    """The batches of all epochs, one epoch at a time."""

    settings: FinetuneSettings
    pairs: TrainingPairs
    batches: int
    _epoch: int = -1
    _drawn: list[Any] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return self.batches * self.settings.epochs

    def batch(self, step: int) -> Any:
        epoch, index = divmod(step, self.batches)
        if epoch != self._epoch:
            self._epoch, self._drawn = epoch, _drawn(self.settings, self.pairs, epoch)
        return self._drawn[index]

    def is_milestone(self, step: int) -> bool:
        """Whether one of the `evaluations_per_epoch` equal parts of an epoch ends at this step."""
        batch = (step - 1) % self.batches + 1
        parts = min(self.settings.evaluations_per_epoch, self.batches)
        return batch * parts // self.batches > (batch - 1) * parts // self.batches


def _epochs(settings: FinetuneSettings, pairs: TrainingPairs) -> _Epochs:
    return _Epochs(settings, pairs, len(_drawn(settings, pairs, 0)))


def _drawn(settings: FinetuneSettings, pairs: TrainingPairs, epoch: int) -> list[Any]:
    return epoch_batches(pairs.encoded.lengths, settings.batch_pairs, seed=settings.seed, epoch=epoch)


def _batches_of(name: str) -> Any:
    shard = ray.train.get_dataset_shard(name)
    return shard.iter_batches(batch_size=None, batch_format="pyarrow")


def _learner(task: TrainTask, steps: int) -> Learner:
    settings, context = task.settings, ray.train.get_context()
    start = starting_model(
        ray.get(task.start), dropout=settings.dropout, seed=settings.seed, label_order=settings.label_order
    )
    plain = start.model
    plain.albert.embeddings.word_embeddings.weight.requires_grad_(not settings.freeze_embeddings)
    device = ray.train.torch.get_device()
    teacher = None
    if task.teacher is not None:
        teacher = teacher_model(ray.get(task.teacher))
        teacher.train(mode=False).to(device)
    return Learner(
        plain,
        ray.train.torch.prepare_model(plain),
        settings,
        steps=steps,
        device=device,
        autocast=_autocast(device, task.precision),
        teacher=teacher,
        group=Group(context.get_world_rank(), context.get_world_size(), _total),
    )


def _autocast(device: torch.device, precision: Precision) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16)


def _total(tensor: torch.Tensor) -> torch.Tensor:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
    return tensor


def _resumed(learner: Learner) -> tuple[Curve, int, float]:
    """The curve, the finished steps and their seconds, from the checkpoint of an earlier start if there is one."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Curve(), 0, 0.0
    with checkpoint.as_directory() as folder:
        saved = learner.load(Path(folder))
    last = saved["milestones"][-1]
    return Curve(saved["milestones"], saved["best"], saved["kept"]), last["step"], last["seconds"]


def _milestone(
    learner: Learner,
    task: TrainTask,
    curve: Curve,
    evaluation: Evaluation,
    step: int,
    epochs: _Epochs,
    seconds: float,
) -> None:
    """Record the evaluation, keep the weights if they are best, and save. Every worker must call it."""
    loss = learner.mean_loss()
    milestone = Milestone(
        step=step,
        epoch=step / epochs.batches,
        train_loss=loss,
        eval_loss=evaluation.loss,
        eval_accuracy=evaluation.accuracy,
        seconds=seconds,
    )
    if curve.add(milestone, task.settings.keep):
        learner.keep()
    task.board.report_milestone(milestone)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            learner.save(Path(folder), curve.saved)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(dict(milestone), checkpoint=checkpoint)


def _rank(milestone: Milestone) -> tuple[float, float]:
    return milestone["eval_accuracy"], -milestone["eval_loss"]


def _finite(number: float) -> bool:
    return number - number == 0
