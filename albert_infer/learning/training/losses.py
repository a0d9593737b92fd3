"""What is minimised: cross-entropy with gold labels, and with a teacher the distance to what it computes too.

Every part is a sum over pairs or tokens, so that a batch may be shared by several workers. Shapes: B pairs of a batch,
L tokens of its longest, C classes, H hidden size.
"""
# ruff: noqa: N806, N815 - arrays end in their shape

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from albert_infer.learning.training.batches import PairBatch

# Beside 1 for answers, gold's and the teacher's together: the middle states carry most of what sharing layers lost.
HIDDEN_WEIGHT = 2.0
# Where hidden states are compared: at each third of the layers, which holds the student to the teacher's way.
COMPARED_STATES = 3


@dataclass(frozen=True)
class Outputs:
    """Logits (B, C), and the hidden states (B, L, H) after no layer, after the first, and so on."""

    logits_BC: torch.Tensor
    hidden_BLH: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class BatchSize:
    """Pairs and tokens of a whole batch, of which a worker may have a part."""

    pairs: int
    tokens: int


def outputs(model: nn.Module, batch: PairBatch) -> Outputs:
    """The forward pass of an `AlbertForSequenceClassification`, or of what wraps one."""
    found = model(
        input_ids=batch.input_ids_BL,
        token_type_ids=batch.token_type_ids_BL,
        attention_mask=batch.attention_mask_BL,
        output_hidden_states=True,
    )
    return Outputs(found.logits, found.hidden_states)


def gold_loss(found: Outputs, batch: PairBatch, weights_B: torch.Tensor, size: BatchSize) -> torch.Tensor:  # noqa: N803
    """The part's share of the mean cross-entropy with the gold labels over the batch; `weights_B` are 0 or 1."""
    losses_B = nn.functional.cross_entropy(found.logits_BC.float(), batch.gold_B, reduction="none")
    return (losses_B * weights_B).sum() / size.pairs


def distillation_loss(
    student: Outputs,
    teacher: Outputs,
    batch: PairBatch,
    weights_B: torch.Tensor,  # noqa: N803
    size: BatchSize,
    gold_weight: float,
) -> torch.Tensor:
    """The part's share of KL to the teacher's answers, cross-entropy with gold, and distance of hidden states.

    `gold_weight`, from 0 to 1, is that of gold labels; the rest is the teacher's answers.
    Distilling answers is of Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), hidden states of
    Jiao et al., "TinyBERT" (2020). States are compared where both have the same hidden size. Padding adds nothing.
    """
    log_p_BC = nn.functional.log_softmax(student.logits_BC.float(), dim=1)
    log_q_BC = nn.functional.log_softmax(teacher.logits_BC.float(), dim=1)
    kl_B = nn.functional.kl_div(log_p_BC, log_q_BC, log_target=True, reduction="none").sum(dim=1)
    loss = (1 - gold_weight) * (kl_B * weights_B).sum() / size.pairs
    loss = loss + gold_weight * gold_loss(student, batch, weights_B, size)
    if student.hidden_BLH[-1].shape == teacher.hidden_BLH[-1].shape:
        mask_BL = batch.attention_mask_BL * weights_B[:, None]
        loss = loss + HIDDEN_WEIGHT * _hidden_distance(student, teacher, mask_BL) / size.tokens
    return loss


def compared_layers(layers: int) -> list[int]:
    """After how many layers the states of a model with so many are compared."""
    return [round(layers * part / COMPARED_STATES) for part in range(1, COMPARED_STATES + 1)]


def _hidden_distance(student: Outputs, teacher: Outputs, mask_BL: torch.Tensor) -> torch.Tensor:  # noqa: N803
    """Squared distance, mean over features and compared layers, summed over the tokens of the mask."""
    own, taught = (compared_layers(len(each.hidden_BLH) - 1) for each in (student, teacher))
    distance_BL = sum(
        (student.hidden_BLH[ours].float() - teacher.hidden_BLH[theirs].float()).square().mean(dim=2)
        for ours, theirs in zip(own, taught, strict=True)
    )
    return (distance_BL * mask_BL).sum() / COMPARED_STATES
