"""A checkpoint that computes nonsense is refused by what it computes, and a sound one passes in any precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import CPU_PRECISIONS, change_weights, overflow_in_bf16
from job_runs import tiny_checkpoint

from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.checks import Checks, Preflight, checked
from albert_infer.preflight.numbers import MAX_DIFFERENCE, compared_pairs
from albert_infer.schema import DeviceKind, Precision

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path)


def found(source: Path | str, precision: Precision, device: DeviceKind = DeviceKind.CPU) -> Preflight:
    checkpoint = load_checkpoint(str(source))
    tokenizer = checkpoint.tokenizer(max_length=40)
    checks = Checks(tokenizer, precision, max_batch_tokens=512, compared=False)
    return checked(checkpoint, checks=checks, device=device, threads=1)


def refusal(source: Path, precision: Precision) -> ModelError:
    with pytest.raises(ModelError) as refused:
        found(source, precision)
    assert str(source) in refused.value.asked
    assert precision in refused.value.asked
    return refused.value


@pytest.mark.computes
@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_a_sound_checkpoint_passes_close_to_fp32(precision: Precision) -> None:
    told = found("builtin", precision)
    assert (told.numbers.pairs, told.precision, told.device) == (10, precision, DeviceKind.CPU)
    assert told.numbers.equal_labels == 1
    assert told.numbers.largest_difference < MAX_DIFFERENCE[precision] / 4
    # In fp32 every bit may be equal, in bf16 they cannot be.
    assert told.numbers.largest_difference > 0 or precision is Precision.FP32


@pytest.mark.parametrize("max_length", [5, 6, 40, 512])
def test_the_pairs_reach_the_greatest_length_whatever_it_is(max_length: int) -> None:
    pairs = compared_pairs(load_checkpoint("builtin"), max_length)
    assert len(pairs.lengths) == 10
    assert pairs.lengths.min() >= 5
    assert pairs.lengths.max() == max_length


def test_outputs_that_are_not_finite_in_bf16_alone_are_refused_with_fp32_as_the_remedy(folder: Path) -> None:
    change_weights(folder, overflow_in_bf16)
    told = refusal(folder, Precision.BF16)
    assert "not finite for 10 of 10 pairs" in told.problem
    assert told.remedy == "give --precision fp32"
    assert found(folder, Precision.FP32).numbers.equal_labels == 1


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_outputs_that_are_never_finite_are_refused_with_another_checkpoint_as_the_remedy(
    folder: Path, precision: Precision
) -> None:
    change_weights(folder, lambda tensors: tensors["classifier.bias"][1].fill_(torch.inf))
    told = refusal(folder, precision)
    assert "not finite" in told.problem
    assert "another checkpoint" in told.remedy


def test_outputs_far_from_fp32_are_refused(folder: Path) -> None:
    # Beside so large a mean, which the LayerNorm takes away again, bf16 has no digits left for what words differ in.
    change_weights(folder, lambda tensors: tensors["albert.embeddings.word_embeddings.weight"].add_(300))
    told = refusal(folder, Precision.BF16)
    assert "and at most 0.1 is sound" in told.problem
    assert told.remedy == "give --precision fp32"
    assert found(folder, Precision.FP32).numbers.largest_difference < MAX_DIFFERENCE[Precision.FP32]
