"""Steps on the speed of the engine alone: passes against the rate of the products, and what fused kernels save."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from albert_infer.classify.batching import micro_batches
from albert_infer.engine.albert import AlbertEngine, ForwardPass
from albert_infer.engine.attention import PackedAttention, RectangleAttention
from albert_infer.engine.memory import Forward, MicroBatchLogits, logits_within_memory
from albert_infer.engine.packing import LengthRun
from albert_infer.engine.plain import PlainLayers
from albert_infer.engine.weights import AlbertTensors, Dense
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.schema import EncodedPairs, Precision
from benchmarks import card_model, limit, roofline
from benchmarks.devices import FLOAT_DTYPES
from benchmarks.gpu.bench import Bench, Model, consume, pass_seconds, precision_named, seconds_of
from benchmarks.gpu.figures import Figure, SkippedError
from benchmarks.gpu.kernel_times import kernel_times

PASSES, DRY_PASSES = 20, 2
DRY_TOKENS: Final = 512
WAY_SECONDS, DRY_WAY_SECONDS = 1.0, 0.01
# Of the rate that the products alone reach on this card.
LEAST_SHARE: Final = {"base": 0.75, "xxlarge": 0.90}
# What an H100 or H200 must reach; other cards have no bar in pairs a second.
LEAST_PAIRS: Final = {"base": 100_000.0}
HOPPER: Final = (9, 0)
BUDGETS: Final = (4096, 8192, 16_384, 32_768, 65_536)
FP8_CAPABILITY: Final = (8, 9)


def base(bench: Bench) -> Sequence[Figure]:
    """ALBERT-base."""
    return _shape_speed(bench, "base", bench.checkpoint("base"))


def xxlarge(bench: Bench) -> Sequence[Figure]:
    """ALBERT-xxlarge."""
    return _shape_speed(bench, "xxlarge", bench.random_model("xxlarge"))


def small(bench: Bench) -> Sequence[Figure]:
    """The shape of the built-in checkpoint: small products, so launches weigh more."""
    return _shape_speed(bench, "small", bench.checkpoint("small"))


def _shape_speed(bench: Bench, name: str, model: Model | Checkpoint) -> Sequence[Figure]:
    precision = bench.half
    tokens = DRY_TOKENS if bench.dry else bench.budget(model.shape)
    encoded = bench.snli_like(3 * tokens // 28, model.shape)
    rows = bench.middle_batch(encoded, tokens)
    engine = bench.engine(model, precision)
    seconds = _pass_seconds(bench, engine, encoded, rows)
    way = DRY_WAY_SECONDS if bench.dry else WAY_SECONDS
    lengths = encoded.lengths[rows]
    rate = max(limit.product_gflops(model.shape, int(lengths.sum()), precision, bench.device, way).values())
    share = limit.needed_product_flop(model.shape, lengths) / rate / 1e9 / seconds
    speed = LEAST_PAIRS.get(name) if bench.capability >= HOPPER else None
    return [
        Figure("layers", "fused" if engine.fused else "plain"),
        Figure(f"tokens of a pass, {precision}", float(lengths.sum())),
        Figure("pass", 1e3 * seconds, "ms"),
        Figure("speed", len(rows) / seconds, "pairs/s", least=speed, on_card=True),
        Figure("products alone", rate / 1e3, "TFLOP/s"),
        Figure(roofline.SHARE, share, least=LEAST_SHARE.get(name), on_card=True),
    ]


def _pass_seconds(bench: Bench, engine: AlbertEngine, encoded: EncodedPairs, rows: NDArray[np.int64]) -> float:
    return pass_seconds(engine, encoded, rows, bench.device, DRY_PASSES if bench.dry else PASSES)


def budgets(bench: Bench) -> Sequence[Figure]:
    """Tokens of a pass of base: a card with a large L2 may be fastest where the activations stay in it."""
    checkpoint = bench.checkpoint("base")
    engine = bench.engine(checkpoint, bench.half)
    figures = [Figure("budget that a job plans", float(bench.budget(checkpoint.shape)), "tokens")]
    for tokens in (DRY_TOKENS // 2, DRY_TOKENS) if bench.dry else BUDGETS:
        encoded = bench.snli_like(3 * tokens // 28, checkpoint.shape)
        rows = bench.middle_batch(encoded, tokens)
        seconds = _pass_seconds(bench, engine, encoded, rows)
        figures.append(Figure(f"{tokens:,} tokens a pass", len(rows) / seconds, "pairs/s"))
    return figures


def profile(bench: Bench) -> Sequence[Figure]:
    """Where a pass of base goes, by kind of kernel, and its launches next to those counted without a card."""
    checkpoint = bench.checkpoint("base")
    engine, tokens = bench.engine(checkpoint, bench.half), DRY_TOKENS if bench.dry else bench.budget(checkpoint.shape)
    encoded = bench.snli_like(3 * tokens // 28, checkpoint.shape)
    rows = bench.middle_batch(encoded, tokens)
    times = kernel_times(lambda: consume(engine.micro_batch_logits(encoded, [rows])), bench.device, 3)
    if not bench.dry and not times.launches:
        raise SkippedError("torch's profiler sees no kernels on this machine")
    passes = card_model.passes_of("base", card_model.usual_tokens("base"))
    counted = len(passes["fused" if engine.fused else "plain"])
    return [
        Figure("launches and copies of a pass", times.launches),
        Figure("counted without a card", float(counted)),
        Figure("the device computes", times.total, "ms"),
        *(Figure(kind, milliseconds / times.total, "of it") for kind, milliseconds in times.milliseconds.items()),
    ]


@torch.inference_mode()
def epilogue(bench: Bench) -> Sequence[Figure]:
    """The tanh GELU apart from its product, and in the product's epilogue."""
    figures = []
    for hidden, outputs, tokens in ((16, 32, 64),) if bench.dry else ((768, 3072, 32_768), (4096, 16_384, 8192)):
        sizes = ((tokens, hidden), (outputs, hidden), (outputs,))
        states, weight, bias = (torch.randn(*size, device=bench.where).bfloat16() / 8 for size in sizes)
        apart = partial(_product_and_gelu, states, weight, bias)
        joined = partial(torch._addmm_activation, bias, states, weight.t(), use_gelu=True)
        exact = functional.gelu(functional.linear(states.float(), weight.float(), bias.float()), approximate="tanh")
        # On a CPU the epilogue is the erf form.
        figures += [
            Figure(f"{hidden} to {outputs}: apart", 1e3 * seconds_of(apart, bench.device), "ms"),
            Figure(f"{hidden} to {outputs}: in the epilogue", 1e3 * seconds_of(joined, bench.device), "ms"),
            Figure(
                "largest difference from fp32", float((joined().float() - exact).abs().max()), most=0.1, on_card=True
            ),
        ]
    return figures


def _product_and_gelu(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.gelu_(functional.linear(states, weight, bias), approximate="tanh")  # type: ignore[no-any-return]


@torch.inference_mode()
def attention(bench: Bench) -> Sequence[Figure]:
    """One layer's attention of pairs of 28 tokens, base: one packed call against rectangles, and the bytes' floor."""
    rows, size, heads, length = (4, 16, 4, 28) if bench.dry else (1170, 64, 12, 28)
    qkv = torch.randn(rows * length, 3 * heads * size, device=bench.where).bfloat16()
    query, key, value = qkv.chunk(3, dim=1)
    rectangle = RectangleAttention((LengthRun(rows, length),), heads)
    figures = [
        Figure("rectangle", 1e3 * seconds_of(lambda: rectangle(query, key, value), bench.device), "ms"),
        Figure("bytes that must move", 8 * query.numel() / 1e6, "MB"),
    ]
    if bench.dry:
        return figures
    begins = torch.arange(rows + 1, device=bench.where, dtype=torch.int32) * length
    packed = PackedAttention(begins, length, heads)
    return [*figures, Figure("packed", 1e3 * seconds_of(lambda: packed(query, key, value), bench.device), "ms")]


def fused(bench: Bench) -> Sequence[Figure]:
    """The engine's own layers against the plain ones: speed, and how far their logits differ."""
    figures = []
    for name, model in (("base", bench.checkpoint("base")), ("xxlarge", bench.random_model("xxlarge"))):
        engine = bench.engine(model, bench.half)
        if not engine.fused:
            raise SkippedError(f"this engine does not fuse the layers of {name} in {bench.half} on this device")
        tokens = DRY_TOKENS if bench.dry else bench.budget(model.shape)
        encoded = bench.snli_like(3 * tokens // 28, model.shape)
        rows = bench.middle_batch(encoded, tokens)
        plain = partial(_plain_forward(bench, model, bench.half).logits, encoded)
        plain_passes = partial(_passes, plain, rows)
        repeat = DRY_PASSES if bench.dry else PASSES
        seconds = _pass_seconds(bench, engine, encoded, rows)
        plain_seconds = seconds_of(partial(plain_passes, repeat), bench.device, 1) / repeat
        (fused_batch,), (plain_batch,) = engine.micro_batch_logits(encoded, [rows]), plain_passes(1)
        differences = fused_batch.logits_BC[np.argsort(fused_batch.rows_B)]
        differences = differences - plain_batch.logits_BC[np.argsort(plain_batch.rows_B)]
        figures += [
            Figure(f"{name}: plain", len(rows) / plain_seconds, "pairs/s"),
            Figure(f"{name}: fused", len(rows) / seconds, "pairs/s"),
            Figure(f"{name}: fused against plain", plain_seconds / seconds, "times", least=1.0, on_card=True),
            Figure(f"{name}: largest difference of a logit", float(np.abs(differences).max()), most=0.2),
        ]
    return figures


def _passes(forward: Forward, rows: NDArray[np.int64], count: int) -> list[MicroBatchLogits]:
    return list(logits_within_memory([rows] * count, forward, 3))


def _plain_forward(bench: Bench, model: Model | Checkpoint, precision: Precision) -> ForwardPass:
    """The forward pass that an engine has where nothing is fused."""
    tensors, dtype = AlbertTensors.read(model.shape, model.weights), FLOAT_DTYPES[precision]
    layers = PlainLayers(model.shape, tensors.layers(dtype, bench.where, Dense))
    return ForwardPass(tensors.ends(dtype, bench.where), layers, bench.where)


def fp8(bench: Bench) -> Sequence[Figure]:
    """fp8 products against bf16 ones: speed for a wide shape, and labels of the built-in checkpoint."""
    precision = precision_named("fp8")
    if bench.dry or bench.capability < FP8_CAPABILITY:
        raise SkippedError("fp8 needs a card of capability 8.9")
    model = bench.random_model("xxlarge")
    tokens = bench.budget(model.shape)
    encoded = bench.snli_like(3 * tokens // 28, model.shape)
    rows = bench.middle_batch(encoded, tokens)
    speeds = {
        each: len(rows) / _pass_seconds(bench, bench.engine(model, each), encoded, rows)
        for each in (Precision.BF16, precision)
    }
    checkpoint = bench.checkpoint("base")
    pairs = bench.snli_like(4000, checkpoint.shape)
    batches = micro_batches(pairs.lengths, bench.budget(checkpoint.shape))
    labels = [
        bench.engine(checkpoint, each).logits(pairs, batches).argmax(axis=1) for each in (Precision.FP32, precision)
    ]
    return [
        *(Figure(f"xxlarge, {each}", speed, "pairs/s") for each, speed in speeds.items()),
        Figure("fp8 against bf16", speeds[precision] / speeds[Precision.BF16], "times", least=1.3, on_card=True),
        # Random weights: most pairs are close calls, so this is no bar for a trained checkpoint.
        Figure("base, random weights: labels as in fp32", float((labels[0] == labels[1]).mean())),
    ]
