"""A training loop on one machine that a kill does not change: a resumed run ends with the same weights.

Everything that a step draws depends on the seed and the number of the step. So the saved state is the weights, the
optimizer's moments and that number.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from albert_infer.engine.weights import onednn_has_bf16
from albert_infer.learning.training.batches import epoch_batches

log = logging.getLogger(__name__)

MAX_GRADIENT_NORM: Final = 1.0
LOGGED_STEPS: Final = 20
# The first part of the parameter names of the classifiers, of ALBERT and of MPNet.
CLASSIFIER: Final = "classifier"

# The loss of the pairs at these positions.
Loss = Callable[[nn.Module, NDArray[np.int64]], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. The rate rises linearly for `warmup_steps`, then falls linearly to 0."""

    epochs: int
    learning_rate: float
    classifier_factor: float
    warmup_steps: int
    batch_pairs: int = 32
    weight_decay: float = 0.01
    seed: int = 0
    save_seconds: float = 300.0

    def rate_factor(self, step: int, steps: int) -> float:
        """The part of the learning rate that step `step` of `steps` uses; the first step is 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return (steps - step) / max(1, steps - self.warmup_steps)


@dataclass
class Progress:
    """The steps that are done, and the mean loss since the last line of the log."""

    step: int = 0
    losses: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    loss: Loss,
    lengths: NDArray[np.int64],
    schedule: Schedule,
    state: Path,
    watch: Callable[[nn.Module], None] | None = None,
) -> None:
    """Trains `model` on the pairs with these lengths. A second call with the same `state` file goes on from there.

    `watch` sees the model in evaluation mode after each epoch.
    """
    batches_per_epoch = len(epoch_batches(lengths, schedule.batch_pairs, seed=schedule.seed, epoch=0))
    steps = schedule.epochs * batches_per_epoch
    optimizer = _optimizer(model, schedule)
    progress = Progress(step=_restored(state, model, optimizer))
    log.info("training: step %d of %d", progress.step, steps)
    model.train()
    saved_at = time.monotonic()
    while progress.step < steps:
        epoch, first = divmod(progress.step, batches_per_epoch)
        for positions in epoch_batches(lengths, schedule.batch_pairs, seed=schedule.seed, epoch=epoch)[first:]:
            factor = schedule.rate_factor(progress.step, steps)
            torch.manual_seed(schedule.seed * steps + progress.step)
            progress.losses.append(_step(model, optimizer, factor, loss, positions))
            progress.step += 1
            if progress.step % LOGGED_STEPS == 0:
                log.info("step %d of %d, loss %.4f", progress.step, steps, np.mean(progress.losses))
                progress.losses.clear()
            if time.monotonic() - saved_at > schedule.save_seconds or progress.step == steps:
                save_whole(
                    state, {"step": progress.step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
                )
                saved_at = time.monotonic()
        model.eval()
        if watch is not None:
            watch(model)
        model.train()
    model.eval()


def bf16_where_fast() -> torch.autocast:
    """Matrix products in bf16, or in fp32 on a processor without instructions for bf16."""
    return torch.autocast("cpu", torch.bfloat16, enabled=onednn_has_bf16())


def save_whole(path: Path, content: Any) -> None:
    """Saves with torch. After a kill, the file is the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _restored(state: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not state.exists():
        return 0
    saved = torch.load(state, weights_only=True, mmap=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW without decay of biases and norms, and with another rate for the classifier."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = schedule.classifier_factor if name.startswith(CLASSIFIER) else 1.0
            decay = schedule.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (factor, decay), parameters in groups.items()
        ],
        lr=schedule.learning_rate,
        fused=True,
    )


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, factor: float, loss: Loss, positions: NDArray[np.int64]
) -> float:
    rate = optimizer.defaults["lr"] * factor
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    with bf16_where_fast():
        value = loss(model, positions)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value.item()
