"""The activations of transformers' ACT2FN by name, each in as few passes over memory as it needs.

Each may overwrite its argument: the caller hands over the fresh result of a product.
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

# 64 rows of 3072 columns are 768 KB: what two cores keep in their second-level caches between the passes.
GELU_ROWS: Final = 64


def _gelu(hidden: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(hidden)  # type: ignore[no-any-return]


def _gelu_tanh(hidden: Tensor) -> Tensor:
    if hidden.is_cpu and hidden.dtype == torch.float32:
        return _gelu_by_sigmoid(hidden)
    return torch.ops.aten.gelu_(hidden, approximate="tanh")  # type: ignore[no-any-return]


def _gelu_by_sigmoid(hidden: Tensor) -> Tensor:
    """Tanh GELU in the form x·sigmoid(2z), which is the same as x·(1 + tanh z)/2 with z = √(2/π)·(x + 0.044715·x³).

    On a CPU torch's exponential costs a third of its hyperbolic tangent, more than the extra passes over memory lose.
    """
    scale = 2 * math.sqrt(2 / math.pi)
    for rows in torch.split(hidden, GELU_ROWS):
        exponent = torch.addcmul(rows.new_tensor(scale), rows, rows, value=scale * 0.044715).mul_(rows)
        rows.mul_(exponent.sigmoid_())
    return hidden


def _quick_gelu(hidden: Tensor) -> Tensor:
    return hidden.mul_(torch.sigmoid(1.702 * hidden))


def _laplace(hidden: Tensor) -> Tensor:
    # The constants of transformers' LaplaceActivation: mean and deviation that bring it close to relu2.
    return hidden.sub_(0.707107).div_(0.282095 * math.sqrt(2)).erf_().add_(1).mul_(0.5)


# The names of transformers for the tanh form differ only in how it is computed there.
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


@dataclass(frozen=True)
class Gate:
    """A GELU as `x · gate(x)`: up to `bound` the gate is 1/2 + x · Σ coefficients[i] · x²ⁱ, beyond it stays."""

    # With seven a GELU is right to 3e-4, a tenth of the least step of bf16 from 1.
    TERMS: ClassVar = 7

    coefficients: tuple[float, ...]
    bound: float


def gate_of(activation: str) -> Gate | None:
    """The gate of an activation by its name in transformers; None for what is no GELU."""
    function = ACTIVATION_BY_NAME[activation]
    if function not in (_gelu, _gelu_tanh):
        return None
    # What a GELU has left beyond it is less than what the fit loses before it.
    bound = 4.0
    # Chebyshev's nodes, which leave an even error.
    squares = bound**2 * (np.cos(np.pi * (np.arange(200) + 0.5) / 200) + 1) / 2
    inputs = torch.from_numpy(np.sqrt(squares))
    odd_part = function(inputs.clone()).numpy() / squares - 0.5 / np.sqrt(squares)
    fitted = np.polynomial.Chebyshev.fit(squares, odd_part, Gate.TERMS - 1, domain=[0, bound**2], w=squares + 1e-3)
    return Gate(tuple(fitted.convert(kind=np.polynomial.Polynomial).coef), bound)
