"""The activations of transformers' ACT2FN by name, with few passes over memory.

Each may overwrite its argument, which must be the fresh result of a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]

# 64 rows of 3072 columns are 768 KB. They stay in the second-level caches of two cores between the passes.
GELU_ROWS: Final = 64


def _gelu(hidden: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(hidden)  # type: ignore[no-any-return]


def _gelu_tanh(hidden: Tensor) -> Tensor:
    if hidden.is_cpu and hidden.dtype == torch.float32:
        return _gelu_by_sigmoid(hidden)
    return torch.ops.aten.gelu_(hidden, approximate="tanh")  # type: ignore[no-any-return]


def _gelu_by_sigmoid(hidden: Tensor) -> Tensor:
    """Tanh GELU in the form x·sigmoid(2z), which is the same as x·(1 + tanh z)/2 with z = √(2/π)·(x + 0.044715·x³).

    On a CPU, torch's exponential takes a third of the time of its tanh. This saves more than the extra passes cost.
    """
    scale = 2 * math.sqrt(2 / math.pi)
    for rows in torch.split(hidden, GELU_ROWS):
        exponent = torch.addcmul(rows.new_tensor(scale), rows, rows, value=scale * 0.044715).mul_(rows)
        rows.mul_(exponent.sigmoid_())
    return hidden


def _quick_gelu(hidden: Tensor) -> Tensor:
    return hidden.mul_(torch.sigmoid(1.702 * hidden))


def _laplace(hidden: Tensor) -> Tensor:
    # The mean and the deviation of transformers' LaplaceActivation, which make it similar to relu2.
    return hidden.sub_(0.707107).div_(0.282095 * math.sqrt(2)).erf_().add_(1).mul_(0.5)


# The names with the tanh form differ in transformers only by how it is computed.
ACTIVATION_BY_NAME: Final[Mapping[str, Activation]] = {
    "gelu": _gelu,
    "gelu_10": lambda hidden: _gelu(hidden).clamp_(-10, 10),
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_python": _gelu,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "hardswish": functional.hardswish,
    "laplace": _laplace,
    "leaky_relu": functional.leaky_relu,
    "linear": lambda hidden: hidden,
    "mish": functional.mish,
    "quick_gelu": _quick_gelu,
    "relu": torch.relu_,
    "relu2": lambda hidden: hidden.relu_().square_(),
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid_,
    "silu": lambda hidden: functional.silu(hidden, inplace=True),
    "swish": lambda hidden: functional.silu(hidden, inplace=True),
    "tanh": torch.tanh_,
}


def is_gelu_tanh(activation: str) -> bool:
    """Whether the activation of that name in transformers is the tanh form of GELU."""
    return ACTIVATION_BY_NAME[activation] is _gelu_tanh


@dataclass(frozen=True)
class Gate:
    """A GELU as `x · gate(x)`. The gate is 1/2 + x · Σ coefficients[i] · x²ⁱ up to `bound`, and constant beyond."""

    # With seven terms the error is 3e-4, a tenth of the smallest step of bf16 at 1.
    TERMS: ClassVar = 7

    coefficients: tuple[float, ...]
    bound: float


def gate_of(activation: str) -> Gate | None:
    """The gate of an activation by its name in transformers; None if it is not a GELU."""
    function = ACTIVATION_BY_NAME[activation]
    if function not in (_gelu, _gelu_tanh):
        return None
    # Beyond this bound, the change of a GELU is smaller than the error of the fit below it.
    bound = 4.0
    # Chebyshev nodes, which spread the error evenly.
    squares = bound**2 * (np.cos(np.pi * (np.arange(200) + 0.5) / 200) + 1) / 2
    inputs = torch.from_numpy(np.sqrt(squares))
    odd_part = function(inputs.clone()).numpy() / squares - 0.5 / np.sqrt(squares)
    fitted = np.polynomial.Chebyshev.fit(squares, odd_part, Gate.TERMS - 1, domain=[0, bound**2], w=squares + 1e-3)
    return Gate(tuple(fitted.convert(kind=np.polynomial.Polynomial).coef), bound)
