"""The teacher's answers for many pairs, stored as logits. A killed run resumes with the next part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from albert_infer.learning.training.batches import batches_by_length
from albert_infer.schema import NliLabel
from recipes.builtin.encoding import EncodedPairs, padded
from recipes.builtin.training import bf16_where_fast

log = logging.getLogger(__name__)

PAIRS_OF_A_PART: Final = 8192
BATCH_PAIRS: Final = 64


def stored_logits(load: Callable[[], nn.Module], pairs: EncodedPairs, folder: Path) -> NDArray[np.float32]:
    """The logits of all pairs, in order. What `folder` has of them is read; the rest is computed and stored there."""
    folder.mkdir(parents=True, exist_ok=True)
    model, parts = None, []
    for number, start in enumerate(range(0, len(pairs.lengths), PAIRS_OF_A_PART)):
        path = folder / f"{number:04}.npy"
        positions = np.arange(start, min(start + PAIRS_OF_A_PART, len(pairs.lengths)))
        if not path.exists():
            model = model or load()
            started = time.monotonic()
            logits = classifier_logits(model, pairs, positions, segments=False)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, logits)
            partial.replace(path)
            rate = len(positions) / (time.monotonic() - started)
            log.info("labelled %d of %d pairs, %.0f a second", positions[-1] + 1, len(pairs.lengths), rate)
        parts.append(np.load(path))
    return np.concatenate(parts)


@torch.inference_mode()
def classifier_logits(
    model: nn.Module, pairs: EncodedPairs, positions: NDArray[np.int64], *, segments: bool, in_fp32: bool = False
) -> NDArray[np.float32]:
    """The logits of the pairs at `positions`, in their order, computed in batches of like length."""
    logits = np.empty((len(positions), len(NliLabel)), np.float32)
    with nullcontext() if in_fp32 else bf16_where_fast():
        for batch in batches_by_length(pairs.lengths[positions], BATCH_PAIRS):
            answer = model(**padded(pairs, positions[batch], segments=segments)).logits
            logits[batch] = answer.float().numpy()
    return logits
