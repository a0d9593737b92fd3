"""The meaning of an error that a GPU causes: no memory, or a device that this process has lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

# cudaErrorMemoryAllocation, which is also the error of pinned memory that the host refuses.
NO_MEMORY_CODE: Final = 2
# torch raises its own class for its own allocations. Libraries below torch say in a text that they have no memory:
# cuBLAS for a handle, CUDA for a module that it loads late, Triton for a launch.
NO_MEMORY_TEXTS: Final = ("out of memory", "cudaErrorMemoryAllocation", "STATUS_ALLOC_FAILED", "STATUS_NOT_INITIALIZED")
# A part of each message that CUDA and its libraries cause. Releases of torch before 2.8 raise RuntimeError for all.
GPU_TEXTS: Final = ("CUDA error", "CUDA driver error", "[CUDA]", "CUBLAS_STATUS", "CUDNN_STATUS", "cudaError")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or pinned memory of the host, was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not _is_of_a_gpu(error):
        return False
    is_coded = getattr(error, "error_code", None) == NO_MEMORY_CODE
    return is_coded or any(text in str(error) for text in NO_MEMORY_TEXTS)


def is_device_lost(error: BaseException, ask_device: Callable[[], object] = torch.cuda.synchronize) -> bool:
    """Whether this process can use its GPU no more: an error of the GPU after which the device answers with an error.

    After an illegal access, an ECC error or a card that fell off the bus, CUDA repeats the error for every call of the
    process. Only another process can use the device again.
    """
    if not _is_of_a_gpu(error) or is_out_of_memory(error):
        return False
    try:
        ask_device()
    except Exception:  # of whatever class: no answer is the answer
        return True
    return False


def refuse_lost_device() -> None:
    """Raise the error that CUDA repeats, if this process has lost its GPU. Without a GPU in use nothing happens."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _is_of_a_gpu(error: BaseException) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in GPU_TEXTS)
