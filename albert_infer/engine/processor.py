"""What this machine's processor can do, as the Linux kernel tells it. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind, Precision

# Products of bfloat16 in hardware; without, they are emulated.
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
# Products of int8 that are added up in 32 bits.
VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this machine's processor, by their Linux names; none where the kernel does not tell."""
    return frozenset(_told("flags").split())


def mkl_is_slow(flags: frozenset[str], vendor: str) -> bool:
    """Whether oneDNN's fp32 products are faster than MKL's, which torch takes.

    MKL uses 512-bit vectors on Intel's processors only. On an AMD Zen 4 oneDNN made 1.2 times as much of the layers'
    products; on a Zen 3, which has no such vectors, 0.95 times (`python -m benchmarks`, its limits in fp32).
    """
    return "avx512f" in flags and vendor != "GenuineIntel"


def resolved_precision(asked: str, device: DeviceKind, cpu_flags: frozenset[str]) -> Precision:
    """The precision of a `--precision`: `auto` is bf16 on a GPU and where the processor multiplies in bf16, else fp32.

    Raises SettingsError for int8 on a GPU.
    """
    if asked == "int8" and device is DeviceKind.CUDA:
        remedy = "give --precision bf16, or --gpus-per-worker 0 to label on the CPU"
        raise SettingsError("--precision int8", "the cluster has GPUs, and int8 is for CPUs", remedy)
    if asked != "auto":
        return Precision(asked)
    fast_bf16 = device is DeviceKind.CUDA or bool(cpu_flags & BF16_FLAGS)
    return Precision.BF16 if fast_bf16 else Precision.FP32


def cpu_vendor() -> str:
    """Who made this machine's processor, as it names itself; empty where the kernel does not tell."""
    return _told("vendor_id")


def _told(key: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
