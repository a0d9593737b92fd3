"""The devices that this process can use, and copies to them and back."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind, Precision


def usable_device(planned: DeviceKind) -> DeviceKind:
    """`planned`, or the CPU if torch finds no CUDA device. A cluster may declare GPUs that do not exist."""
    return planned if planned is DeviceKind.CPU or torch.cuda.is_available() else DeviceKind.CPU


def gpus_here() -> int:
    """The number of CUDA devices that torch finds on this machine."""
    return torch.cuda.device_count()


def requested_device(requested: str, precision: str, *, flag: str) -> DeviceKind:
    """The device with that name. `auto` is a GPU if torch can use one, and the CPU for int8.

    Raises SettingsError, which names the `flag`, for a GPU that cannot be used.
    """
    if requested == "auto":
        return DeviceKind.CPU if precision == Precision.INT8 else usable_device(DeviceKind.CUDA)
    device = DeviceKind(requested)
    if usable_device(device) is not device:
        raise SettingsError(flag, "torch finds no CUDA device here", "repair the driver, or leave the flag out")
    return device


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy `array` to the device, without waiting for a GPU."""
    tensor = torch.from_numpy(array)
    # A copy from pageable memory would wait until the GPU has finished all earlier work. torch keeps the pinned blocks:
    # a block whose copy has ended is used again, so that only the first passes of a process pin memory.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class HostCopy:
    """A copy of a tensor to the host. It waits for the tensor's computation, but not for later work of the device."""

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.is_cuda:
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
            # Waits asleep: a wait that spins would take a core from the tokenizers.
            self._copied = torch.cuda.Event(blocking=True)
            self._copied.record()

    def array(self) -> NDArray[Any]:
        """Wait for the copy, and return its numbers."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensor.cpu().numpy()
