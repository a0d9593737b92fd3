"""The kernels of a pass are those of the engine's own layers, and the page has what the model of each card says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from albert_infer.engine import AlbertShape
from albert_infer.engine.albert import ForwardPass
from albert_infer.engine.plain import PlainLayers
from albert_infer.engine.tensors import albert_tensors
from albert_infer.engine.weights import AlbertTensors, Dense, EndWeights, Norm
from albert_infer.schema import EncodedPairs
from benchmarks import card_model, limit, passes, roofline
from benchmarks.passes import AttentionKernel, Kernel, Kind, fused_pass, plain_pass

BASE: Final = card_model.shape_of("base")
ROWS, LENGTH = 10, 28
TOKENS: Final = ROWS * LENGTH
# A number in bf16.
BYTES: Final = 2


def counts(kernels: passes.Kernels) -> dict[Kind, int]:
    return dict(Counter(kernel.kind for kernel in kernels))


def layer_bytes(kernels: passes.Kernels, kind: Kind) -> int:
    """Bytes that one of the first layers adds: those of a pass of three layers, less those of two."""
    return sum(kernel.moved_bytes for kernel in kernels if kernel.kind is kind)


def base_of(layers: int) -> AlbertShape:
    return AlbertShape(**{**vars(BASE), "num_hidden_layers": layers})


@pytest.mark.computes
def test_launches_of_a_pass_of_base_and_of_xxlarge() -> None:
    for name in card_model.SHAPES:
        kernels = card_model.passes_of(name, card_model.usual_tokens(name))
        # Four products a layer, five in the last one; the mapping of the embeddings, pooler and classifier.
        assert counts(kernels["plain"]) == {Kind.COPY: 6, Kind.PRODUCT: 52, Kind.ATTENTION: 12, Kind.ELEMENT_WISE: 70}
        assert counts(kernels["fused"]) == {Kind.COPY: 5, Kind.PRODUCT: 52, Kind.ATTENTION: 12, Kind.ELEMENT_WISE: 28}


def test_bytes_that_a_layer_moves() -> None:
    three, two = (plain_pass(base_of(layers), ROWS, LENGTH) for layers in (3, 2))
    moved = {kind: layer_bytes(three, kind) - layer_bytes(two, kind) for kind in Kind}
    hidden, intermediate = BASE.hidden_size, BASE.intermediate_size
    weights = 4 * hidden**2 + 2 * hidden * intermediate + 3 * hidden + hidden + intermediate + hidden
    states = TOKENS * ((1 + 3) + (1 + 1)) * hidden + 2 * TOKENS * (hidden + intermediate)
    assert moved[Kind.PRODUCT] == BYTES * (weights + states)
    # Query, key and value are read, and the context is written.
    assert moved[Kind.ATTENTION] == BYTES * 4 * TOKENS * hidden
    # Each sum reads two and writes one, each norm reads one and writes one, the activation reads and writes.
    norms = 2 * 2 * hidden
    assert moved[Kind.ELEMENT_WISE] == BYTES * (TOKENS * (2 * (3 + 2) * hidden + 2 * intermediate) + norms)
    fused_moved = layer_bytes(fused_pass(three), Kind.ELEMENT_WISE) - layer_bytes(fused_pass(two), Kind.ELEMENT_WISE)
    assert fused_moved == BYTES * TOKENS * 2 * 3 * hidden


def test_operations_of_the_products_are_those_of_the_limit() -> None:
    kernels = plain_pass(BASE, ROWS, LENGTH)
    computed = sum(kernel.flop for kernel in kernels if kernel.kind is Kind.PRODUCT)
    ends = 2 * TOKENS * BASE.embedding_size * BASE.hidden_size + 2 * ROWS * BASE.hidden_size * (BASE.hidden_size + 3)
    assert computed - ends == limit.needed_product_flop(BASE, np.full(ROWS, LENGTH))


def test_an_attention_call_computes_whole_tiles() -> None:
    every, first = (kernel for kernel in plain_pass(base_of(2), ROWS, LENGTH) if isinstance(kernel, AttentionKernel))
    assert (every.queries, first.queries) == (LENGTH, 1)
    assert every.tiled_flop(28) == every.flop == 4 * ROWS * 12 * 28 * 28 * 64
    assert every.tiled_flop(128) == 4 * ROWS * 12 * 128 * 128 * 64
    assert first.tiled_flop(32) == 4 * ROWS * 12 * 32 * 32 * 64


def test_fused_kernels_take_the_place_of_their_parts() -> None:
    names = ["linear", "gelu_", "linear", "add_", "native_layer_norm", "to", "gelu_"]
    kinds = [Kind.PRODUCT if name == "linear" else Kind.ELEMENT_WISE for name in names]
    fused = fused_pass([Kernel(name, kind, 10) for name, kind in zip(names, kinds, strict=True)])
    assert [kernel.name for kernel in fused] == ["linear+gelu_", "linear", "add_+native_layer_norm", "to", "gelu_"]
    assert [kernel.moved_bytes for kernel in fused] == [10] * 5


class CountedPasses:
    """The passes of the engine's fused layers, each as the one kernel that it is on a card; computes nothing."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []

    def embedded(self, ends: EndWeights, words: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """As `Passes`."""
        self._count(Kind.ELEMENT_WISE, 2 * len(words) * ends.words.shape[1] * BYTES + 4 * len(words))
        return ends.words.new_empty(len(words), ends.words.shape[1])

    def add_and_normalize(self, product: Tensor, bias: Tensor, residual: Tensor, norm: Norm) -> Tensor:
        """As `Passes`."""
        self._count(Kind.ELEMENT_WISE, 3 * product.numel() * BYTES)
        return product

    def attend(self, query: Tensor, key: Tensor, value: Tensor, tokens: Tensor, *, longest: int, heads: int) -> Tensor:
        """As `Passes`."""
        self._count(Kind.ATTENTION, (2 * query.numel() + key.numel() + value.numel()) * BYTES)
        return query.new_empty(query.shape)

    def _count(self, kind: Kind, moved_bytes: int) -> None:
        self.kernels.append(Kernel("", kind, moved_bytes))


@pytest.mark.computes
def test_a_fused_pass_has_the_calls_of_the_engines_fused_layers() -> None:
    fused = pytest.importorskip("albert_infer.engine.cuda.fused", reason="this engine has no fused layers for cards")
    counted, device = CountedPasses(), torch.device("cpu")
    tensors = AlbertTensors(BASE, {name: torch.empty(size) for name, size in albert_tensors(BASE).items()})
    layers = fused.half_layers(tensors, torch.bfloat16, device, counted)
    forward: Any = ForwardPass
    pairs = EncodedPairs(np.zeros(TOKENS, np.int32), np.arange(ROWS + 1) * LENGTH, np.full(ROWS, 9, np.int32))
    forward(tensors.ends(torch.bfloat16, device), layers, device, counted).logits(pairs, np.arange(ROWS))
    modelled = fused_pass(plain_pass(BASE, ROWS, LENGTH))
    # The rows of [CLS], the pooler's input in fp32 and its tanh are torch's own kernels in both.
    passes_of_the_model = [kernel for kernel in modelled if "+" in kernel.name or kernel.kind is Kind.ATTENTION]
    passes_of_the_model = [kernel for kernel in passes_of_the_model if kernel.kind is not Kind.PRODUCT]
    assert [kernel.kind for kernel in counted.kernels] == [kernel.kind for kernel in passes_of_the_model]
    for called, kernel in zip(counted.kernels, passes_of_the_model, strict=True):
        assert called.moved_bytes == pytest.approx(kernel.moved_bytes, rel=0.03)


@pytest.mark.usefixtures("one_thread")
def test_the_kernels_that_are_counted_are_operations_that_torch_runs() -> None:
    shape = card_model.shape_of("tiny")
    device = torch.device("cpu")
    tensors = AlbertTensors(shape, {name: torch.randn(size) for name, size in albert_tensors(shape).items()})
    layers = PlainLayers(shape, tensors.layers(torch.bfloat16, device, Dense))
    forward = ForwardPass(tensors.ends(torch.bfloat16, device), layers, device)
    pairs = EncodedPairs(np.zeros(TOKENS, np.int32), np.arange(ROWS + 1) * LENGTH, np.full(ROWS, 9, np.int32))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        forward.logits(pairs, np.arange(ROWS))
    ran = Counter(event.name.removeprefix("aten::") for event in profiled.events())
    counted = Counter(kernel.name for kernel in plain_pass(shape, ROWS, LENGTH))
    for name in ("linear", "add_", "layer_norm", "gelu_", "embedding", "tanh_"):
        assert counted[name] == ran[name], name
    assert counted["attention"] == ran["scaled_dot_product_attention"]


@pytest.mark.computes
def test_a_card_with_more_bandwidth_is_faster_and_no_card_exceeds_its_products() -> None:
    by_name = {card.name: card for card in card_model.CARDS}
    for name in card_model.SHAPES:
        for card in card_model.CARDS:
            shares = [card_model.pass_time(card, name, kind).share for kind in card.kinds]
            assert 0.3 < shares[0] <= shares[-1] < 1
            assert len(shares) == 1 or shares[0] < shares[1]
            assert card.products[name] < card.peak_tflops
        speeds = [card_model.pass_time(by_name[card], name, "plain").pairs_per_second for card in ("H100", "H200")]
        assert speeds[0] < speeds[1]


def test_a_card_is_known_by_the_name_that_torch_reports() -> None:
    names = {"NVIDIA A100-SXM4-80GB": "A100", "Tesla T4": "T4", "NVIDIA L4": "L4", "NVIDIA H100 80GB HBM3": "H100"}
    assert {name: getattr(card_model.card_named(name), "name", None) for name in names} == names
    assert card_model.card_named("NVIDIA L40S") is None


def test_a_slow_host_bounds_a_pass() -> None:
    tiny = card_model.Card("tiny", "9.0", 80, 10**9, 1, 1, "bf16", 10**9, {"base": 1e9, "xxlarge": 1e9}, 1e9)
    modelled = card_model.pass_time(tiny, "base", "plain")
    pairs = card_model.tokens_of(tiny, "base") // LENGTH
    assert modelled.pairs_per_second == pytest.approx(pairs / modelled.host * 1e3)


def test_the_price_of_a_million_pairs_grows_with_the_price_of_an_hour() -> None:
    assert card_model.hourly_price_of_a_million(3.0, 1e6 / 3600 / card_model.JOB_SHARE) == pytest.approx(3.0)


def test_each_file_of_a_card_is_a_row_of_the_page(tmp_path: Path) -> None:
    figures = [{"name": "speed", "value": 98_765.4}, {"name": roofline.SHARE, "value": 0.781}]
    steps = [{"name": "base", "verdict": "PASS", "figures": figures}, {"name": "fp8", "verdict": "SKIP", "figures": []}]
    run = {"machine": {"gpu": "NVIDIA H200", "date": "2027-01-31T12:00+00:00"}, "steps": steps}
    (tmp_path / "2027-01-31-h200-gpu.json").write_text(json.dumps(run))
    [row] = roofline.runs_table(tmp_path).splitlines()[2:]
    measured = [line for line in roofline.cards_table(tmp_path).splitlines() if line.endswith("measured below |")]
    assert [line.split()[1] for line in measured] == ["H200"]
    assert row == "| NVIDIA H200 | 2027-01-31 | 98,765 | 78 % |  |  | 1 PASS, 1 SKIP | `2027-01-31-h200-gpu.json` |"


def test_the_pages_say_what_has_run_on_a_card() -> None:
    nothing = not list(roofline.RESULTS.glob("*-gpu.json"))
    assert ("| none yet |" in roofline.PAGE.read_text("utf-8")) is nothing
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert ("No part of the GPU path has run on a card yet" in readme) is nothing


def test_the_page_has_the_tables_that_the_model_computes() -> None:
    page = roofline.PAGE.read_text("utf-8")
    assert all(f"<!-- table: {name} -->" in page for name in roofline.TABLES)
    assert page == roofline.with_tables(page), "run python -m benchmarks.roofline --write"
