"""Forward passes that survive a device out of memory: a micro-batch that does not fit is halved, down to one row.

Shapes: B rows of a micro-batch, C labels.
"""
# ruff: noqa: N803, N806, N815 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from albert_infer.engine.devices import HostCopy
from albert_infer.engine.faults import is_out_of_memory, refuse_lost_device

# One forward pass. It takes rows, and returns them in the order of their logits, with the logits (B, C) on the device.
Forward = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], Tensor]]


@dataclass(frozen=True)
class MicroBatchLogits:
    """One micro-batch: `logits_BC` belong to `rows_B`. `fitted_B` is False for a row that did not fit alone; it is NaN.

    `halved` is True if the micro-batch did not fit as a whole. Its logits may differ in the last bits.
    """

    rows_B: NDArray[np.int64]
    logits_BC: NDArray[np.float32]
    fitted_B: NDArray[np.bool_]
    halved: bool


def logits_within_memory(
    batches: Iterable[NDArray[np.int64]], forward: Forward, num_labels: int
) -> Iterator[MicroBatchLogits]:
    """Yield the logits of each micro-batch, in order. While the caller uses one, the device computes the next.

    Never raises an error that `is_out_of_memory`: neither from `forward` nor from the copy of its result.
    """
    ahead: _Pass | None = None
    for rows_B in batches:
        started = _started(forward, rows_B)
        # Finished first, so that a retry has the whole device.
        if ahead is not None:
            yield _finished(ahead, forward, num_labels)
        ahead = started
        if started.logits_BC is None:
            ahead = None
            yield _finished(started, forward, num_labels)
    if ahead is not None:
        yield _finished(ahead, forward, num_labels)


@dataclass
class _Pass:
    """A forward pass on the device. `logits_BC` is None if it did not fit the memory."""

    rows_B: NDArray[np.int64]
    logits_BC: HostCopy | None


def _started(forward: Forward, rows_B: NDArray[np.int64]) -> _Pass:
    try:
        in_order_B, logits_BC = forward(rows_B)
        return _Pass(in_order_B, HostCopy(logits_BC))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # Returned outside the exception, whose traceback would keep the tensors of the pass alive.
        return _Pass(rows_B, None)


def _fetched(current: _Pass) -> NDArray[np.float32] | None:
    """Move the logits to the host, and free them on the device. None if they did not fit the memory."""
    logits_BC, current.logits_BC = current.logits_BC, None
    try:
        return None if logits_BC is None else logits_BC.array()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _finished(current: _Pass, forward: Forward, num_labels: int) -> MicroBatchLogits:
    logits_BC = _fetched(current)
    if logits_BC is None:
        return _in_parts(current.rows_B, forward, num_labels)
    return MicroBatchLogits(current.rows_B, logits_BC, np.ones(len(current.rows_B), np.bool_), halved=False)


def _in_parts(rows_B: NDArray[np.int64], forward: Forward, num_labels: int) -> MicroBatchLogits:
    """Compute a micro-batch that did not fit, in parts. A single row is tried again with all memory."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32], bool]] = []
    pending = _halves(rows_B)
    while pending:
        part = pending.pop()
        # Called outside of every handler, so the tensors of the failed pass are freed. Without CUDA this does nothing.
        torch.cuda.empty_cache()
        # A lost device may look full to cuBLAS, and every row would be rejected.
        refuse_lost_device()
        started = _started(forward, part)
        logits = _fetched(started)
        if logits is not None:
            parts.append((started.rows_B, logits, True))
        elif len(part) > 1:
            pending += _halves(part)
        else:
            parts.append((part, np.full((1, num_labels), np.nan, np.float32), False))
    return MicroBatchLogits(
        rows_B=np.concatenate([rows for rows, _, _ in parts]),
        logits_BC=np.concatenate([logits for _, logits, _ in parts]),
        fitted_B=np.concatenate([np.full(len(rows), fitted) for rows, _, fitted in parts]),
        halved=True,
    )


def _halves(rows_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The second half, then the first, because the caller takes from the end. One row stays whole."""
    return [part for part in reversed(np.array_split(rows_B, 2)) if len(part)]
