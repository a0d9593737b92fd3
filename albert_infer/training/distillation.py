"""The training loop, with the two losses it is run with: gold labels for a teacher, a teacher's outputs for a student.

Knows nothing of files or of where a model comes from. Shapes: B pairs of a batch, L tokens of its longest pair,
C classes, H hidden size, N all pairs, S hidden states that a teacher hands on.
"""
# ruff: noqa: N806, N815 - arrays end in their shape

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AlbertForSequenceClassification

from albert_infer.training.pairs import LABEL_NAMES, EncodedPair, PairBatch, length_grouped_batches, padded_batch

log = logging.getLogger(__name__)

# Weights of the three parts of the student's loss: the middle states carry most of what averaging layers lost.
KL_WEIGHT = 0.5
GOLD_WEIGHT = 0.5
HIDDEN_WEIGHT = 2.0

# Larger than in training: nothing is kept for a backward pass.
INFERENCE_BATCH_PAIRS = 64

STEPS_PER_PROGRESS_LINE = 25


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn: the rate rises linearly over `warmup_share` of the steps, then falls to 0."""

    epochs: int
    peak_learning_rate: float
    batch_pairs: int = 32
    warmup_share: float = 0.06
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class TeacherOutputs:
    """Per pair, in order: the logits, and the states after `hidden_layers`, in half precision to fit in memory."""

    logits_NC: torch.Tensor
    hidden_layers: tuple[int, ...]
    hidden_SLH: list[torch.Tensor]


def logits(model: AlbertForSequenceClassification, batch: PairBatch) -> torch.Tensor:
    """The classifier's outputs, of shape B, C."""
    logits_BC: torch.Tensor = _forward(model, batch)[0]
    return logits_BC


def predicted_labels(model: AlbertForSequenceClassification, pairs: Sequence[EncodedPair]) -> list[int]:
    """The index of each pair's largest logit, in order. Leaves the model in evaluation mode."""
    model.train(mode=False)
    labels = [0] * len(pairs)
    with torch.no_grad():
        for positions in _inference_batches(pairs):
            chosen = logits(model, padded_batch([pairs[i] for i in positions])).argmax(dim=1).tolist()
            for position, label in zip(positions, chosen, strict=True):
                labels[position] = label
    return labels


def accuracy(model: AlbertForSequenceClassification, pairs: Sequence[EncodedPair]) -> float:
    """The share of pairs whose largest logit is at the gold label. Leaves the model in evaluation mode."""
    right = [label == pair.label for label, pair in zip(predicted_labels(model, pairs), pairs, strict=True)]
    return sum(right) / len(right)


def teacher_outputs(
    teacher: AlbertForSequenceClassification, pairs: Sequence[EncodedPair], hidden_layers: tuple[int, ...]
) -> TeacherOutputs:
    """What a student learns from, for every pair once. Leaves the teacher in evaluation mode."""
    teacher.train(mode=False)
    logits_NC = torch.zeros(len(pairs), len(LABEL_NAMES))
    hidden_SLH = [torch.empty(0)] * len(pairs)
    with torch.no_grad():
        for positions in _inference_batches(pairs):
            batch = padded_batch([pairs[i] for i in positions])
            logits_NC[positions], states = _forward(teacher, batch)
            chosen_BSLH = torch.stack([states[layer] for layer in hidden_layers], dim=1).half()
            for row, position in enumerate(positions):
                # A copy: a view would keep the padded batch alive.
                hidden_SLH[position] = chosen_BSLH[row, :, : len(pairs[position].input_ids)].clone()
    return TeacherOutputs(logits_NC, hidden_layers, hidden_SLH)


def gold_loss(model: AlbertForSequenceClassification, pairs: Sequence[EncodedPair]) -> torch.Tensor:
    """Cross-entropy with the gold labels, mean over the pairs."""
    batch = padded_batch(pairs)
    return nn.functional.cross_entropy(logits(model, batch), batch.labels_B)


def distillation_loss(
    student: AlbertForSequenceClassification,
    pairs: Sequence[EncodedPair],
    outputs: TeacherOutputs,
    positions: Sequence[int],
) -> torch.Tensor:
    """The weighted sum of KL to the teacher's logits, cross-entropy and squared distance of hidden states.

    `outputs` are the teacher's for `pairs`, in the same order. Padding adds nothing.
    """
    batch = padded_batch([pairs[i] for i in positions])
    logits_BC, states = _forward(student, batch)
    log_p_BC = nn.functional.log_softmax(logits_BC, dim=1)
    log_q_BC = nn.functional.log_softmax(outputs.logits_NC[list(positions)], dim=1)
    kl = nn.functional.kl_div(log_p_BC, log_q_BC, log_target=True, reduction="batchmean")
    gold = nn.functional.nll_loss(log_p_BC, batch.labels_B)
    distance = _hidden_distance(states, batch, outputs, positions)
    return KL_WEIGHT * kl + GOLD_WEIGHT * gold + HIDDEN_WEIGHT * distance


def _hidden_distance(
    states: tuple[torch.Tensor, ...], batch: PairBatch, outputs: TeacherOutputs, positions: Sequence[int]
) -> torch.Tensor:
    mask_BL = batch.attention_mask_BL.bool()
    target_SKH = torch.cat([outputs.hidden_SLH[i] for i in positions], dim=1).float()
    own_SKH = torch.stack([states[layer][mask_BL] for layer in outputs.hidden_layers])
    return nn.functional.mse_loss(own_SKH, target_SKH)


def train(
    model: AlbertForSequenceClassification,
    lengths: Sequence[int],
    loss_at: Callable[[list[int]], torch.Tensor],
    schedule: Schedule,
    after_epoch: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Trains `model` on `len(lengths)` pairs; `loss_at` gives the loss of the pairs at some positions.

    Logs a line every few steps, calls `after_epoch` with 1, 2, …, and returns the mean loss of the last epoch.
    """
    shuffle = random.Random(schedule.seed)  # noqa: S311  an order, not a secret
    epochs = [length_grouped_batches(lengths, schedule.batch_pairs, shuffle) for _ in range(schedule.epochs)]
    steps = sum(len(batches) for batches in epochs)
    optimizer, rate = _optimizer(model, schedule, steps)
    progress = _Progress(steps, clock, clock())
    losses: list[float] = []
    for epoch, batches in enumerate(epochs, start=1):
        model.train()
        losses = []
        for positions in batches:
            losses.append(_step(model, optimizer, loss_at(positions)))
            rate.step()
            progress.log_step(epoch, losses)
        after_epoch(epoch)
    return sum(losses) / len(losses)


@dataclass
class _Progress:
    steps: int
    clock: Callable[[], float]
    started: float
    done: int = 0

    def log_step(self, epoch: int, losses: Sequence[float]) -> None:
        self.done += 1
        if self.done % STEPS_PER_PROGRESS_LINE == 0:
            recent = losses[-STEPS_PER_PROGRESS_LINE:]
            loss = sum(recent) / len(recent)
            minutes = (self.clock() - self.started) / self.done * (self.steps - self.done) / 60
            log.info("epoch %d step %d/%d loss %.4f left %.1f min", epoch, self.done, self.steps, loss, minutes)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    loss.backward()
    # 1.0, as BERT was fine-tuned: it tames the first steps.
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _optimizer(
    model: nn.Module, schedule: Schedule, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Biases and norms, which have one dimension, are not pulled to zero.
    matrices = {"params": [p for p in trained if p.dim() > 1], "weight_decay": schedule.weight_decay}
    vectors = {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([matrices, vectors], lr=schedule.peak_learning_rate, fused=True)
    warmup = max(1, round(schedule.warmup_share * steps))

    def share_of_peak(step: int) -> float:
        return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)


def _inference_batches(pairs: Sequence[EncodedPair]) -> list[list[int]]:
    by_length = sorted(range(len(pairs)), key=lambda i: len(pairs[i].input_ids))
    return [by_length[cut : cut + INFERENCE_BATCH_PAIRS] for cut in range(0, len(pairs), INFERENCE_BATCH_PAIRS)]


def _forward(model: AlbertForSequenceClassification, batch: PairBatch) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    output = model(
        input_ids=batch.input_ids_BL,
        token_type_ids=batch.token_type_ids_BL,
        attention_mask=batch.attention_mask_BL,
        output_hidden_states=True,
    )
    return output.logits, output.hidden_states
