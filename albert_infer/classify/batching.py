"""Groups rows into micro-batches by their lengths. Knows nothing about tokens, devices or torch.

Shapes: R rows of the call, B rows of a micro-batch.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def micro_batches(lengths_R: NDArray[np.int64], max_batch_tokens: int) -> list[NDArray[np.int64]]:
    """Row positions of each forward pass. Every row is in exactly one; short rows come first.

    A micro-batch has at most `max_batch_tokens` tokens. A longer row has a micro-batch of its own. Rows of equal length
    keep their order, so the result depends on the arguments alone.
    """
    order_R = np.argsort(lengths_R, kind="stable").astype(np.int64, copy=False)
    ends_R = np.cumsum(lengths_R[order_R])
    batches = []
    first = 0
    while first < len(order_R):
        tokens_before = ends_R[first - 1] if first else 0
        last = int(np.searchsorted(ends_R, tokens_before + max_batch_tokens, side="right"))
        last = max(last, first + 1)
        batches.append(order_R[first:last])
        first = last
    return batches
