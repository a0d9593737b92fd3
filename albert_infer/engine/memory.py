"""Forward passes that outlive a device without memory: a micro-batch that does not fit is halved, down to one row.

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

from albert_infer.engine.devices import OnItsWay

# One forward pass: the rows to compute; the same rows in the order of their logits, and those (B, C) on the device.
Forward = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], Tensor]]


@dataclass(frozen=True)
class MicroBatchLogits:
    """One micro-batch: `logits_BC` belong to `rows_B`. `fitted_B` is False where a row alone had no memory: it is NaN.

    `halved` says that the micro-batch did not fit as a whole, so that other bits than usual are possible.
    """

    rows_B: NDArray[np.int64]
    logits_BC: NDArray[np.float32]
    fitted_B: NDArray[np.bool_]
    halved: bool


def logits_within_memory(
    batches: Iterable[NDArray[np.int64]], forward: Forward, num_labels: int
) -> Iterator[MicroBatchLogits]:
    """The logits of each micro-batch, in order; while the caller has one, the device works on the next.

    `torch.OutOfMemoryError` never leaves here, whether `forward` raises it or fetching its result does.
    """
    ahead: _Pass | None = None
    for rows_B in batches:
        started = _started(forward, rows_B)
        # Finished before anything is tried again: then nothing else is on the device.
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
    """A forward pass on the device; without logits if the device had no memory for it."""

    rows_B: NDArray[np.int64]
    logits_BC: OnItsWay | None


def _started(forward: Forward, rows_B: NDArray[np.int64]) -> _Pass:
    try:
        in_order_B, logits_BC = forward(rows_B)
        return _Pass(in_order_B, OnItsWay(logits_BC))
    except torch.OutOfMemoryError:
        # Left without the exception: its traceback would keep the pass's tensors alive.
        return _Pass(rows_B, None)


def _fetched(done: _Pass) -> NDArray[np.float32] | None:
    """The logits on the host, and none left on the device; None if there was no memory for them."""
    logits_BC, done.logits_BC = done.logits_BC, None
    try:
        return None if logits_BC is None else logits_BC.array()
    except torch.OutOfMemoryError:
        return None


def _finished(done: _Pass, forward: Forward, num_labels: int) -> MicroBatchLogits:
    logits_BC = _fetched(done)
    if logits_BC is None:
        return _in_parts(done.rows_B, forward, num_labels)
    return MicroBatchLogits(done.rows_B, logits_BC, np.ones(len(done.rows_B), np.bool_), halved=False)


def _in_parts(rows_B: NDArray[np.int64], forward: Forward, num_labels: int) -> MicroBatchLogits:
    """A micro-batch that did not fit, in parts that do; one row that did not fit is tried once more with all memory."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32], bool]] = []
    left = _halves(rows_B)
    while left:
        part = left.pop()
        # Outside of every handler, where the failed pass's tensors are gone. Without CUDA it does nothing.
        torch.cuda.empty_cache()
        started = _started(forward, part)
        logits = _fetched(started)
        if logits is not None:
            parts.append((started.rows_B, logits, True))
        elif len(part) > 1:
            left += _halves(part)
        else:
            parts.append((part, np.full((1, num_labels), np.nan, np.float32), False))
    return MicroBatchLogits(
        rows_B=np.concatenate([rows for rows, _, _ in parts]),
        logits_BC=np.concatenate([logits for _, logits, _ in parts]),
        fitted_B=np.concatenate([np.full(len(rows), fitted) for rows, _, fitted in parts]),
        halved=True,
    )


def _halves(rows_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The second half before the first, which is taken from the end; one row stays whole."""
    return [part for part in reversed(np.array_split(rows_B, 2)) if len(part)]
