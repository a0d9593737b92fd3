"""The fused layers of a card give the logits of the plain ones; where a card lacks them, plain ones are taken."""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkpoints import SMALL, random_checkpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from triton_here import HAS_CARD, triton_passes

from albert_infer.engine.albert import AlbertEngine, ForwardPass
from albert_infer.engine.cuda.choice import takes
from albert_infer.engine.cuda.fp8 import (
    Fp8Product,
    emulated_product,
    scaled_product,
)
from albert_infer.engine.cuda.fused import HalfProduct, fp8_layers, half_layers
from albert_infer.engine.cuda.passes import Fp8Rows, Passes, PlainPasses, fp8_rows
from albert_infer.engine.devices import card_here
from albert_infer.engine.plain import PlainLayers
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors, Dense, EndWeights, Norm
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import HYPOTHESIS, PREMISE, DeviceKind, EncodedPairs, Precision

R = TypeVar("R")

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT: Final = Path(__file__).parent.parent
CPU: Final = torch.device("cpu")
SHORT: Final = (1, 7, 20, 31, 33, 64)
LONG: Final = (*SHORT, 65)


def made_pairs(lengths: tuple[int, ...]) -> EncodedPairs:
    random = np.random.default_rng(1)
    return EncodedPairs(
        input_ids=random.integers(0, 97, sum(lengths)).astype(np.int32),
        offsets=np.cumsum([0, *lengths]),
        premise_segment_tokens=np.array([(length + 1) // 2 for length in lengths], dtype=np.int32),
    )


def logits_of(forward: ForwardPass, pairs: EncodedPairs) -> NDArray[np.float32]:
    """The logits of all pairs in one micro-batch, in the order of the pairs."""
    rows_B, logits_BC = forward.logits(pairs, np.arange(len(pairs.lengths)))
    in_order: NDArray[np.float32] = logits_BC.numpy()[np.argsort(rows_B)]
    return in_order


def tensors_of(folder: Path, **config: object) -> AlbertTensors:
    checkpoint = random_checkpoint(folder, max_position_embeddings=90, **config)
    return AlbertTensors.read(AlbertShape.from_config(checkpoint.config), [checkpoint.weights])


def fused_pass(tensors: AlbertTensors, passes: Passes, dtype: torch.dtype = torch.float32) -> ForwardPass:
    return ForwardPass(tensors.ends(dtype, CPU), half_layers(tensors, dtype, CPU, passes), CPU, passes)


def plain_pass(tensors: AlbertTensors) -> ForwardPass:
    layers = PlainLayers(tensors.shape, tensors.layers(torch.float32, CPU, Dense))
    return ForwardPass(tensors.ends(torch.float32, CPU), layers, CPU)


@pytest.mark.parametrize("lengths", [SHORT, LONG, (1, 1, 1), (90,)], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "gelu_new"},
        {"hidden_act": "gelu"},
        {"hidden_act": "relu"},
        {"num_hidden_groups": 2, "inner_group_num": 2},
        {"num_hidden_layers": 1, "num_attention_heads": 1},
    ],
    ids=str,
)
def test_fused_layers_give_the_logits_of_plain_ones(
    tmp_path: Path, config: dict[str, object], lengths: tuple[int, ...]
) -> None:
    tensors, pairs = tensors_of(tmp_path, **config), made_pairs(lengths)
    found, expected = (logits_of(each, pairs) for each in (fused_pass(tensors, PlainPasses()), plain_pass(tensors)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.skipif(HAS_CARD, reason="the kernels are compiled for the card, which other tests compare")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)], ids=str
)
def test_layers_with_triton_kernels_give_the_logits_of_plain_ones(
    tmp_path: Path, dtype: torch.dtype, tolerance: float
) -> None:
    tensors, pairs = tensors_of(tmp_path), made_pairs(SHORT)
    found = logits_of(fused_pass(tensors, triton_passes(), dtype), pairs)
    np.testing.assert_allclose(found, logits_of(plain_pass(tensors), pairs), atol=tolerance)


class Counted(PlainPasses):
    """Passes that say which of them were called, with how many queries."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.queries: list[int] = []

    def embedded(self, ends: EndWeights, words_T: Tensor, types_T: Tensor, positions_T: Tensor) -> Tensor:
        """Counted."""
        self.calls.append("embedded")
        return self.apart(lambda: super(Counted, self).embedded(ends, words_T, types_T, positions_T))

    def add_and_normalize(self, product_XH: Tensor, bias_H: Tensor, residual_XH: Tensor, norm: Norm) -> Tensor:
        """Counted."""
        self.calls.append("add_and_normalize")
        return self.apart(lambda: super(Counted, self).add_and_normalize(product_XH, bias_H, residual_XH, norm))

    def attend(
        self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, tokens_P: Tensor, *, longest: int, heads: int
    ) -> Tensor:
        """Counted."""
        self.calls.append("attend")
        self.queries.append(len(query_XH))
        sizes: dict[str, int] = {"longest": longest, "heads": heads}
        return self.apart(lambda: super(Counted, self).attend(query_XH, key_TH, value_TH, tokens_P, **sizes))

    def quantized(self, states_XN: Tensor, *, gelu: bool) -> Fp8Rows:
        """Counted."""
        self.calls.append("quantized after gelu" if gelu else "quantized")
        return self.apart(lambda: super(Counted, self).quantized(states_XN, gelu=gelu))

    def apart(self, compute: Callable[[], R]) -> R:
        """What a pass computes; no operation of it is a launch of its own."""
        with torch._C._DisableTorchDispatch():
            return compute()


def test_rows_of_up_to_64_tokens_attend_in_tiles_of_their_size_and_longer_ones_do_not(tmp_path: Path) -> None:
    tensors = tensors_of(tmp_path)
    for lengths, expected in ((SHORT, [sum(SHORT), sum(SHORT), len(SHORT)]), (LONG, [])):
        passes = Counted()
        logits_of(fused_pass(tensors, passes), made_pairs(lengths))
        assert passes.queries == expected


def test_heads_of_more_columns_than_fit_attend_in_torch(tmp_path: Path) -> None:
    passes = Counted()
    logits_of(fused_pass(tensors_of(tmp_path, hidden_size=144, num_attention_heads=1), passes), made_pairs(SHORT))
    assert passes.queries == []


class Operations(TorchDispatchMode):
    """The operations outside of passes, but for views, copies to the device, and room for results."""

    FREE: Final = frozenset({"lift_fresh", "to", "chunk", "slice", "detach", "resolve_conj", "resolve_neg"})

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and note the name."""
        name = str(function.overloadpacket).removeprefix("aten.")
        if name not in self.FREE:
            self.names[name] += 1
        return function(*args, **(kwargs or {}))


def test_a_layer_is_four_products_and_three_passes(tmp_path: Path) -> None:
    tensors, passes = tensors_of(tmp_path, num_hidden_layers=12, hidden_act="gelu_new"), Counted()
    forward = fused_pass(tensors, passes)
    with Operations() as seen:
        logits_of(forward, made_pairs((7, 7)))
    # The last layer's query is apart from its key and value; one product each for embeddings, pooler and classifier.
    products = 12 * 4 + 1 + 3
    # On a card GELU is in the product before it.
    assert seen.names == {"linear": products, "gelu_": 12, "index_select": 1, "tanh_": 1}
    assert Counter(passes.calls) == {"embedded": 1, "attend": 12, "add_and_normalize": 24}


def test_the_product_with_gelu_is_there_and_takes_what_is_given() -> None:
    # Private in torch: when it goes, or takes other arguments, `HalfProduct.with_gelu` needs another.
    schema = torch.ops.aten._addmm_activation.default._schema
    assert [argument.name for argument in schema.arguments] == ["self", "mat1", "mat2", "beta", "alpha", "use_gelu"]
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(5, 16), torch.randn(24, 16), torch.randn(24)
    found = torch._addmm_activation(bias, hidden, weight.t(), use_gelu=True)
    # On a CPU it is the erf form, which differs from the tanh form by less.
    torch.testing.assert_close(found, HalfProduct(weight, bias).with_gelu(hidden), atol=1e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CARD, reason="no CUDA device")
@pytest.mark.parametrize("rows", [1, 2, 300])
def test_the_product_with_gelu_is_the_tanh_form_on_a_card(rows: int) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(rows, 64), torch.randn(96, 64) / 8, torch.randn(96)
    on_card = HalfProduct(*(each.to("cuda", torch.float16) for each in (weight, bias)))
    found = on_card.with_gelu(hidden.to("cuda", torch.float16)).float().cpu()
    expected = functional.gelu(functional.linear(hidden, weight, bias), approximate="tanh")
    torch.testing.assert_close(found, expected, atol=4e-3, rtol=4e-3)


def fp8_pass(tensors: AlbertTensors, passes: Passes | None = None) -> ForwardPass:
    """In fp8 on this processor: the same rounded numbers, multiplied in fp32."""
    passes = passes or PlainPasses()
    layers = fp8_layers(tensors, CPU, passes, emulated_product)
    return ForwardPass(tensors.ends(torch.bfloat16, CPU), layers, CPU, passes)


@pytest.mark.process
def test_the_built_in_checkpoint_gives_its_labels_in_fp8() -> None:
    checkpoint = load_checkpoint("builtin")
    # Every third, which takes seconds.
    every = pq.read_table(ROOT / "albert_infer" / "model" / "builtin" / "pairs.parquet")
    texts = every.take(np.arange(0, every.num_rows, 3))
    tokenizer = checkpoint.tokenizer(max_length=64, long_premise="longest_first")
    pairs = tokenizer.encode(texts[PREMISE], texts[HYPOTHESIS], np.zeros(texts.num_rows, dtype=np.bool_)).pairs
    tensors = AlbertTensors.read(checkpoint.shape, checkpoint.weights)
    # The logits that give the probabilities.
    found, expected = (
        logits_of(each, pairs) / checkpoint.temperature for each in (fp8_pass(tensors), plain_pass(tensors))
    )
    difference = found - expected
    assert np.abs(difference).max() < 0.2
    assert np.sqrt(np.mean(difference**2)) < 0.06
    # Which of two nearly equal labels wins depends on the rounding of the processor.
    largest = np.sort(expected, axis=1)
    is_sure = largest[:, -1] - largest[:, -2] > 0.2
    assert is_sure.mean() > 0.8
    assert (found.argmax(1) == expected.argmax(1))[is_sure].all()


def test_a_product_in_fp8_is_what_its_rounded_numbers_give() -> None:
    torch.manual_seed(0)
    states, weight, bias = torch.randn(5, 48), torch.randn(32, 48), torch.randn(32).bfloat16()
    parts = fp8_rows(states), fp8_rows(weight)
    for offset in (None, bias):
        # torch has the product on a CPU too.
        torch.testing.assert_close(scaled_product(*parts, offset), emulated_product(*parts, offset))
    error = emulated_product(*parts, None).float() - states @ weight.T
    # Three bits of a mantissa: a sixteenth of each number at most.
    assert bool((error.abs() <= (2 / 16 + 2**-8) * (states.abs() @ weight.abs().T)).all())


def test_a_pair_gets_the_same_fp8_products_whoever_shares_its_micro_batch() -> None:
    torch.manual_seed(0)
    product = Fp8Product(torch.randn(32, 48), torch.randn(32).bfloat16(), PlainPasses(), emulated_product)
    states = torch.randn(6, 48).bfloat16()
    states[0] *= 1000
    torch.testing.assert_close(product(states)[1:], product(states[1:]), atol=0, rtol=2**-8)


def test_gelu_is_part_of_the_pass_that_rounds_to_fp8(tmp_path: Path) -> None:
    passes = Counted()
    tensors = tensors_of(tmp_path, hidden_act="gelu_new", num_hidden_layers=2, intermediate_size=80)
    logits_of(fp8_pass(tensors, passes), made_pairs(SHORT))
    # qkv, attention_output and ffn; the last layer's query is apart from its key and value.
    expected = {"quantized": 7, "quantized after gelu": 2}
    assert {name: passes.calls.count(name) for name in expected} == expected


def test_a_product_whose_sides_fp8_does_not_take_is_in_bf16(tmp_path: Path) -> None:
    passes = Counted()
    tensors = tensors_of(tmp_path, num_hidden_layers=1, hidden_act="gelu_new", intermediate_size=72)
    found = logits_of(fp8_pass(tensors, passes), made_pairs(SHORT))
    np.testing.assert_allclose(found, logits_of(plain_pass(tensors), made_pairs(SHORT)), atol=0.5)
    assert passes.calls.count("quantized") == 3
    assert "quantized after gelu" not in passes.calls


def test_fp8_without_a_card_is_refused(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path)
    shape = AlbertShape.from_config(checkpoint.config)
    with pytest.raises(
        ModelError, match=r"precision fp8 on cpu: it needs a GPU of capability 8\.9 or later; choose bf16"
    ):
        AlbertEngine(shape, [checkpoint.weights], precision=Precision.FP8, device=DeviceKind.CPU, threads=None)


@pytest.mark.parametrize(
    ("config", "capability", "taken"),
    [
        ({}, (8, 0), True),
        ({}, (9, 0), True),
        ({}, (7, 5), False),
        ({"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384}, (8, 0), True),
        ({"intermediate_size": 16400}, (8, 0), False),
    ],
    ids=str,
)
def test_where_layers_are_fused(config: dict[str, object], capability: tuple[int, int], *, taken: bool) -> None:
    shape = AlbertShape.from_config({"model_type": "albert", **SMALL, **config})
    assert takes(shape, capability) is taken


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CARD, reason="no CUDA device")
@pytest.mark.parametrize("lengths", [SHORT, LONG], ids=str)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.BF16, 0.1), (Precision.FP16, 0.02), (Precision.FP8, 0.5)]
)
def test_an_engine_on_a_card_is_fused_and_gives_the_logits_of_the_cpu(
    tmp_path: Path, precision: Precision, tolerance: float, lengths: tuple[int, ...]
) -> None:
    if not card_here().computes_in(precision) or not card_here().computes_in(Precision.BF16):
        pytest.skip(f"the card has no kernels for {precision}")
    checkpoint = random_checkpoint(tmp_path, max_position_embeddings=90, hidden_act="gelu_new", intermediate_size=80)
    tensors = AlbertTensors.read(AlbertShape.from_config(checkpoint.config), [checkpoint.weights])
    engine = AlbertEngine(
        tensors.shape, [checkpoint.weights], precision=precision, device=DeviceKind.CUDA, threads=None
    )
    assert engine.fused
    pairs = made_pairs(lengths)
    logits = engine.logits(pairs, [np.arange(len(lengths))])
    np.testing.assert_allclose(logits, logits_of(plain_pass(tensors), pairs), atol=tolerance)


@pytest.mark.process
def test_triton_is_not_taken_where_it_cannot_compile() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    script = """
import torch
from albert_infer.engine.cuda.launches import compiled_passes
assert compiled_passes(torch.device("cpu")) is None
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=environment)


@pytest.mark.process
def test_nothing_but_the_kernels_needs_triton() -> None:
    script = """
import sys
import albert_infer.engine.albert
from albert_infer.engine.cuda.choice import card_passes
assert "triton" not in sys.modules
sys.modules["triton"] = None
assert card_passes() is None
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
