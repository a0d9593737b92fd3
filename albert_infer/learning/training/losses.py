"""The losses: cross-entropy with gold labels, and with a teacher also the distance to its outputs.

Every loss is a sum over pairs or tokens, so that several workers can share a batch. Shapes: B pairs of a batch,
L tokens of its longest, C classes, H hidden size.
"""
# ruff: noqa: N806, N815 - arrays end in their shape

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from albert_infer.learning.training.batches import PairBatch

# The weight of hidden states. The labels of gold and teacher have weight 1 together.
HIDDEN_WEIGHT = 2.0
# Hidden states are compared at each third of the layers.
COMPARED_STATES = 3


@dataclass(frozen=True)
class Outputs:
    """Logits (B, C), and hidden states (B, L, H): of the embeddings, after the first layer, and so on."""

    logits_BC: torch.Tensor
    hidden_BLH: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class BatchSize:
    """The pairs and tokens of a whole batch. A worker may have a part of it."""

    pairs: int
    tokens: int


def outputs(model: nn.Module, batch: PairBatch) -> Outputs:
    """The forward pass of an `AlbertForSequenceClassification`, or of a wrapper."""
    result = model(
        input_ids=batch.input_ids_BL,
        token_type_ids=batch.token_type_ids_BL,
        attention_mask=batch.attention_mask_BL,
        output_hidden_states=True,
    )
    return Outputs(result.logits, result.hidden_states)


def gold_loss(student: Outputs, batch: PairBatch, weights_B: torch.Tensor, size: BatchSize) -> torch.Tensor:  # noqa: N803
    """The part's share of the batch's mean cross-entropy with gold labels. `weights_B` are 0 or 1."""
    losses_B = nn.functional.cross_entropy(student.logits_BC.float(), batch.gold_B, reduction="none")
    return (losses_B * weights_B).sum() / size.pairs


def distillation_loss(
    student: Outputs,
    teacher: Outputs,
    batch: PairBatch,
    weights_B: torch.Tensor,  # noqa: N803
    size: BatchSize,
    gold_weight: float,
) -> torch.Tensor:
    """The part's share of the KL divergence to the teacher, the gold cross-entropy, and the hidden-state distance.

    `gold_weight`, from 0 to 1, is the weight of gold labels; the KL divergence has the rest. Distillation of outputs:
    Hinton et al., "Distilling the Knowledge in a Neural Network" (2015); of hidden states: Jiao et al., "TinyBERT"
    (2020). Hidden states are compared if both models have the same hidden size. Padding adds nothing.
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
    """The numbers of layers after which hidden states are compared, in a model with `layers` layers."""
    return [round(layers * part / COMPARED_STATES) for part in range(1, COMPARED_STATES + 1)]


def _hidden_distance(student: Outputs, teacher: Outputs, mask_BL: torch.Tensor) -> torch.Tensor:  # noqa: N803
    """The squared distance of hidden states: mean over features and compared layers, sum over tokens of the mask."""
    student_layers, teacher_layers = (compared_layers(len(each.hidden_BLH) - 1) for each in (student, teacher))
    distance_BL = sum(
        (student.hidden_BLH[own].float() - teacher.hidden_BLH[other].float()).square().mean(dim=2)
        for own, other in zip(student_layers, teacher_layers, strict=True)
    )
    return (distance_BL * mask_BL).sum() / COMPARED_STATES
