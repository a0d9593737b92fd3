"""The head of the student: a pooler that hardly saturates, and a scale and biases fitted on held-out pairs.

ALBERT's pooler ends in a tanh. The tanh limits the logits of the surest answers, so no temperature fits both
them and the others.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AlbertForSequenceClassification

from albert_infer.schema import NliLabel

# A power of two, so half precision rounds most of the divided weights as before. A weight below 2 ** -14 then has fewer
# bits, which changes the undivided weight by at most 5e-7. For sums below 2.7, tanh(sum / 16) differs from sum / 16 by
# less than 1 %.
POOLER_DIVISOR: Final = 16.0
ITERATIONS: Final = 200


@torch.no_grad()
def straighten_pooler(student: AlbertForSequenceClassification) -> None:
    """Divides what the tanh sees, and multiplies the classifier's weights by the same number."""
    for parameter in student.get_submodule("albert.pooler").parameters():
        parameter.div_(POOLER_DIVISOR)
    student.classifier.weight.mul_(POOLER_DIVISOR)


def fit_classifier(student: AlbertForSequenceClassification, logits: NDArray[np.float32], gold: torch.Tensor) -> None:
    """Scales the classifier and moves its biases, both fitted by maximum likelihood.

    `logits` are the student's for held-out pairs, shape (pairs, 3); `gold` has the codes of their labels.
    """
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(len(NliLabel), dtype=torch.float64, requires_grad=True)
    given = torch.from_numpy(logits).double()
    optimizer = torch.optim.LBFGS([scale, biases], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(given * scale + biases, gold)
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        for parameter in student.classifier.parameters():
            parameter.mul_(scale.item())
        student.classifier.bias.add_(biases)
