"""Whether a card gets fused layers: Triton must compile for the card, and the sizes of the checkpoint must fit."""

from __future__ import annotations

from functools import cache
from typing import Final

import torch

from albert_infer.engine.cuda.fp8 import refuse_without_fp8
from albert_infer.engine.cuda.fused import WIDEST_ROW, CudaLayers, fp8_layers, half_layers
from albert_infer.engine.cuda.passes import Passes
from albert_infer.engine.kernel_use import Obstacle
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, Precision

# Ampere: Triton does not support older cards.
LEAST_CAPABILITY: Final = (8, 0)
WITHOUT_TRITON: Final = "Triton is missing, or cannot compile"
INSTALL_TRITON: Final = "install triton and a C compiler (gcc or clang) on the machines of the workers"
DEVICE: Final = torch.device(DeviceKind.CUDA.value)


def card_layers(tensors: AlbertTensors, precision: Precision, dtype: torch.dtype) -> CudaLayers | None:
    """The fused layers on the card of this process, or None if the card or the checkpoint needs plain layers.

    Plain layers have no products in fp8: raises ModelError for fp8 instead of returning None.
    """
    if precision is Precision.FP8:
        refuse_without_fp8(DeviceKind.CUDA)
    passes = card_passes() if takes(tensors.shape, torch.cuda.get_device_capability()) else None
    if precision is not Precision.FP8:
        return None if passes is None else half_layers(tensors, dtype, DEVICE, passes)
    if passes is None:
        needs = f"its kernels need Triton, a C compiler, and rows of at most {WIDEST_ROW:,} columns"
        raise ModelError(f"precision {precision} on {DEVICE}", needs, f"install triton, or choose {Precision.BF16}")
    return fp8_layers(tensors, DEVICE, passes)


def card_obstacle(shape: AlbertShape) -> Obstacle | None:
    """What keeps the layers from their kernels on the card of this process; None for nothing."""
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        return Obstacle(
            f"they are for cards of capability 8.0 and later, and the card has {'.'.join(map(str, capability))}"
        )
    if not takes(shape, capability):
        return Obstacle(f"they need rows of at most {WIDEST_ROW:,} columns")
    return None if card_passes() is not None else Obstacle(WITHOUT_TRITON, INSTALL_TRITON)


def takes(shape: AlbertShape, capability: tuple[int, int]) -> bool:
    """Whether the kernels take these sizes and a card of this compute capability."""
    widest = max(shape.embedding_size, shape.hidden_size, shape.intermediate_size)
    return capability >= LEAST_CAPABILITY and widest <= WIDEST_ROW


@cache
def card_passes() -> Passes | None:
    """The passes of the card of this process, or None if Triton is not installed or cannot compile."""
    try:
        from albert_infer.engine.cuda.launches import compiled_passes
    except ImportError:
        return None
    return compiled_passes(DEVICE)
