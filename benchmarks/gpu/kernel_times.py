"""The time that a device computes, by kind of kernel, as torch's profiler sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch.profiler import ProfilerActivity, profile

from albert_infer.schema import DeviceKind
from benchmarks.devices import finish

# Words in the names of kernels; the first kind that has one of its words in a name takes the kernel.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "copies": ("memcpy", "memset", "fill"),
    "attention": ("flash", "fmha", "attention"),
    "norms": ("layer_norm", "layernorm", "_norm"),
    "activations": ("gelu",),
    "products": ("gemm", "nvjet", "cutlass", "cublas", "splitk", "addmm"),
}
OTHERS: Final = "sums and others"


@dataclass(frozen=True)
class KernelTimes:
    """Of one call: launches, and milliseconds of the device by kind."""

    launches: float
    milliseconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Milliseconds in which the device computed."""
        return sum(self.milliseconds.values())


def kernel_times(call: Callable[[], object], device: DeviceKind, repeat: int = 1) -> KernelTimes:
    """Profile `repeat` calls after a first one. On a CPU torch's operations take the place of kernels."""
    call()
    finish(device)
    on_card = device is DeviceKind.CUDA
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=activities) as profiled:
        for _ in range(repeat):
            call()
        finish(device)
    wanted = "CUDA" if on_card else "CPU"
    events = [event for event in profiled.events() or [] if event.device_type.name == wanted]
    times: dict[str, float] = defaultdict(float)
    for event in events:
        times[kind_of(event.name)] += _milliseconds(event, on_card) / repeat
    return KernelTimes(len(events) / repeat, dict(sorted(times.items(), key=lambda kind: -kind[1])))


def kind_of(kernel: str) -> str:
    """The kind of a kernel, by its name."""
    name = kernel.lower()
    return next((kind for kind, words in WORDS.items() if any(word in name for word in words)), OTHERS)


def _milliseconds(event: Any, on_card: bool) -> float:
    # Operations of a CPU contain one another, so only their own time counts.
    microseconds: float = event.time_range.elapsed_us() if on_card else event.self_cpu_time_total
    return microseconds / 1e3
