"""Which device the engine can really use in this process, and the ways to it and back."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind, Precision


def usable_device(planned: DeviceKind) -> DeviceKind:
    """`planned`, or the CPU where torch finds no CUDA device: a cluster may declare GPUs that are not there."""
    return planned if planned is DeviceKind.CPU or torch.cuda.is_available() else DeviceKind.CPU


def gpus_here() -> int:
    """How many CUDA devices torch finds on this machine."""
    return torch.cuda.device_count()


def asked_device(asked: str, precision: str, *, flag: str) -> DeviceKind:
    """The device of that name; `auto` is a GPU where torch can use one, and the CPU for int8.

    Raises SettingsError, which names the `flag`, for a GPU that cannot be used.
    """
    if asked == "auto":
        return DeviceKind.CPU if precision == Precision.INT8 else usable_device(DeviceKind.CUDA)
    device = DeviceKind(asked)
    if usable_device(device) is not device:
        raise SettingsError(flag, "torch finds no CUDA device here", "mend the driver, or leave it out")
    return device


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """`array` on the device; a GPU is not waited for."""
    tensor = torch.from_numpy(array)
    # Out of pageable memory a copy would wait until all that was asked of the GPU before is done.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class OnItsWay:
    """A tensor on its way to the host, behind what computes it and not behind what the device is asked next."""

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.is_cuda:
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def array(self) -> NDArray[Any]:
        """Its numbers, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor.cpu().numpy()
