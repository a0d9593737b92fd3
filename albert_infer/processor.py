"""What this machine's processor can do, as the Linux kernel tells it. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Products of bfloat16 in hardware; without, they are emulated.
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
# Products of int8 that are added up in 32 bits.
VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this machine's processor, by their Linux names; none where the kernel does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
