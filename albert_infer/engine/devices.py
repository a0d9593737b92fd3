"""Which device the engine can really use in this process."""

from __future__ import annotations

import torch

from albert_infer.schema import DeviceKind


def usable_device(planned: DeviceKind) -> DeviceKind:
    """`planned`, or the CPU where torch finds no CUDA device: a cluster may declare GPUs that are not there."""
    return planned if planned is DeviceKind.CPU or torch.cuda.is_available() else DeviceKind.CPU
