"""The device that the in-process rows run on: which there is, what it multiplies in, and when its work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from albert_infer.engine.devices import card_here
from albert_infer.schema import DeviceKind, Precision
from benchmarks import machine

# What Hugging Face's models are loaded in.
FLOAT_DTYPES: Final[Mapping[str, torch.dtype]] = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}
NO_BF16: Final = "no bf16 instructions"
NO_FP16: Final = "fp16 is for GPUs"


def this_device() -> DeviceKind:
    """A GPU where torch sees one."""
    return DeviceKind.CUDA if torch.cuda.is_available() else DeviceKind.CPU


def gpu_name(device: DeviceKind) -> str | None:
    """What a GPU calls itself; None for the CPU."""
    return torch.cuda.get_device_name() if device is DeviceKind.CUDA else None


def obstacle(device: DeviceKind, precision: str) -> str:
    """Why figures in `precision` mean nothing on `device`; empty where they mean something."""
    if device is DeviceKind.CUDA:
        is_emulated = precision in FLOAT_DTYPES and not card_here().computes_in(Precision(precision))
        return f"the card does not multiply in {precision}" if is_emulated else ""
    if precision == Precision.FP16:
        return NO_FP16
    return NO_BF16 if precision == Precision.BF16 and not machine.has_bf16_instructions() else ""


def finish(device: DeviceKind) -> None:
    """Wait until all that was asked of the device is done: a GPU works on while Python goes on."""
    if device is DeviceKind.CUDA:
        torch.cuda.synchronize()
