"""Matrix products in fp8, with a scale for each token and for each output, and sums in fp32.

A token has its own scale, so that its result does not depend on the other tokens of its micro-batch.

Shapes: X tokens or rows, I columns in, O columns out.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from albert_infer.engine.cards import LEAST_CAPABILITY
from albert_infer.engine.cuda.passes import Fp8Rows, Passes, fp8_rows
from albert_infer.engine.devices import card_of
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, Precision

# Both sides of a weight are multiples of this.
SIDE: Final = 16

# The product of rows in fp8 and a weight (O, I) in fp8, with a bias (O) or without, in bf16.
Fp8Multiply = Callable[[Fp8Rows, Fp8Rows, Tensor | None], Tensor]


def refuse_without_fp8(device: DeviceKind) -> None:
    """Raises ModelError for a device without these products."""
    card = card_of(device)
    if card is None or not card.computes_in(Precision.FP8):
        major, minor = LEAST_CAPABILITY[Precision.FP8]
        needs = f"it needs a GPU of capability {major}.{minor} or later"
        remedy = f"choose {Precision.BF16}, or {Precision.FP32}"
        raise ModelError(f"precision {Precision.FP8} on {card or device}", needs, remedy)


def fp8_takes(weight_OI: Tensor) -> bool:
    """Whether both sides of the weight are multiples of `SIDE`."""
    return not any(side % SIDE for side in weight_OI.shape)


def scaled_product(states: Fp8Rows, weight: Fp8Rows, bias_O: Tensor | None = None) -> Tensor:
    """The product on a card."""
    # Private: torch has no public product with a scale for each row. Fast sums keep fewer bits. Before a run labels are
    # compared with those of fp32.
    product_XO: Tensor = torch._scaled_mm(
        states.values_XN,
        weight.values_XN.t(),
        scale_a=states.scales_X1,
        scale_b=weight.scales_X1.t(),
        bias=bias_O,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product_XO


def emulated_product(states: Fp8Rows, weight: Fp8Rows, bias_O: Tensor | None) -> Tensor:
    """The product of the same rounded numbers on any device."""
    states_XI, weight_OI = (part.values_XN.float() * part.scales_X1 for part in (states, weight))
    product_XO = states_XI @ weight_OI.T
    return (product_XO if bias_O is None else product_XO + bias_O.float()).bfloat16()


class Fp8Product:
    """A matrix product with bias, of states in bf16. Its weight is quantised once.

    The product of a row that is not finite is not finite.
    """

    def __init__(
        self, weight_OI: Tensor, bias_O: Tensor, passes: Passes, multiply: Fp8Multiply = scaled_product
    ) -> None:
        self.bias = bias_O
        self._weight = fp8_rows(weight_OI.float())
        self._passes = passes
        self._multiply = multiply

    def __call__(self, hidden_XI: Tensor) -> Tensor:
        """`hidden_XI` to a fresh tensor (X, O)."""
        return self._multiply(self._passes.quantized(hidden_XI, gelu=False), self._weight, self.bias)

    def unbiased(self, hidden_XI: Tensor) -> Tensor:
        """The same without the bias."""
        return self._multiply(self._passes.quantized(hidden_XI, gelu=False), self._weight, None)

    def unbiased_of_gelu(self, hidden_XI: Tensor) -> Tensor:
        """The same for the tanh form of GELU of `hidden_XI`."""
        return self._multiply(self._passes.quantized(hidden_XI, gelu=True), self._weight, None)
