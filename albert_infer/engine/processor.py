"""The features of this machine's processor, as the Linux kernel reports them. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind, Precision

# Hardware products of bfloat16. Without them torch emulates bfloat16.
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
# Products of int8 with sums in 32 bits.
VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this machine's processor, by their Linux names; empty if the kernel reports none."""
    return frozenset(_cpuinfo("flags").split())


def mkl_is_slow(flags: frozenset[str], vendor: str) -> bool:
    """Whether oneDNN's fp32 products are faster than MKL's, which torch uses.

    MKL uses 512-bit vectors on Intel's processors only. Speed of oneDNN against MKL for the products of the layers: 1.2
    on an AMD Zen 4; 0.95 on a Zen 3, which has no such vectors (`python -m benchmarks`, limits in fp32).
    """
    return "avx512f" in flags and vendor != "GenuineIntel"


def resolved_precision(requested: str, device: DeviceKind, cpu_flags: frozenset[str]) -> Precision:
    """The precision for `--precision`. `auto` is bf16 on a GPU or a CPU with bf16 products, else fp32.

    Raises SettingsError for int8 on a GPU.
    """
    if requested == "int8" and device is DeviceKind.CUDA:
        remedy = "give --precision bf16, or --gpus-per-worker 0 to label on the CPU"
        raise SettingsError("--precision int8", "the cluster has GPUs, and int8 is for CPUs", remedy)
    if requested != "auto":
        return Precision(requested)
    fast_bf16 = device is DeviceKind.CUDA or bool(cpu_flags & BF16_FLAGS)
    return Precision.BF16 if fast_bf16 else Precision.FP32


def cpu_vendor() -> str:
    """The vendor id of this machine's processor; empty if the kernel reports none."""
    return _cpuinfo("vendor_id")


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
