"""The modelled speed of each card: its kernels as `passes` counts them, at rates that are assumed.

Every assumption about a card is in `CARDS`, and every other one is a constant of this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from albert_infer.classify.classification import default_batch_tokens
from albert_infer.engine import AlbertShape, cards
from albert_infer.schema import DeviceKind
from benchmarks import checkpoint, limit
from benchmarks.passes import FLASH_TILE, SHORT_TILE, AttentionKernel, Kernels, Kind, fused_pass, plain_pass

# Tokens of an SNLI pair.
LENGTH: Final = 28
SHAPES: Final = ("base", "xxlarge")
LEAST_FUSED: Final = 8.0
# How many times the bandwidth of the memory that of the L2 is, for activations that stay in it.
L2_FACTOR: Final = 3.0
# Share of the datasheet's bandwidth that long copies reach.
BANDWIDTH_SHARE: Final = 0.92
# A launch from Python through torch, on one core.
HOST_MICROSECONDS: Final = 22.0
# Share of the engine's speed that a whole job has: units are prepared and finished while the device waits.
JOB_SHARE: Final = 0.92
# Pairs that one core tokenizes in a second, texts checked and decoded.
CORE_PAIRS_PER_SECOND: Final = 100_000


@dataclass(frozen=True)
class Card:
    """A card by its datasheet, and the rates that are assumed of it, in TFLOP/s.

    `products` are large products of each shape, in the card's own precision. `attention` is flash attention with all
    its tiles counted. On cards without packed attention it is that of rectangles.
    """

    name: str
    capability: str
    memory_gb: int
    bandwidth_gbs: int
    l2_mb: int
    processors: int
    precision: str
    peak_tflops: int
    products: Mapping[str, float]
    attention: float

    @property
    def kinds(self) -> Sequence[str]:
        """The layers that the card can have: Triton, which fused layers need, is for capability 8.0 and later."""
        return ("plain", "fused") if float(self.capability) >= LEAST_FUSED else ("plain",)


CARDS: Final = (
    Card("T4", "7.5", 16, 320, 4, 40, "fp16", 65, {"base": 27, "xxlarge": 27}, 8),
    Card("V100", "7.0", 32, 900, 6, 80, "fp16", 125, {"base": 80, "xxlarge": 85}, 25),
    Card("L4", "8.9", 24, 300, 48, 58, "bf16", 121, {"base": 60, "xxlarge": 60}, 50),
    Card("A10G", "8.6", 24, 600, 6, 80, "bf16", 70, {"base": 60, "xxlarge": 60}, 32),
    Card("A100", "8.0", 80, 2039, 40, 108, "bf16", 312, {"base": 230, "xxlarge": 245}, 130),
    Card("H100", "9.0", 80, 3350, 50, 132, "bf16", 989, {"base": 620, "xxlarge": 650}, 270),
    Card("H200", "9.0", 141, 4800, 60, 132, "bf16", 989, {"base": 640, "xxlarge": 680}, 270),
)


def card_named(gpu: str) -> Card | None:
    """The card of this name, as torch reports it: `NVIDIA A100-SXM4-80GB`. None where the model does not have it."""
    return next((card for card in CARDS if re.search(rf"\b{card.name}\b", gpu)), None)


@dataclass(frozen=True)
class ModelledPass:
    """One pass: milliseconds of its parts, its share of the rate of the products alone, and its speed."""

    products: float
    element_wise: float
    attention: float
    host: float
    share: float
    pairs_per_second: float


@cache
def shape_of(name: str) -> AlbertShape:
    """The shape of that name, with three labels."""
    config = {**checkpoint.SHAPES[name], "model_type": "albert", "id2label": {"0": "", "1": "", "2": ""}}
    return AlbertShape.from_config(config)


def tokens_of(card: Card, name: str) -> int:
    """Tokens of a full pass of pairs of `LENGTH` tokens: the budget that a job plans on the card, in whole pairs."""
    major, minor = map(int, card.capability.split("."))
    reported = cards.Card(
        name=card.name,
        capability=(major, minor),
        memory_bytes=card.memory_gb * 10**9,
        l2_bytes=card.l2_mb * 10**6,
        processors=card.processors,
    )
    return default_batch_tokens(DeviceKind.CUDA, shape_of(name), reported) // LENGTH * LENGTH


def usual_tokens(name: str) -> int:
    """The same where nothing is known of the card."""
    return default_batch_tokens(DeviceKind.CUDA, shape_of(name)) // LENGTH * LENGTH


@cache
def passes_of(name: str, tokens: int) -> Mapping[str, Kernels]:
    """The kernels of a pass of that number of tokens, plain and fused."""
    plain = plain_pass(shape_of(name), tokens // LENGTH, LENGTH)
    return {"plain": plain, "fused": fused_pass(plain)}


def pass_time(card: Card, name: str, kind: str) -> ModelledPass:
    """The time of a full pass on a card; `kind` is `plain` or `fused`."""
    tokens, shape = tokens_of(card, name), shape_of(name)
    kernels, rate = passes_of(name, tokens)[kind], card.products[name] * 1e9
    # The wider of two products, its input and the residual.
    stays_in_l2 = tokens * 2 * (shape.intermediate_size + 2 * shape.hidden_size) <= card.l2_mb * 10**6
    bandwidth = card.bandwidth_gbs * BANDWIDTH_SHARE * 1e6 * (L2_FACTOR if stays_in_l2 else 1)
    tile = SHORT_TILE if kind == "fused" else FLASH_TILE
    by_kind = dict.fromkeys(Kind, 0.0)
    for kernel in kernels:
        computed = kernel.flop / rate
        if isinstance(kernel, AttentionKernel):
            computed = kernel.tiled_flop(tile) / (card.attention * 1e9)
        by_kind[kernel.kind] += max(computed, kernel.moved_bytes / bandwidth)
    host = len(kernels) * HOST_MICROSECONDS / 1e3
    lengths = np.full(tokens // LENGTH, LENGTH)
    needed = limit.needed_product_flop(shape, lengths) / rate
    # While the device computes one pass, the host launches the next.
    slower = max(by_kind[Kind.PRODUCT] + by_kind[Kind.ELEMENT_WISE] + by_kind[Kind.ATTENTION], host)
    return ModelledPass(
        products=by_kind[Kind.PRODUCT],
        element_wise=by_kind[Kind.ELEMENT_WISE],
        attention=by_kind[Kind.ATTENTION],
        host=host,
        share=needed / slower,
        pairs_per_second=len(lengths) / slower * 1e3,
    )


def hourly_price_of_a_million(price: float, pairs_per_second: float) -> float:
    """The price of a million pairs on a card that costs `price` an hour."""
    return price * 1e6 / (3600 * pairs_per_second * JOB_SHARE)
