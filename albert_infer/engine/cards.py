"""What a GPU is, whether torch can use it, and which precision it computes in. Imports no torch.

`devices` reads the card of a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from albert_infer.errors import DeviceError
from albert_infer.schema import Precision

Capability = tuple[int, int]

# The first cards whose matrix units multiply in each precision. Older cards emulate it, many times slower.
LEAST_CAPABILITY: Final[Mapping[Precision, Capability]] = {
    Precision.BF16: (8, 0),
    Precision.FP16: (7, 0),
    Precision.FP32: (0, 0),
    Precision.FP8: (8, 9),
}
# The order in which `auto` prefers what a card computes in.
PREFERRED: Final = (Precision.BF16, Precision.FP16, Precision.FP32)
# By the names of Ray's resources `accelerator_type:NAME`.
CAPABILITY_OF_KIND: Final[Mapping[str, Capability]] = {
    kind: capability
    for capability, kinds in (
        ((3, 7), ("K80",)),
        ((6, 0), ("P100",)),
        ((6, 1), ("P4",)),
        ((7, 0), ("V100",)),
        ((7, 5), ("T4",)),
        ((8, 0), ("A100", "A100-40G", "A100-80G")),
        ((8, 6), ("A10G",)),
        ((8, 9), ("L4", "L40S")),
        ((9, 0), ("H100", "H200", "H20", "GH200")),
        ((10, 0), ("B200", "GB200")),
        ((10, 3), ("B300", "GB300")),
        ((12, 0), ("RTX-PRO-6000",)),
    )
    for kind in kinds
}
# The first driver that runs programs of each major release of CUDA.
LEAST_DRIVER: Final = {"12": 525, "13": 580}
DRIVER_FILE: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Card:
    """The GPU of a process, and the torch that is to use it.

    `name` is empty where torch finds no GPU. `capability` is CUDA's, `driver` and `cuda` are empty where unknown.
    `architectures` are those that torch has code for, as `sm_80` or `compute_90`. `l2_bytes` is the cache,
    `processors` are the card's multiprocessors, `machine` is the name of its computer. `fault` is the error of a card
    that does not start.
    """

    name: str = ""
    capability: Capability = (0, 0)
    memory_bytes: int = 0
    l2_bytes: int = 0
    processors: int = 0
    driver: str = ""
    torch: str = ""
    cuda: str = ""
    architectures: tuple[str, ...] = ()
    machine: str = ""
    fault: str = ""

    @property
    def obstacle(self) -> str:
        """Why torch cannot use the card; empty where it can."""
        if self.fault:
            return f"torch {self.torch} cannot start the CUDA device ({self._driver_text()}): {self.fault}"
        if not self.name:
            return f"torch {self.torch} finds no CUDA device ({self._driver_text()})"
        if not has_code(self.capability, self.architectures):
            has = ", ".join(self.architectures) or "no card"
            return f"torch {self.torch} has code for {has}, and the card is {self}"
        return ""

    @property
    def remedy(self) -> str:
        """What an operator does about an obstacle."""
        if not self.cuda:
            return "install a torch with CUDA, or mend the driver"
        least = LEAST_DRIVER.get(self.cuda.partition(".")[0])
        needs = f" (CUDA {self.cuda} needs {least} or later)" if least else ""
        return f"mend the driver{needs}, or install a torch that is built for this card"

    @property
    def precision(self) -> Precision:
        """What `auto` is on this card."""
        return precision_of(self.capability)

    def computes_in(self, precision: Precision) -> bool:
        """Whether the card's matrix units multiply in `precision`."""
        return precision in LEAST_CAPABILITY and self.capability >= LEAST_CAPABILITY[precision]

    def _driver_text(self) -> str:
        return f"driver {self.driver}" if self.driver else "no NVIDIA driver"

    def __str__(self) -> str:
        major, minor = self.capability
        return f"{self.name} of capability {major}.{minor}, {self._driver_text()}"


def unusable(card: Card) -> DeviceError:
    """The error for a planned GPU that has an obstacle."""
    return DeviceError(f"a GPU on {card.machine}", card.obstacle, f"{card.remedy}; or compute on CPUs with --allow-cpu")


def precision_of(capability: Capability) -> Precision:
    """The first of `PREFERRED` that a card of this capability computes in."""
    return next(each for each in PREFERRED if capability >= LEAST_CAPABILITY[each])


def has_code(capability: Capability, architectures: tuple[str, ...]) -> bool:
    """Whether code for `architectures` runs on a card.

    Machine code (`sm_86`) runs on cards of the same major number and the same or a later minor one. Code for a driver
    to compile (`compute_90`) runs on all later cards. A letter behind the number means this card alone.
    """
    for architecture in architectures:
        parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", architecture)
        if not parts:
            continue
        kind, alone, built_for = parts[1], bool(parts[4]), (int(parts[2]), int(parts[3]))
        runs_later = kind == "compute" or built_for[0] == capability[0]
        if built_for == capability or (runs_later and not alone and built_for <= capability):
            return True
    return False


def driver_version(file: Path = DRIVER_FILE) -> str:
    """The version of NVIDIA's driver on this machine; empty where there is none."""
    text = file.read_text("utf-8", "replace") if file.exists() else ""
    match = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", text)
    return match[1] if match else ""
