"""The devices that this process can use, and copies to them and back."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from albert_infer.common.printable import one_line
from albert_infer.engine.cards import Card, driver_version, unusable
from albert_infer.errors import DeviceError, SettingsError
from albert_infer.schema import DeviceKind, Precision


def card_here() -> Card:
    """The first GPU that torch finds in this process, and the torch that is to use it."""
    # A plain text: torch's own class would load torch where the card is unpickled.
    version, cuda = str(torch.__version__), torch.version.cuda or ""
    no_card = Card(torch=version, cuda=cuda, driver=driver_version(), machine=platform.node())
    if not torch.cuda.is_available():
        return no_card
    try:
        properties: Any = torch.cuda.get_device_properties(0)
    except RuntimeError as error:
        # A card that is found and does not start: of a torch that it is too new for, or a card that is broken.
        return replace(no_card, fault=one_line(error))
    return replace(
        no_card,
        name=properties.name,
        capability=(properties.major, properties.minor),
        memory_bytes=properties.total_memory,
        l2_bytes=getattr(properties, "L2_cache_size", 0),
        processors=properties.multi_processor_count,
        architectures=tuple(torch.cuda.get_arch_list()),
    )


def card_of(device: DeviceKind) -> Card | None:
    """The card of this process if `device` is a GPU."""
    return card_here() if device is DeviceKind.CUDA else None


def usable_device(
    planned: DeviceKind, precision: Precision, *, allow_cpu: bool, card: Card | None = None
) -> DeviceKind:
    """The device on which this process computes: `planned`, or the CPU if the GPU cannot be used and `allow_cpu`.

    `card` is the card of this process unless a caller knows it. Raises DeviceError for a GPU that cannot be used, and
    for one that does not compute in `precision`: a run never mixes precisions.
    """
    if planned is DeviceKind.CPU:
        return planned
    card = card or card_here()
    if card.obstacle:
        if allow_cpu:
            return DeviceKind.CPU
        raise unusable(card)
    if not card.computes_in(precision):
        reason = f"its card is {card}, which computes in {card.precision}"
        remedy = f"give --precision {card.precision} if all cards compute in it, or run on one kind of card"
        raise DeviceError(f"precision {precision} on {card.machine}", reason, remedy)
    return planned


def gpus_here(devices: Path = Path("/dev")) -> int:
    """The number of NVIDIA GPUs of this machine. It counts those that torch cannot use too, as Ray does.

    A torch without CUDA finds none. So the files of the driver in `devices` are counted then.
    """
    if torch.version.cuda is not None:
        return torch.cuda.device_count()
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    return sum(bool(re.fullmatch(r"nvidia\d+", file.name)) for file in devices.iterdir())


def requested_device(requested: str, precision: str, *, flag: str) -> DeviceKind:
    """The device with that name. `auto` is a GPU if torch can use one, and the CPU for int8.

    Raises SettingsError, which names the `flag`, for a GPU that cannot be used.
    """
    if requested == DeviceKind.CPU or (requested == "auto" and precision == Precision.INT8):
        return DeviceKind.CPU
    card = card_here()
    if card.obstacle and requested == DeviceKind.CUDA:
        raise SettingsError(flag, card.obstacle, f"{card.remedy}, or leave it out")
    return DeviceKind.CPU if card.obstacle else DeviceKind.CUDA


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
