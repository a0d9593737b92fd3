"""Chooses the pairs of each batch, and turns a batch into tensors. Batches depend only on the seed and the epoch.

Shapes: B pairs of a batch, L tokens of its longest pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from albert_infer.learning.training.pairs import TrainingPairs

# This number of batches is sorted by length together: enough for little padding, few enough for a random order.
BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True)
class PairBatch:
    """Pairs, padded to the longest one. The mask is 1 for tokens and 0 for padding."""

    input_ids_BL: torch.Tensor  # noqa: N815  (arrays end in their shape)
    token_type_ids_BL: torch.Tensor  # noqa: N815
    attention_mask_BL: torch.Tensor  # noqa: N815
    gold_B: torch.Tensor  # noqa: N815


def epoch_batches(lengths: NDArray[np.int64], batch_pairs: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Batches of at most `batch_pairs` positions of similar length, in random order. Each of 0..n-1 is in one batch.

    Every epoch has the same number of batches.
    """
    shuffle = np.random.default_rng([seed, epoch])
    positions = shuffle.permutation(len(lengths))
    together = batch_pairs * BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(positions), together):
        run = positions[start : start + together]
        by_length = run[np.argsort(lengths[run], kind="stable")]
        batches += [by_length[cut : cut + batch_pairs] for cut in range(0, len(by_length), batch_pairs)]
    return [batches[index] for index in shuffle.permutation(len(batches))]


def batches_by_length(lengths: NDArray[np.int64], batch_pairs: int) -> list[NDArray[np.int64]]:
    """Positions 0..n-1 in batches of similar length, shortest first, for evaluation."""
    by_length = np.argsort(lengths, kind="stable")
    return [by_length[cut : cut + batch_pairs] for cut in range(0, len(by_length), batch_pairs)]


def padded_batch(pairs: TrainingPairs, positions: NDArray[np.int64], device: torch.device) -> PairBatch:
    """The pairs at `positions`, in this order, as one batch on the device. Padding is token 0 of segment 0."""
    encoded = pairs.encoded
    lengths = encoded.lengths[positions]
    columns_BL = np.arange(lengths.max())[np.newaxis]  # noqa: N806
    mask_BL = columns_BL < lengths[:, np.newaxis]  # noqa: N806
    input_ids_BL = np.zeros(mask_BL.shape, np.int64)  # noqa: N806
    input_ids_BL[mask_BL] = np.concatenate(
        [encoded.input_ids[encoded.offsets[position] : encoded.offsets[position + 1]] for position in positions]
    )
    hypothesis_BL = mask_BL & (columns_BL >= encoded.premise_segment_tokens[positions][:, np.newaxis])  # noqa: N806
    return PairBatch(
        input_ids_BL=torch.from_numpy(input_ids_BL).to(device),
        token_type_ids_BL=torch.from_numpy(hypothesis_BL.astype(np.int64)).to(device),
        attention_mask_BL=torch.from_numpy(mask_BL.astype(np.int64)).to(device),
        gold_B=torch.from_numpy(pairs.gold_R[positions].astype(np.int64)).to(device),
    )
