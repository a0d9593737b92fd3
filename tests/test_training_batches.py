"""Every pair is in one batch an epoch, and a batch holds what its pairs hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY
from training_models import CPU, training_pairs

from albert_infer.learning.training.batches import batches_by_length, epoch_batches, padded_batch

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=300)


@PROPERTY
@given(LENGTHS, st.integers(1, 7), st.integers(0, 9), st.integers(0, 9))
def test_epoch_batches_hold_each_position_once(lengths: list[int], batch_pairs: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(np.array(lengths), batch_pairs, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_pairs for batch in batches)
    assert len(batches) == len(epoch_batches(np.array(lengths), batch_pairs, seed=seed, epoch=epoch + 1))


def test_epoch_batches_follow_from_seed_and_epoch() -> None:
    lengths = np.arange(100)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(lengths, 8, seed=seed, epoch=epoch)]

    assert drawn(1, 2) == drawn(1, 2)
    assert drawn(1, 2) != drawn(1, 3)
    assert drawn(1, 2) != drawn(2, 2)


@PROPERTY
@given(LENGTHS, st.integers(1, 7))
def test_batches_by_length_hold_each_position_once_shortest_first(lengths: list[int], batch_pairs: int) -> None:
    positions = np.concatenate(batches_by_length(np.array(lengths), batch_pairs))
    assert sorted(positions.tolist()) == list(range(len(lengths)))
    assert np.array(lengths)[positions].tolist() == sorted(lengths)


@pytest.mark.parametrize("positions", [[0], [5, 1, 5], [71, 0, 2]])
def test_a_padded_batch_is_its_pairs_with_nothing_between(positions: list[int]) -> None:
    pairs = training_pairs()
    batch = padded_batch(pairs, np.array(positions), CPU)
    for row, place in enumerate(positions):
        own = slice(pairs.encoded.offsets[place], pairs.encoded.offsets[place + 1])
        ids, tokens = pairs.encoded.input_ids[own].tolist(), own.stop - own.start
        premise = int(pairs.encoded.premise_segment_tokens[place])
        padding = [0] * (batch.input_ids_BL.shape[1] - tokens)
        assert batch.input_ids_BL[row].tolist() == ids + padding
        assert batch.token_type_ids_BL[row].tolist() == [0] * premise + [1] * (tokens - premise) + padding
        assert batch.attention_mask_BL[row].tolist() == [1] * tokens + padding
    assert torch.equal(batch.gold_B, torch.from_numpy(pairs.gold_R[positions]).long())
