"""Which pairs make a batch, and a batch as tensors. What is in a batch follows from the seed and the epoch alone.

Shapes: B pairs of a batch, L tokens of its longest pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from albert_infer.learning.training.pairs import TrainingPairs

# Batches are sorted by length within runs of this many: enough for little padding, few enough to keep order random.
BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded to the longest of them; the mask is 1 on tokens and 0 on padding."""

    input_ids_BL: torch.Tensor  # noqa: N815  (arrays end in their shape)
    token_type_ids_BL: torch.Tensor  # noqa: N815
    attention_mask_BL: torch.Tensor  # noqa: N815
    gold_B: torch.Tensor  # noqa: N815


def epoch_batches(lengths: NDArray[np.int64], batch_pairs: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Positions 0..n-1, each in exactly one batch of at most `batch_pairs`, of like length, in a random order.

    Every epoch has as many batches as every other.
    """
    shuffle = np.random.default_rng([seed, epoch])
    positions = shuffle.permutation(len(lengths))
    together = batch_pairs * BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(positions), together):
        run = positions[start : start + together]
        by_length = run[np.argsort(lengths[run], kind="stable")]
        batches += [by_length[cut : cut + batch_pairs] for cut in range(0, len(by_length), batch_pairs)]
    return [batches[place] for place in shuffle.permutation(len(batches))]


def batches_by_length(lengths: NDArray[np.int64], batch_pairs: int) -> list[NDArray[np.int64]]:
    """Positions 0..n-1 in batches of like length, shortest first: for evaluation, where order means nothing."""
    by_length = np.argsort(lengths, kind="stable")
    return [by_length[cut : cut + batch_pairs] for cut in range(0, len(by_length), batch_pairs)]


def padded_batch(pairs: TrainingPairs, positions: NDArray[np.int64], device: torch.device) -> PairBatch:
    """The pairs at `positions` as one batch on the device, in this order. Padding is token 0 of segment 0."""
    encoded = pairs.encoded
    lengths = encoded.lengths[positions]
    places_BL = np.arange(lengths.max())[np.newaxis]  # noqa: N806
    mask_BL = places_BL < lengths[:, np.newaxis]  # noqa: N806
    input_ids_BL = np.zeros(mask_BL.shape, np.int64)  # noqa: N806
    input_ids_BL[mask_BL] = np.concatenate(
        [encoded.input_ids[encoded.offsets[place] : encoded.offsets[place + 1]] for place in positions]
    )
    hypothesis_BL = mask_BL & (places_BL >= encoded.premise_segment_tokens[positions][:, np.newaxis])  # noqa: N806
    return PairBatch(
        input_ids_BL=torch.from_numpy(input_ids_BL).to(device),
        token_type_ids_BL=torch.from_numpy(hypothesis_BL.astype(np.int64)).to(device),
        attention_mask_BL=torch.from_numpy(mask_BL.astype(np.int64)).to(device),
        gold_B=torch.from_numpy(pairs.gold_R[positions].astype(np.int64)).to(device),
    )
