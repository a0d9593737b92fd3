"""Steps on the machine itself: the card, its driver, and the rates that the model of `benchmarks.roofline` assumes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import torch

from albert_infer.engine.cards import has_code
from benchmarks import card_model
from benchmarks.gpu.bench import BF16_CAPABILITY, Bench, seconds_of
from benchmarks.gpu.figures import Figure

PACKAGES: Final = ("torch", "triton", "transformers", "tokenizers", "pyarrow", "sentence-transformers")
QUERY: Final = "driver_version,power.limit,clocks.max.sm,memory.used"
# Sides of a product that is large for every card, and the bytes of a copy that no cache holds.
SIDE, COPIED_BYTES = 8192, 1 << 32
DRY_SIDE, DRY_BYTES = 64, 1 << 16


def machine(bench: Bench) -> Sequence[Figure]:
    """The card, the driver and the versions. The only bar: torch has kernels for the card."""
    versions = {package: installed for package in PACKAGES if (installed := _version(package))}
    figures = [
        Figure("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        Figure("cores", float(len(os.sched_getaffinity(0)))),
    ]
    if bench.dry:
        return [*figures, Figure("card", "none: this is a dry run")]
    card = torch.cuda.get_device_properties(0)
    architectures = tuple(torch.cuda.get_arch_list())
    return [
        *figures,
        Figure("card", card.name),
        Figure("driver, power limit, clock, memory in use", _nvidia_smi()),
        Figure("CUDA of torch", str(torch.version.cuda)),
        Figure("memory", card.total_memory / 1e9, "GB"),
        Figure("L2 cache", getattr(card, "L2_cache_size", 0) / 1e6, "MB"),
        Figure("multiprocessors", float(card.multi_processor_count)),
        Figure("architectures of torch", ", ".join(architectures)),
        Figure("torch has kernels for the card (1 is yes)", float(has_code(bench.capability, architectures)), least=1),
    ]


@torch.inference_mode()
def rates(bench: Bench) -> Sequence[Figure]:
    """A large product and a large copy, next to what the model assumes of the card."""
    side = DRY_SIDE if bench.dry else SIDE
    dtype = torch.bfloat16 if bench.dry or bench.capability >= BF16_CAPABILITY else torch.float16
    left, right = (torch.randn(side, side, dtype=dtype, device=bench.where) for _ in range(2))
    product = 2 * side**3 / seconds_of(lambda: left @ right, bench.device)
    source = torch.ones(DRY_BYTES if bench.dry else COPIED_BYTES, dtype=torch.uint8, device=bench.where)
    target = torch.empty_like(source)
    copied = 2 * source.numel() / seconds_of(lambda: target.copy_(source), bench.device)
    return [
        Figure(f"product of {side} x {side}", product / 1e12, "TFLOP/s"),
        Figure("copy, bytes read and written", copied / 1e9, "GB/s"),
        *_assumed("" if bench.dry else torch.cuda.get_device_name()),
    ]


def _assumed(gpu: str) -> Sequence[Figure]:
    card = card_model.card_named(gpu)
    if card is None:
        return [Figure("assumed of this card", "nothing: the model does not have it")]
    bandwidth = card.bandwidth_gbs * card_model.BANDWIDTH_SHARE
    return [
        Figure("assumed: products of base", card.products["base"], "TFLOP/s"),
        Figure("assumed: bandwidth", bandwidth, "GB/s"),
        *(
            Figure(f"modelled: base, {kind}", card_model.pass_time(card, "base", kind).pairs_per_second, "pairs/s")
            for kind in card.kinds
        ),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _nvidia_smi() -> str:
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    return answer.stdout.strip() or answer.stderr.strip()
