"""The features of this machine's processor, as the Linux kernel reports them. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Final

from albert_infer.engine.cards import CAPABILITY_OF_KIND, LEAST_CAPABILITY, PREFERRED, Card, precision_of
from albert_infer.errors import SettingsError
from albert_infer.schema import DeviceKind, Precision

# Hardware products of bfloat16. Without them torch emulates bfloat16.
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
# Products of int8 with sums in 32 bits.
VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this machine's processor, by their Linux names; empty if the kernel reports none."""
    return frozenset(_cpuinfo("flags").split())


def cpus_here(cgroup: Path = Path("/sys/fs/cgroup"), affinity: Set[int] | None = None) -> int:
    """The number of CPUs that this process may use: those of its affinity, within the quota of its container."""
    cpus = len(os.sched_getaffinity(0) if affinity is None else affinity)
    # Version 2 of control groups, then version 1. Without a quota, the first word is `max` or -1.
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        words = [word for name in files for word in _words(cgroup / name)]
        if len(words) == 2 and all(map(str.isdecimal, words)):
            return max(1, min(cpus, int(words[0]) // int(words[1])))
    return cpus


def _words(file: Path) -> list[str]:
    return file.read_text("utf-8").split() if file.exists() else []


def mkl_is_slow(flags: frozenset[str], vendor: str) -> bool:
    """Whether oneDNN's fp32 products are faster than MKL's, which torch uses.

    MKL uses 512-bit vectors on Intel's processors only. Speed of oneDNN against MKL for the products of the layers: 1.2
    on an AMD Zen 4; 0.95 on a Zen 3, which has no such vectors (`python -m benchmarks`, limits in fp32).
    """
    return "avx512f" in flags and vendor != "GenuineIntel"


def resolved_precision(
    requested: str, device: DeviceKind, cpu_flags: frozenset[str], card: Card | None = None
) -> Precision:
    """The precision for `--precision`. `auto` is the fastest that the `card` or the processor multiplies in.

    A GPU of which nothing is known is taken for one with bf16. Raises SettingsError for int8 on a GPU, fp16 or fp8 on
    a CPU, and what the card does not compute in.
    """
    if requested == "int8" and device is DeviceKind.CUDA:
        remedy = "give --precision bf16, or --gpus-per-worker 0 to label on the CPU"
        raise SettingsError("--precision int8", "the cluster has GPUs, and int8 is for CPUs", remedy)
    if requested in (Precision.FP16, Precision.FP8) and device is DeviceKind.CPU:
        remedy = "leave it out, or give --precision fp32"
        raise SettingsError(f"--precision {requested}", f"{requested} is for GPUs", remedy)
    if requested != "auto":
        precision = Precision(requested)
        if card is not None and not card.computes_in(precision):
            remedy = f"leave it out, or give --precision {card.precision}"
            raise SettingsError(f"--precision {precision}", f"it is not for {card}", remedy)
        return precision
    if device is DeviceKind.CUDA:
        return Precision.BF16 if card is None else card.precision
    return Precision.BF16 if cpu_flags & BF16_FLAGS else Precision.FP32


def possible_precisions(requested: str) -> Sequence[Precision]:
    """The precisions that a `--precision` may come to on a GPU."""
    return PREFERRED if requested == "auto" else (Precision(requested),)


def refuse_mixed_cards(requested: str, kinds: Iterable[str]) -> None:
    """Raise SettingsError if cards of these `kinds`, by Ray's names, compute in different precisions for `requested`.

    Kinds that nothing is known of are left to the workers.
    """
    cards = {kind: CAPABILITY_OF_KIND[kind] for kind in sorted(kinds) if kind in CAPABILITY_OF_KIND}
    if requested == "auto":
        by_kind = {kind: precision_of(capability) for kind, capability in cards.items()}
        if len(set(by_kind.values())) > 1:
            named = ", ".join(f"{kind} ({precision})" for kind, precision in by_kind.items())
            common = precision_of(min(cards.values()))
            remedy = f"give --precision {common}, in which all compute, or run on one kind of card"
            raise SettingsError("--precision auto", f"the cluster has cards of different precisions: {named}", remedy)
        return
    least = LEAST_CAPABILITY.get(Precision(requested), (0, 0))
    too_old = [kind for kind, capability in cards.items() if capability < least]
    if too_old:
        common = precision_of(min(cards.values()))
        reason = f"the cluster has cards that do not compute in it: {', '.join(too_old)}"
        raise SettingsError(f"--precision {requested}", reason, f"give --precision {common}, or run on other cards")


def cpu_vendor() -> str:
    """The vendor id of this machine's processor; empty if the kernel reports none."""
    return _cpuinfo("vendor_id")


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
