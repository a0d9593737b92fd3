"""The packed forward pass gives transformers' logits for every kind of ALBERT, and refuses what it cannot run."""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoints import CPU_PRECISIONS, Checkpoint, random_checkpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AlbertForSequenceClassification

from albert_infer.classify.batching import micro_batches
from albert_infer.engine import AlbertShape, memory, packing
from albert_infer.engine.albert import AlbertEngine, ForwardPass
from albert_infer.engine.attention import PackedAttention, RectangleAttention
from albert_infer.engine.cpu.fused import fused_layers
from albert_infer.engine.cpu.int8 import Int8Dense, weight_scales
from albert_infer.engine.cpu.kernels import kernels
from albert_infer.engine.devices import HostCopy, card_here
from albert_infer.engine.faults import is_device_lost
from albert_infer.engine.kernel_use import KernelState
from albert_infer.engine.memory import Forward, logits_within_memory
from albert_infer.engine.packing import LengthRun
from albert_infer.engine.shape import ACTIVATIONS
from albert_infer.engine.weights import AlbertTensors, Dense, PackedDense, onednn_has_bf16
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, EncodedPairs, Precision

# Largest difference of a logit; logits here are of the order of 1.
FP32_TOLERANCE: Final = 1e-4
BF16_TOLERANCE: Final = 0.1
# These weights are ten times the usual, and what is lost grows with them.
INT8_TOLERANCE: Final = 0.4

# One length several times, neighbours that differ by one, the shortest pair there is, and the longest that fits.
LENGTHS: Final = (7, 40, 3, 12, 12, 13, 7, 26, 4, 12)
TENSOR: Final = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"


VECTOR_SIZES: Final = {
    "hidden_size": 96,
    "num_attention_heads": 3,
    "intermediate_size": 160,
    "max_position_embeddings": 90,
    # Weights of the usual size for so many columns.
    "initializer_range": 0.1,
    "num_hidden_groups": 2,
}
# Pairs that the kernels attend to, and longer ones that torch does.
VECTOR_LENGTHS: Final = (7, 90, 3, 64, 65, 13, 7, 90, 2, 16, 17)

pytestmark = pytest.mark.usefixtures("one_thread")
fused = pytest.mark.skipif(kernels() is None, reason="no compiler")
fused_bf16 = pytest.mark.skipif(not onednn_has_bf16(), reason="the processor has no instructions for bf16")


def random_pairs(lengths: tuple[int, ...] = LENGTHS) -> EncodedPairs:
    random = np.random.default_rng(1)
    return EncodedPairs(
        input_ids=random.integers(0, 97, sum(lengths)).astype(np.int32),
        offsets=np.cumsum([0, *lengths]),
        premise_segment_tokens=np.array([random.integers(1, length) for length in lengths], dtype=np.int32),
    )


def picked(pairs: EncodedPairs, rows: NDArray[np.int64]) -> EncodedPairs:
    return EncodedPairs(
        input_ids=np.concatenate([pairs.input_ids[pairs.offsets[row] : pairs.offsets[row + 1]] for row in rows]),
        offsets=np.concatenate([[0], np.cumsum(pairs.lengths[rows])]),
        premise_segment_tokens=pairs.premise_segment_tokens[rows],
    )


def engine_of(checkpoint: Checkpoint, precision: Precision = Precision.FP32, device: str = "cpu") -> AlbertEngine:
    shape = AlbertShape.from_config(checkpoint.config)
    return AlbertEngine(shape, [checkpoint.weights], precision=precision, device=DeviceKind(device), threads=None)


def logits_of(engine: AlbertEngine, pairs: EncodedPairs, max_batch_tokens: int = 64) -> NDArray[np.float32]:
    return engine.logits(pairs, micro_batches(pairs.lengths, max_batch_tokens))


def transformers_logits(model: AlbertForSequenceClassification, pairs: EncodedPairs) -> NDArray[np.float32]:
    """Logits of each pair in a forward pass of its own: no padding and no mask to go wrong."""
    rows = []
    for begin, end, premise in zip(pairs.offsets, pairs.offsets[1:], pairs.premise_segment_tokens, strict=False):
        input_ids = torch.from_numpy(pairs.input_ids[begin:end]).long()
        token_type_ids = (torch.arange(end - begin) >= int(premise)).long()
        with torch.inference_mode():
            rows.append(model(input_ids=input_ids[None], token_type_ids=token_type_ids[None]).logits[0])
    return torch.stack(rows).numpy()


def largest_difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    # Two groups over three layers: the groups do not divide the layers, and the last step is an inner layer.
    return random_checkpoint(tmp_path_factory.mktemp("albert"), num_hidden_groups=2, inner_group_num=2)


@pytest.fixture(scope="module")
def vector_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Sizes in whole vectors, so that the layers are fused where they can be."""
    return random_checkpoint(tmp_path_factory.mktemp("albert"), **VECTOR_SIZES)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_new"},
        {"num_hidden_groups": 2},
        {"num_hidden_groups": 3},
        {"num_hidden_groups": 3, "num_hidden_layers": 4},
        {"inner_group_num": 2},
        {"inner_group_num": 2, "num_hidden_groups": 2},
        {"num_hidden_layers": 1},
        {"num_attention_heads": 1, "layer_norm_eps": 1e-3},
        {"embedding_size": 48, "num_labels": 2, "type_vocab_size": 3},
    ],
    ids=str,
)
def test_fp32_logits_equal_transformers(tmp_path: Path, config: dict[str, object]) -> None:
    checkpoint = random_checkpoint(tmp_path, **config)
    pairs = random_pairs()
    expected_RC = transformers_logits(checkpoint.model, pairs)
    assert largest_difference(logits_of(engine_of(checkpoint), pairs), expected_RC) < FP32_TOLERANCE


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_each_activation_equals_transformers(tmp_path: Path, activation: str) -> None:
    checkpoint = random_checkpoint(tmp_path, hidden_act=activation, num_hidden_layers=2)
    pairs = random_pairs(LENGTHS[:4])
    expected_RC = transformers_logits(checkpoint.model, pairs)
    assert largest_difference(logits_of(engine_of(checkpoint), pairs), expected_RC) < FP32_TOLERANCE


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision.BF16, BF16_TOLERANCE), (Precision.FP16, BF16_TOLERANCE / 8), (Precision.INT8, INT8_TOLERANCE)],
)
def test_logits_of_fewer_digits_are_close_to_fp32(
    checkpoint: Checkpoint, precision: Precision, tolerance: float
) -> None:
    pairs = random_pairs()
    logits_RC = logits_of(engine_of(checkpoint, precision), pairs)
    assert logits_RC.dtype == np.float32
    assert largest_difference(logits_RC, logits_of(engine_of(checkpoint), pairs)) < tolerance


@fused
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [pytest.param(Precision.BF16, 0.03, marks=fused_bf16), (Precision.INT8, 0.06)]
)
def test_fused_layers_give_the_logits_of_plain_ones(
    tmp_path: Path, activation: str, precision: Precision, tolerance: float
) -> None:
    checkpoint = random_checkpoint(tmp_path, **VECTOR_SIZES, hidden_act=activation)
    pairs, rows = random_pairs(VECTOR_LENGTHS), np.arange(len(VECTOR_LENGTHS))
    tensors = AlbertTensors.read(AlbertShape.from_config(checkpoint.config), [checkpoint.weights])
    layers = fused_layers(tensors, precision)
    assert layers is not None
    cpu = torch.device("cpu")
    in_order, fused_BC = ForwardPass(tensors.ends(torch.float32, cpu), layers, cpu).logits(pairs, rows)
    expected_RC = transformers_logits(checkpoint.model, pairs)
    assert largest_difference(fused_BC.numpy(), expected_RC[in_order]) < tolerance
    assert fused_BC.numpy().argmax(1).tolist() == expected_RC[in_order].argmax(1).tolist()


@fused
def test_a_pair_alone_equals_the_pair_in_any_batch_in_fused_int8(vector_checkpoint: Checkpoint) -> None:
    pairs, engine = random_pairs(VECTOR_LENGTHS), engine_of(vector_checkpoint, Precision.INT8)
    alone_RC = engine.logits(pairs, [np.array([row]) for row in range(len(VECTOR_LENGTHS))])
    # Its layers give the same bits; the products of pooler and classifier are fp32.
    assert largest_difference(logits_of(engine, pairs, max_batch_tokens=200), alone_RC) < 1e-5


@fused
@pytest.mark.skipif(onednn_has_bf16(), reason="the processor has instructions for bf16")
def test_bf16_without_instructions_for_it_is_slow_and_names_what_is_faster(vector_checkpoint: Checkpoint) -> None:
    in_bf16, in_int8 = (engine_of(vector_checkpoint, each).kernels for each in (Precision.BF16, Precision.INT8))
    assert in_bf16.to_text() == (
        "compiled kernels for bf16 on cpu: the processor has no instructions for bf16, so labelling is slower; "
        "choose the precision int8 or fp32"
    )
    assert (in_bf16.state, in_int8.state) == (KernelState.MISSING, KernelState.COMPILED)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_what_cannot_be_fused_is_computed_by_torch(tmp_path: Path, activation: str) -> None:
    checkpoint = random_checkpoint(tmp_path, **VECTOR_SIZES, hidden_act=activation)
    tensors = AlbertTensors.read(AlbertShape.from_config(checkpoint.config), [checkpoint.weights])
    assert fused_layers(tensors, Precision.BF16) is None
    pairs = random_pairs(VECTOR_LENGTHS)
    logits_RC = logits_of(engine_of(checkpoint, Precision.BF16), pairs)
    assert largest_difference(logits_RC, transformers_logits(checkpoint.model, pairs)) < BF16_TOLERANCE


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_packed_products_are_torchs_own() -> None:
    torch.manual_seed(5)
    weight_OI, bias_O, hidden_XI = torch.randn(40, 72), torch.randn(40), torch.randn(50, 72)
    torch.testing.assert_close(PackedDense(weight_OI, bias_O)(hidden_XI), Dense(weight_OI, bias_O)(hidden_XI))


@pytest.mark.parametrize("weights", [(1, 1), (1, 0), (0, 1), (1, -1), (0, 0), (0.5, 1), (1, 0, 0, 1)], ids=str)
def test_int8_products_are_exact_sums_of_quantised_numbers(weights: tuple[float, ...]) -> None:
    # The largest numbers there are: without VNNI, sums of two products in 16 bits would not fit if weights had 8 bits.
    weight_OI = torch.tensor(weights).float().repeat(64 // len(weights)) * torch.tensor([[1.0], [-1.0]])
    hidden_XI = torch.stack([torch.full((64,), 3.0), torch.tensor([-3.0] + [3.0] * 63), torch.zeros(64)])
    bias_O = torch.tensor([0.5, -1.0])
    scale_O1 = weight_scales(weight_OI)
    expected_XO = hidden_XI @ ((weight_OI / scale_O1).round() * scale_O1).T + bias_O
    torch.testing.assert_close(Int8Dense(weight_OI, bias_O)(hidden_XI), expected_XO)


@pytest.mark.process
def test_int8_products_are_not_computed_by_the_slow_reference_of_onednn() -> None:
    code = """
import torch
from albert_infer.engine.cpu.int8 import Int8Dense, state_dtype
dense = Int8Dense(torch.randn(64, 48), torch.randn(64))
for dtype in (state_dtype(), torch.float32):
    dense.of_quantized(torch.zeros(32, 48, dtype=torch.uint8), dtype)
"""
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    implementations = re.findall(r"exec,cpu,matmul,([^,]+)", done.stdout)
    assert len(implementations) == 2
    assert not [name for name in implementations if name.startswith("ref")]


@pytest.mark.parametrize("columns", [48, 72, 768])
def test_int8_products_are_as_close_as_their_digits_allow(columns: int) -> None:
    torch.manual_seed(3)
    weight_OI, bias_O = torch.randn(40, columns), torch.randn(40)
    # Tokens of very different size: each has its own scale.
    hidden_XI = torch.randn(30, columns) * torch.logspace(-3, 3, 30)[:, None]
    lowest_X1, highest_X1 = hidden_XI.aminmax(dim=1, keepdim=True)
    scale_X1, scale_O = (highest_X1 - lowest_X1) / 254, weight_scales(weight_OI).squeeze(1)
    # Half a step of either factor, as large as they get: every other factor is at its largest, every error adds up.
    bound_XO = (
        hidden_XI.abs().sum(1, keepdim=True) * scale_O / 2
        + weight_OI.abs().sum(1) * scale_X1 / 2
        + columns * scale_X1 * scale_O / 4
    )
    error_XO = Int8Dense(weight_OI, bias_O)(hidden_XI) - bias_O - hidden_XI @ weight_OI.T
    assert bool((error_XO.abs() < bound_XO).all())


def test_a_pair_gets_the_same_int8_products_whoever_shares_its_micro_batch() -> None:
    torch.manual_seed(4)
    dense, hidden_XI = Int8Dense(torch.randn(40, 72), torch.randn(40)), torch.randn(50, 72)
    alone_XO = torch.cat([dense(row_1I) for row_1I in hidden_XI.split(1)])
    assert torch.equal(dense(hidden_XI), alone_XO)


def test_what_is_not_finite_stays_so_in_int8() -> None:
    hidden_XI = torch.ones(3, 48)
    hidden_XI[0, 5], hidden_XI[1, 7] = torch.nan, torch.inf
    product_XO = Int8Dense(torch.eye(4, 48), torch.zeros(4))(hidden_XI)
    assert not product_XO[:2].isfinite().any()
    torch.testing.assert_close(product_XO[2], torch.ones(4))


def test_int8_on_a_gpu_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="int8 on cuda"):
        engine_of(checkpoint, Precision.INT8, device="cuda")


def test_segment_ids_change_the_logits(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    one_segment = EncodedPairs(pairs.input_ids, pairs.offsets, pairs.lengths.astype(np.int32))
    engine = engine_of(checkpoint)
    assert largest_difference(logits_of(engine, pairs), logits_of(engine, one_segment)) > 100 * FP32_TOLERANCE


@pytest.mark.parametrize("max_batch_tokens", [1, 16, 40, 1000])
def test_a_pair_alone_equals_the_pair_in_any_batch(checkpoint: Checkpoint, max_batch_tokens: int) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    alone_RC = np.concatenate([logits_of(engine, picked(pairs, np.array([row]))) for row in range(len(LENGTHS))])
    assert largest_difference(logits_of(engine, pairs, max_batch_tokens), alone_RC) < FP32_TOLERANCE


def test_shuffled_pairs_keep_their_logits(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    order_R = np.random.default_rng(2).permutation(len(LENGTHS))
    engine = engine_of(checkpoint)
    shuffled_RC = logits_of(engine, picked(pairs, order_R))
    assert largest_difference(shuffled_RC, logits_of(engine, pairs)[order_R]) < FP32_TOLERANCE


def test_batches_need_not_be_sorted_by_length(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    as_they_come = [np.array([4, 1, 2, 0]), np.array([9, 8, 3, 5, 6, 7])]
    assert largest_difference(engine.logits(pairs, as_they_come), logits_of(engine, pairs)) < FP32_TOLERANCE


def test_the_same_call_gives_the_same_bits(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    first_RC = logits_of(engine, pairs)
    logits_of(engine, random_pairs((33, 5)))
    np.testing.assert_array_equal(logits_of(engine, pairs), first_RC)


def test_a_row_in_no_micro_batch_is_nan_and_the_others_are_unchanged(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    logits_RC = engine.logits(pairs, [np.array([1, 2])])
    assert np.isnan(np.delete(logits_RC, [1, 2], axis=0)).all()
    assert largest_difference(logits_RC[[1, 2]], logits_of(engine, pairs)[[1, 2]]) < FP32_TOLERANCE


def test_a_row_without_tokens_in_a_micro_batch_is_an_error(checkpoint: Checkpoint) -> None:
    pairs = EncodedPairs(np.ones(5, np.int32), np.array([0, 3, 3, 5]), np.array([1, 0, 1], np.int32))
    with pytest.raises(ValueError, match="row 1 has no tokens"):
        engine_of(checkpoint).logits(pairs, [np.array([0, 1, 2])])


def test_no_pairs_give_no_logits(checkpoint: Checkpoint) -> None:
    nothing = EncodedPairs(np.empty(0, np.int32), np.zeros(1, np.int64), np.empty(0, np.int32))
    assert engine_of(checkpoint).logits(nothing, []).shape == (0, 3)


def test_micro_batch_logits_name_their_rows(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    batches = micro_batches(pairs.lengths, 40)
    expected_RC = engine.logits(pairs, batches)
    parts = list(engine.micro_batch_logits(pairs, batches))
    assert len(parts) == len(batches)
    for batch in parts:
        np.testing.assert_array_equal(batch.logits_BC, expected_RC[batch.rows_B])
        assert batch.fitted_B.all()
        assert not batch.halved


def test_a_micro_batch_of_more_rows_than_a_pass_may_have_comes_in_parts(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packing.MOST_ROWS < 1 << 16
    pairs, rows = random_pairs(), np.arange(len(LENGTHS))
    engine = engine_of(checkpoint)
    expected_RC = engine.logits(pairs, [rows])
    monkeypatch.setattr(packing, "MOST_ROWS", 4)
    parts = list(engine.micro_batch_logits(pairs, [rows]))
    assert [sorted(batch.rows_B) for batch in parts] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for batch in parts:
        assert largest_difference(batch.logits_BC, expected_RC[batch.rows_B]) < FP32_TOLERANCE


def coded(error: torch.AcceleratorError, code: int) -> torch.AcceleratorError:
    """The error with CUDA's number for it."""
    error.error_code = code  # type: ignore[attr-defined]  # set by torch itself, and in no stub
    return error


class Unfetchable(torch.Tensor):
    """Logits that the device computes but has no memory to hand over."""

    def cpu(self, *_: object, **__: object) -> torch.Tensor:
        """Fail as a full device does."""
        raise torch.OutOfMemoryError("no memory to fetch")


def cramped(engine: AlbertEngine, pairs: EncodedPairs, most_tokens: int, *, fetching: bool = False) -> Forward:
    """The engine's forward pass on a device with memory for `most_tokens`, for computing or for fetching."""

    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        too_many = pairs.lengths[rows_B].sum() > most_tokens
        if too_many and not fetching:
            raise torch.OutOfMemoryError("no memory to compute")
        logits_BC = torch.from_numpy(engine.logits(pairs, [rows_B])[rows_B])
        return rows_B, logits_BC.as_subclass(Unfetchable) if too_many else logits_BC

    return forward


@pytest.mark.parametrize("fetching", [False, True])
@pytest.mark.parametrize("most_tokens", [2, 12, 26, 64, 1000])
def test_micro_batches_without_memory_are_halved_and_rows_without_memory_alone_are_named(
    checkpoint: Checkpoint, most_tokens: int, fetching: bool
) -> None:
    pairs = random_pairs()
    engine = engine_of(checkpoint)
    batches = micro_batches(pairs.lengths, 64)
    found = list(logits_within_memory(batches, cramped(engine, pairs, most_tokens, fetching=fetching), 3))
    expected_RC = logits_of(engine, pairs)
    assert [sorted(batch.rows_B) for batch in found] == [sorted(rows_B) for rows_B in batches]
    for batch, rows_B in zip(found, batches, strict=True):
        assert batch.halved == (pairs.lengths[rows_B].sum() > most_tokens)
        fits_B = pairs.lengths[batch.rows_B] <= most_tokens
        np.testing.assert_array_equal(batch.fitted_B, fits_B)
        assert np.isnan(batch.logits_BC[~fits_B]).all()
        if fits_B.any():
            difference = largest_difference(batch.logits_BC[fits_B], expected_RC[batch.rows_B[fits_B]])
            assert difference < FP32_TOLERANCE


def test_what_is_on_the_device_is_finished_before_a_micro_batch_is_tried_in_parts() -> None:
    on_device: set[int] = set()
    tried_beside: list[set[int]] = []

    class Held(torch.Tensor):
        def cpu(self, *_: object, **__: object) -> torch.Tensor:
            on_device.clear()
            return self.as_subclass(torch.Tensor)

    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        if len(rows_B) > 2:
            raise torch.OutOfMemoryError("no memory for three rows")
        tried_beside.append(set(on_device))
        on_device.update(rows_B.tolist())
        return rows_B, torch.zeros(len(rows_B), 3).as_subclass(Held)

    list(logits_within_memory([np.array([0]), np.array([1, 2, 3, 4]), np.array([5])], forward, 3))
    # Row 0 alone, both halves with nothing beside them, row 5 with nothing ahead of it.
    assert tried_beside == [set(), set(), set(), set()]


def test_a_row_that_met_another_on_the_device_is_tried_again_alone() -> None:
    met = iter([True, False])

    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        if next(met):
            raise torch.OutOfMemoryError("no memory beside another")
        return rows_B, torch.ones(len(rows_B), 3)

    (batch,) = logits_within_memory([np.array([7])], forward, 3)
    assert (batch.rows_B.tolist(), batch.fitted_B.tolist(), batch.halved) == ([7], [True], True)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: out of memory"),
        coded(torch.AcceleratorError("CUDA error: an error of a later release"), 2),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
    ids=str,
)
def test_a_device_may_say_in_several_ways_that_it_is_full(error: RuntimeError) -> None:
    assert halves_tried(error) == [2, 1, 1]


def test_memory_of_the_host_that_cannot_be_pinned_halves_a_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([torch.AcceleratorError("CUDA error: out of memory")])

    def pinned(logits_BC: torch.Tensor) -> HostCopy:
        for refusal in refusals:
            raise refusal
        return HostCopy(logits_BC)

    monkeypatch.setattr(memory, "HostCopy", pinned)
    assert halves_tried() == [2, 1, 1]


def halves_tried(error: RuntimeError | None = None) -> list[int]:
    """The rows of each pass of a micro-batch of two rows, the first of which raises `error`."""
    tried: list[int] = []

    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        tried.append(len(rows_B))
        if error is not None and len(tried) == 1:
            raise error
        return rows_B, torch.zeros(len(rows_B), 3)

    (batch,) = logits_within_memory([np.array([0, 1])], forward, 3)
    assert batch.halved
    assert batch.fitted_B.all()
    return tried


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("device-side assert"),
        RuntimeError("the model ran out of memory of its own"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
    ids=str,
)
def test_another_error_of_the_device_is_raised(error: RuntimeError) -> None:
    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        list(logits_within_memory([np.array([0])], forward, 3))


def test_a_lost_device_that_looks_full_rejects_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = torch.AcceleratorError("CUDA error: unspecified launch failure")

    def refuse() -> None:
        raise lost

    def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(memory, "refuse_lost_device", refuse)
    with pytest.raises(torch.AcceleratorError, match="unspecified launch failure"):
        list(logits_within_memory([np.array([0])], forward, 3))


@pytest.mark.parametrize(
    ("error", "answers", "is_lost"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False, True),
        # The launch was wrong, and the device is well.
        (torch.AcceleratorError("CUDA error: invalid configuration argument"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory"), False, False),
        (ValueError("CUDA error: a text of somebody else"), False, False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
    ],
    ids=str,
)
def test_a_device_is_lost_if_it_answers_with_an_error_after_an_error(
    error: Exception, answers: bool, is_lost: bool
) -> None:
    def ask_device() -> None:
        if not answers:
            raise error

    assert is_device_lost(error, ask_device) == is_lost


def test_a_device_without_memory_for_the_weights_in_fp32_tries_a_pass_again(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, engine = random_pairs(), engine_of(checkpoint, Precision.BF16)
    expected_RC = logits_of(engine_of(checkpoint), pairs)
    prepared, failures = ForwardPass.prepared, iter([torch.OutOfMemoryError("no memory for the weights")])

    def cramped_once(tensors: AlbertTensors, precision: Precision, device: DeviceKind) -> ForwardPass:
        for failure in failures:
            raise failure
        return prepared(tensors, precision, device)

    monkeypatch.setattr(ForwardPass, "prepared", cramped_once)
    (batch,) = engine.fp32_micro_batch_logits(pairs, [np.arange(len(LENGTHS))])
    assert batch.halved
    assert batch.fitted_B.all()
    assert largest_difference(batch.logits_BC, expected_RC[batch.rows_B]) < FP32_TOLERANCE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_full_cuda_device_gives_the_same_logits_in_parts(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path, hidden_size=1024, intermediate_size=4096)
    pairs = random_pairs((40,) * 2000)
    engine = engine_of(checkpoint, device="cuda")
    batches = [np.arange(2000)]
    (whole,) = engine.micro_batch_logits(pairs, batches)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
    try:
        (parts,) = engine.micro_batch_logits(pairs, batches)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (whole.halved, parts.halved) == (False, True)
    assert parts.fitted_B.all()
    order = np.argsort(parts.rows_B)
    assert largest_difference(parts.logits_BC[order], whole.logits_BC) < FP32_TOLERANCE


def test_fp32_logits_of_a_bf16_engine_are_an_fp32_engines(checkpoint: Checkpoint) -> None:
    pairs = random_pairs()
    batches = micro_batches(pairs.lengths, 64)
    expected_RC = logits_of(engine_of(checkpoint), pairs)
    for precision in CPU_PRECISIONS:
        for batch in engine_of(checkpoint, precision).fp32_micro_batch_logits(pairs, batches):
            np.testing.assert_array_equal(batch.logits_BC, expected_RC[batch.rows_B])


def test_weights_may_come_in_several_files_and_in_half_precision(checkpoint: Checkpoint) -> None:
    tensors = {name: tensor.half() for name, tensor in safetensors.torch.load(checkpoint.weights).items()}
    names = sorted(tensors)
    files = [safetensors.torch.save({name: tensors[name] for name in names[part::2]}) for part in (0, 1)]
    shape = AlbertShape.from_config(checkpoint.config)
    engine = AlbertEngine(shape, files, precision=Precision.FP32, device=DeviceKind.CPU, threads=None)
    pairs = random_pairs()
    assert largest_difference(logits_of(engine, pairs), logits_of(engine_of(checkpoint), pairs)) < BF16_TOLERANCE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FP32, FP32_TOLERANCE), (Precision.BF16, 0.03), (Precision.FP16, 0.01)]
)
def test_cuda_logits_equal_cpu(vector_checkpoint: Checkpoint, precision: Precision, tolerance: float) -> None:
    if not card_here().computes_in(precision):
        pytest.skip(f"the card does not compute in {precision}")
    pairs = random_pairs(VECTOR_LENGTHS)
    cuda_RC = logits_of(engine_of(vector_checkpoint, precision, device="cuda"), pairs, max_batch_tokens=200)
    assert largest_difference(cuda_RC, logits_of(engine_of(vector_checkpoint), pairs)) < tolerance


def attention_row_by_row(
    query_XAD: Tensor, key_TAD: Tensor, value_TAD: Tensor, queries_P: Tensor, tokens_P: Tensor, *longest: int
) -> Tensor:
    """What `varlen_attn` computes, on any device; it is told the longest rows, too."""
    lengths = [part.diff() for part in (queries_P, tokens_P)]
    assert [int(part.max()) for part in lengths] == list(longest)
    assert {part.dtype for part in (queries_P, tokens_P)} == {torch.int32}
    parts = (query_XAD.split(lengths[0].tolist()), *(each.split(lengths[1].tolist()) for each in (key_TAD, value_TAD)))
    contexts = [
        functional.scaled_dot_product_attention(*(part.transpose(0, 1) for part in qkv)).transpose(0, 1)
        for qkv in zip(*parts, strict=True)
    ]
    return torch.cat(contexts)


def test_packed_attention_is_the_attention_of_rectangles() -> None:
    torch.manual_seed(5)
    lengths, runs = (2, 2, 3, 7), (LengthRun(2, 2), LengthRun(1, 3), LengthRun(1, 7))
    tokens_P = torch.tensor([0, *lengths]).cumsum(0).int()
    query_TH, key_TH, value_TH = torch.randn(3, sum(lengths), 32)
    packed = PackedAttention(tokens_P, max(lengths), 4, attend=attention_row_by_row)
    rectangles = RectangleAttention(runs, 4)
    for query_XH in (query_TH, query_TH[tokens_P[:-1]]):
        torch.testing.assert_close(packed(query_XH, key_TH, value_TH), rectangles(query_XH, key_TH, value_TH))


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_the_number_of_threads_changes_no_bit_and_torch_has_its_own_back(
    vector_checkpoint: Checkpoint, precision: Precision
) -> None:
    pairs = random_pairs(VECTOR_LENGTHS)
    shape = AlbertShape.from_config(vector_checkpoint.config)
    expected_RC = logits_of(engine_of(vector_checkpoint, precision), pairs)
    weights = [vector_checkpoint.weights]
    engine = AlbertEngine(shape, weights, precision=precision, device=DeviceKind.CPU, threads=3)
    torch.set_num_threads(2)
    try:
        logits_RC = logits_of(engine, pairs)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(logits_RC, expected_RC)


def test_a_pair_beyond_the_position_embeddings_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match=r"at most 40 tokens.*41"):
        logits_of(engine_of(checkpoint), random_pairs((5, 41)))


def test_a_token_beyond_the_vocabulary_is_refused(checkpoint: Checkpoint) -> None:
    pairs = random_pairs((5, 6))
    pairs.input_ids[7] = 97
    with pytest.raises(ModelError, match=r"vocab_size 97.*found 97"):
        logits_of(engine_of(checkpoint), pairs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type 'albert'.*'bert'"),
        ({"architectures": ["AlbertForMaskedLM"]}, "AlbertForMaskedLM"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "prelu"}, "hidden_act as one of gelu.*'prelu'"),
        ({"hidden_act": None}, "hidden_act.*None"),
        ({"hidden_size": "48"}, "hidden_size.*'48'"),
        ({"hidden_size": 0}, "hidden_size.*0"),
        ({"num_hidden_layers": True}, "num_hidden_layers.*True"),
        ({"num_hidden_layers": 4097}, "num_hidden_layers as a whole number from 1 to 4,096.*4097"),
        ({"num_hidden_layers": 65, "inner_group_num": 64}, "65 layers of 64 inner layers"),
        ({"num_hidden_groups": 4}, "4 groups for 3 layers"),
        ({"num_labels": 10**9, "id2label": None}, "num_labels"),
        ({"num_attention_heads": 5}, "5 heads and hidden_size 48"),
        ({"type_vocab_size": 1}, "type_vocab_size"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps.*nan"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": ["a", "b", "c"]}, "id2label"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_run_is_refused(
    checkpoint: Checkpoint, config: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        AlbertShape.from_config({**checkpoint.config, **config})


def test_keys_that_transformers_leaves_out_have_its_defaults() -> None:
    shape = AlbertShape.from_config({"model_type": "albert"})
    assert (shape.hidden_size, shape.num_attention_heads, shape.num_labels) == (4096, 64, 2)
    assert (shape.hidden_act, shape.layer_norm_eps) == ("gelu_new", 1e-12)


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (None, rf"{TENSOR} of shape \(72, 48\): not among"),
        (torch.zeros(48, 72), r"\(72, 48\).*found shape \(48, 72\)"),
        (torch.zeros(72, 48, dtype=torch.int8), "floating point.*I8"),
    ],
    ids=["missing", "transposed", "quantised"],
)
def test_a_tensor_that_does_not_fit_is_refused(
    checkpoint: Checkpoint, replacement: torch.Tensor | None, message: str
) -> None:
    tensors = safetensors.torch.load(checkpoint.weights)
    del tensors[TENSOR]
    if replacement is not None:
        tensors[TENSOR] = replacement
    shape = AlbertShape.from_config(checkpoint.config)
    with pytest.raises(ModelError, match=message):
        AlbertEngine(
            shape, [safetensors.torch.save(tensors)], precision=Precision.FP32, device=DeviceKind.CPU, threads=None
        )


def test_bytes_that_are_not_safetensors_are_refused(checkpoint: Checkpoint) -> None:
    shape = AlbertShape.from_config(checkpoint.config)
    with pytest.raises(ModelError, match="file 1 of 1 in safetensors format"):
        AlbertEngine(shape, [b"\x80\x02pickle"], precision=Precision.FP32, device=DeviceKind.CPU, threads=None)


@pytest.mark.process
def test_the_shape_is_read_without_importing_torch() -> None:
    program = "import sys, albert_infer.engine, albert_infer.classify.batching; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
