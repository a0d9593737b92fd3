"""The head of the built-in checkpoint: its pooler hardly saturates, and its classifier fits held-out labels."""

from __future__ import annotations

import math

import numpy as np
import torch
from training_models import tiny_student
from transformers import AlbertForSequenceClassification

from recipes.builtin.head import POOLER_DIVISOR, fit_classifier, straighten_pooler

HIDDEN = 16


def student_with_biases() -> AlbertForSequenceClassification:
    """A tiny student whose head has biases, as after a training."""
    student = tiny_student()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name in ("albert.pooler.bias", "classifier.bias"):
            student.get_parameter(name).normal_(std=0.3, generator=generator)
    return student


def logits_of(student: AlbertForSequenceClassification, states: torch.Tensor) -> torch.Tensor:
    """The logits of states of the first token, shape (rows, hidden size)."""
    with torch.no_grad():
        pooled = torch.tanh(student.get_submodule("albert.pooler")(states))
        logits: torch.Tensor = student.classifier(pooled)
    return logits


def test_the_pooler_is_nearly_linear() -> None:
    student = student_with_biases()
    states = 0.8 * torch.randn(50, HIDDEN, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sums = student.get_submodule("albert.pooler")(states)
        linear = student.classifier(sums)
    assert sums.abs().max() < POOLER_DIVISOR / 4  # where the tanh of a 16th is within 2.1 % of it
    saturated = logits_of(student, states)
    straighten_pooler(student)
    error = (logits_of(student, states) - linear).abs().max()
    assert error < 0.03 * (linear - student.classifier.bias).abs().max()
    assert error < (saturated - linear).abs().max() / 10


def test_the_classifier_gets_the_scale_and_the_biases_of_the_labels() -> None:
    student = student_with_biases()
    states = torch.randn(50, HIDDEN, generator=torch.Generator().manual_seed(1))
    before = logits_of(student, states)
    generator = np.random.default_rng(0)
    logits = 3 * generator.standard_normal((30_000, 3)).astype(np.float32)
    wanted = np.asarray([0.5, -0.2, -0.3])
    likely = 0.6 * logits + wanted + generator.gumbel(size=logits.shape)
    fit_classifier(student, logits, torch.from_numpy(likely.argmax(axis=1)))
    moved = logits_of(student, states) - 0.6 * before
    assert np.abs(moved.numpy() - wanted).max() < 0.1


def test_an_even_fit_scales_and_moves_no_bias() -> None:
    student = student_with_biases()
    states = torch.randn(50, HIDDEN, generator=torch.Generator().manual_seed(1))
    before = logits_of(student, states)
    logits = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    gold = torch.tensor([0, 0, 1, 2, 1, 1, 2, 0, 2, 2, 0, 1])  # each label is right in half of its rows
    fit_classifier(student, logits, gold)
    # The probability exp(s) / (exp(s) + 2) of the likeliest label is a half where s is the logarithm of 2.
    assert torch.allclose(logits_of(student, states), math.log(2) * before, rtol=1e-3, atol=1e-4)
