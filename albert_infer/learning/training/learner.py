"""The training of one worker's model: steps, evaluations, and the state from which a later start resumes.

A step depends only on the weights, the batch, the seed and the step's number, because each step seeds its dropout. So a
resumed run makes the same steps as an uninterrupted run. Shapes: B pairs of a batch.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AlbertForSequenceClassification

from albert_infer.learning.training import losses
from albert_infer.learning.training.batches import PairBatch, batches_by_length, padded_batch
from albert_infer.learning.training.losses import BatchSize
from albert_infer.learning.training.pairs import TrainingPairs
from albert_infer.learning.training.record import SavedCurve

# Larger than in training, because no backward pass needs memory.
EVALUATION_BATCH_PAIRS = 64
STATE, KEPT = "state.pt", "kept.safetensors"


class LearningSettings(Protocol):
    """The settings of a step, from `FinetuneSettings`."""

    @property
    def learning_rate(self) -> float: ...  # noqa: D102  (each is the setting with its name)

    @property
    def warmup_share(self) -> float: ...  # noqa: D102

    @property
    def weight_decay(self) -> float: ...  # noqa: D102

    @property
    def max_gradient_norm(self) -> float: ...  # noqa: D102

    @property
    def classifier_rate(self) -> float: ...  # noqa: D102

    @property
    def gold_weight(self) -> float: ...  # noqa: D102

    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Group:
    """The workers that train together, and the rank of this one. `total` sums a tensor over all of them."""

    rank: int
    size: int
    total: Callable[[torch.Tensor], torch.Tensor]


ALONE = Group(rank=0, size=1, total=lambda tensor: tensor)


@dataclass(frozen=True)
class Evaluation:
    """The number of right labels on `pairs` pairs with gold labels, and the mean cross-entropy."""

    pairs: int
    right: int
    loss: float

    @property
    def accuracy(self) -> float:
        """The share of pairs whose largest output is the gold label."""
        return self.right / self.pairs


class Learner:
    """A model, its optimizer and, for distillation, its teacher.

    `model` is `plain` or Ray Train's wrapper around it; both share their weights. `autocast` returns the context of a
    forward pass.
    """

    def __init__(
        self,
        plain: AlbertForSequenceClassification,
        model: nn.Module,
        settings: LearningSettings,
        *,
        steps: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        teacher: AlbertForSequenceClassification | None = None,
        group: Group = ALONE,
    ) -> None:
        self.plain = plain
        self._model = model
        self._settings = settings
        self._device = device
        self._autocast = autocast
        self._teacher = teacher
        self._group = group
        self._optimizer, self._rate = _optimizer(plain, settings, steps)
        self._kept: dict[str, torch.Tensor] = {}
        # Sums over the steps since the last call of `mean_loss`.
        self._loss, self._steps = torch.zeros((), device=device), 0

    def step(self, number: int, pairs: TrainingPairs, positions_B: NDArray[np.int64]) -> None:
        """Learn from this worker's part of the batch at `positions_B`."""
        self._model.train()
        self._seed_step(number)
        own_B = positions_B[self._group.rank :: self._group.size]
        # A last batch may be smaller than the group. A worker without a pair must still join the sum of gradients.
        weight = float(len(own_B) > 0)
        own_B = own_B if len(own_B) else positions_B[:1]
        batch = padded_batch(pairs, own_B, self._device)
        size = BatchSize(len(positions_B), int(pairs.encoded.lengths[positions_B].sum()))
        loss = self._loss_of(batch, torch.full((len(own_B),), weight, device=self._device), size)
        # The group averages gradients, but each worker has a part of one mean, so the loss is multiplied by the size.
        (loss * self._group.size).backward()
        nn.utils.clip_grad_norm_(self.plain.parameters(), self._settings.max_gradient_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._rate.step()
        self._loss, self._steps = self._loss + loss.detach(), self._steps + 1

    def mean_loss(self) -> float:
        """The mean loss over the group, of the steps since the last call. Every worker must call it."""
        mean = self._group.total(self._loss).item() / max(self._steps, 1)
        self._loss, self._steps = torch.zeros((), device=self._device), 0
        return mean

    @torch.no_grad()
    def evaluate(self, pairs: TrainingPairs) -> Evaluation:
        """Evaluate the model on all `pairs`. Every worker must call it."""
        self.plain.train(mode=False)
        counts = torch.zeros(2, dtype=torch.float64, device=self._device)
        batches = batches_by_length(pairs.encoded.lengths, EVALUATION_BATCH_PAIRS)
        for positions_B in batches[self._group.rank :: self._group.size]:
            batch = padded_batch(pairs, positions_B, self._device)
            with self._autocast():
                outputs = losses.outputs(self.plain, batch)
            counts[0] += (outputs.logits_BC.argmax(dim=1) == batch.gold_B).sum()
            counts[1] += nn.functional.cross_entropy(outputs.logits_BC.float(), batch.gold_B, reduction="sum")
        right, loss = self._group.total(counts).tolist()
        return Evaluation(len(pairs), int(right), loss / len(pairs))

    def keep(self) -> None:
        """Keep the current weights for the checkpoint, instead of earlier ones."""
        self._kept = {name: tensor.detach().cpu().clone() for name, tensor in self.plain.state_dict().items()}

    def save(self, folder: Path, curve: SavedCurve) -> None:
        """Write the state for `load`, and the curve so far."""
        state = {
            "model": self.plain.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rate": self._rate.state_dict(),
            "told": curve,
        }
        torch.save(state, folder / STATE)
        safetensors.torch.save_file(self._kept, folder / KEPT)

    def load(self, folder: Path) -> SavedCurve:
        """Restore the state that `save` wrote. Returns its curve."""
        # Other users may be able to write there, so no code in the file runs.
        state = torch.load(folder / STATE, map_location=self._device, weights_only=True)
        self.plain.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["rate"])
        self._kept = safetensors.torch.load_file(folder / KEPT)
        curve: SavedCurve = state["told"]
        return curve

    def _loss_of(self, batch: PairBatch, weights_B: torch.Tensor, size: BatchSize) -> torch.Tensor:
        with self._autocast():
            own = losses.outputs(self._model, batch)
            if self._teacher is None:
                return losses.gold_loss(own, batch, weights_B, size)
            with torch.no_grad():
                teacher = losses.outputs(self._teacher, batch)
            return losses.distillation_loss(own, teacher, batch, weights_B, size, self._settings.gold_weight)

    def _seed_step(self, number: int) -> None:
        drawn = np.random.SeedSequence([self._settings.seed, number, self._group.rank]).generate_state(1)
        torch.manual_seed(int(drawn[0]))


def _optimizer(
    model: AlbertForSequenceClassification, settings: LearningSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rate, decay = settings.learning_rate, settings.weight_decay
    head = [parameter for parameter in model.classifier.parameters() if parameter.requires_grad]
    body = [parameter for parameter in model.albert.parameters() if parameter.requires_grad]
    groups = [
        # Biases and norms, which have one dimension, have no weight decay.
        {"params": [p for p in part if (p.dim() > 1) is decays], "lr": part_rate, "weight_decay": part_decay}
        for part, part_rate in ((body, rate), (head, rate * settings.classifier_rate))
        for decays, part_decay in ((True, decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    warmup = max(1, round(settings.warmup_share * steps))

    def share_of_peak(step: int) -> float:
        return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)


def curve_in(file: Path) -> SavedCurve:
    """The curve in a state file of `save`."""
    curve: SavedCurve = torch.load(file, map_location="cpu", weights_only=True)["told"]
    return curve
