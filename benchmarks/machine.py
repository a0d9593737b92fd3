"""What the figures were taken on: processor, cores, versions. Linux only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from albert_infer.engine.processor import BF16_FLAGS, cpu_flags

# The instruction sets that decide the speed of matrix products.
SPEED_FLAGS: Final = BF16_FLAGS | {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}
PACKAGES: Final = (
    "albert-infer",
    "torch",
    "transformers",
    "tokenizers",
    "sentence-transformers",
    "onnxruntime",
    "openvino",
    "nncf",
    "ray",
    "pyarrow",
)


@dataclass(frozen=True)
class Machine:
    """The header of a result: a figure without it says nothing."""

    processor: str
    cores: int
    instructions: tuple[str, ...]
    # The GPU of the in-process rows, if they have one.
    gpu: str | None
    # Other work on the machine when the run began, in processes that wanted a core; a quiet machine has less than 0.5.
    load: float
    versions: dict[str, str]
    date: str


def this_machine(gpu: str | None = None) -> Machine:
    """The machine as it is now; `gpu` is told by who uses one, because asking takes torch."""
    return Machine(
        processor=_processor(),
        cores=cores(),
        instructions=tuple(sorted(cpu_flags() & SPEED_FLAGS)),
        gpu=gpu,
        load=round(os.getloadavg()[0], 2),
        versions=_versions(),
        date=datetime.now(tz=UTC).isoformat(timespec="minutes"),
    )


def cores() -> int:
    """The cores that this process may use: every in-process row runs with as many threads."""
    return len(os.sched_getaffinity(0))


def has_bf16_instructions() -> bool:
    """Whether bfloat16 products run in hardware; no figure of theirs means anything where they are emulated."""
    return bool(cpu_flags() & BF16_FLAGS)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
