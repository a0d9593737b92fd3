"""Matrix products in int8, on processors: weights per output, activations per token, sums exact.

`x W = s_x (x_q W_q) s_w`, with a scale `s_x` for each token and `s_w` for each output (Jacob et al. 2018, without its
zero points). A token has its own scale, so that what it becomes does not depend on who shares its micro-batch.

Shapes: X tokens or rows, I columns in, O columns out.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, Precision

LARGEST_ACTIVATION: Final = 127
# Seven bits: without VNNI instructions a processor adds two products in 16 bits, and 2 · 255 · 64 would not fit. Where
# there are such instructions too, so that the same pair gets the same label on every processor.
LARGEST_WEIGHT: Final = 63
# Activations are unsigned for the processor: this is what 0 becomes.
ZERO_POINT: Final = 128
# A scale of zero would divide nothing by nothing.
SMALLEST_SCALE: Final = torch.finfo(torch.float32).tiny


def refuse_without_int8(device: DeviceKind) -> None:
    """Raises ModelError where these products cannot be had."""
    if device is not DeviceKind.CPU or not torch.backends.mkldnn.is_available():
        asked, found = f"precision {Precision.INT8} on {device}", "its products are oneDNN's, for processors"
        raise ModelError(asked, found, f"choose {Precision.BF16} on a GPU, {Precision.FP32} elsewhere")


class Int8Dense:
    """A matrix product with bias; hidden states in and out are fp32. Not finite in, not finite out."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor) -> None:
        scale_O1 = _scales(weight_OI, LARGEST_WEIGHT)
        quantized_OI = (weight_OI / scale_O1).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(quantized_OI, None)
        self._scale_O = scale_O1.squeeze(1)
        self._zero_points_O = torch.zeros(len(bias_O), dtype=torch.int64)
        self._bias_O = bias_O

    def __call__(self, hidden_XI: Tensor) -> Tensor:
        """`hidden_XI` to a fresh tensor (X, O)."""
        scale_X1 = _scales(hidden_XI, LARGEST_ACTIVATION)
        product_XO = self.of_quantized((hidden_XI / scale_X1).round_().add_(ZERO_POINT).to(torch.uint8))
        return torch.addcmul(self._bias_O, product_XO, scale_X1, out=product_XO)

    def of_quantized(self, quantized_XI: Tensor) -> Tensor:
        """The product alone: `quantized_XI`, uint8 around `ZERO_POINT`, to (X, O), without scales of tokens or bias."""
        product_XO: Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized_XI, 1.0, ZERO_POINT, self._weight, self._scale_O, self._zero_points_O,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product_XO


def _scales(rows_XI: Tensor, largest: int) -> Tensor:
    """What each row (X, 1) is divided by, so that its largest number becomes `largest`."""
    return rows_XI.abs().amax(1, keepdim=True).div_(largest).clamp_(min=SMALLEST_SCALE)
