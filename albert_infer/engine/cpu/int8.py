"""Matrix products in int8 on CPUs: weights are scaled per output, activations per token, and sums are exact.

A token's numbers are `x = center + scale · q` with whole numbers `q`, so the product is
`x W = scale · (q W) + center · (1 W)` with `W` rounded per output (Jacob et al. 2018, with the zero point of each token
taken out of the product). Each token has its own scale and center, so its result does not depend on the other rows of
its micro-batch.

Shapes: X tokens or rows, I columns in, O columns out.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.processor import VNNI_FLAGS, cpu_flags
from albert_infer.engine.weights import onednn_has_bf16
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, Precision

LARGEST_ACTIVATION: Final = 127
LARGEST_WEIGHT: Final = 127
# Activations are unsigned. A 0 is stored as this number.
ZERO_POINT: Final = 128
# Avoids 0 / 0 for a scale of zero.
SMALLEST_SCALE: Final = torch.finfo(torch.float32).tiny


def refuse_without_int8(device: DeviceKind) -> None:
    """Raises ModelError if these products are not available."""
    if device is not DeviceKind.CPU or not torch.backends.mkldnn.is_available():
        asked, problem = f"precision {Precision.INT8} on {device}", "oneDNN has its products for CPUs only"
        raise ModelError(asked, problem, f"choose {Precision.BF16} on a GPU, {Precision.FP32} elsewhere")


def state_dtype() -> torch.dtype:
    """The type of the products between fused passes: the smallest that oneDNN writes fast on this processor.

    Without instructions for bf16 its products in bf16 are those of its reference, which is thousands of times slower.
    """
    return torch.bfloat16 if onednn_has_bf16() else torch.float32


def weight_scales(weight_OI: Tensor) -> Tensor:
    """The scale of each output (O, 1), so small that no sum of products overflows on this processor.

    Without VNNI instructions a CPU adds the products of two neighbouring columns in 16 bits, where 255 · 128 fits.
    """
    largest_O = weight_OI.abs().amax(1)
    if not cpu_flags() & VNNI_FLAGS:
        neighbours_OJ2 = functional.pad(weight_OI, (0, weight_OI.shape[1] % 2)).unflatten(1, (-1, 2))
        largest_O = torch.maximum(largest_O, neighbours_OJ2.sum(2).abs().amax(1))
    return largest_O.unsqueeze(1).div_(LARGEST_WEIGHT).clamp_(min=SMALLEST_SCALE)


class Int8Dense:
    """A matrix product with bias. Inputs and outputs are fp32. An input that is not finite gives such an output.

    `sums_O` are the sums of the rounded weights, the factors of `center`.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor) -> None:
        scale_O1 = weight_scales(weight_OI)
        quantized_OI = (weight_OI / scale_O1).round_()
        self.sums_O = (quantized_OI.sum(1, keepdim=True) * scale_O1).squeeze(1)
        self.bias_O = bias_O
        self._weight = torch.ops.onednn.qlinear_prepack(quantized_OI.to(torch.int8), None)
        self._scale_O = scale_O1.squeeze(1)
        self._zero_points_O = torch.zeros(len(bias_O), dtype=torch.int64)

    def __call__(self, hidden_XI: Tensor) -> Tensor:
        """`hidden_XI` to a fresh tensor (X, O)."""
        lowest_X1, highest_X1 = hidden_XI.aminmax(dim=1, keepdim=True)
        center_X1 = (highest_X1 + lowest_X1).div_(2)
        scale_X1 = (highest_X1 - lowest_X1).div_(2 * LARGEST_ACTIVATION).clamp_(min=SMALLEST_SCALE)
        quantized_XI = (hidden_XI - center_X1).div_(scale_X1).round_().add_(ZERO_POINT).to(torch.uint8)
        product_XO = self.of_quantized(quantized_XI, torch.float32).mul_(scale_X1)
        return product_XO.addcmul_(center_X1, self.sums_O).add_(self.bias_O)

    def of_quantized(self, quantized_XI: Tensor, dtype: torch.dtype) -> Tensor:
        """The product (X, O) of `quantized_XI`, uint8 around `ZERO_POINT`, without scales of tokens and bias."""
        product_XO: Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized_XI, 1.0, ZERO_POINT, self._weight, self._scale_O, self._zero_points_O,
            None, 1.0, 0, dtype, "none", [], "",
        )  # fmt: skip
        return product_XO
