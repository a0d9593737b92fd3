"""How fast the engine labels, by card, shape of the checkpoint and precision. Each entry says where it comes from.

A rate is in tokens a second: of one card, or of one core of a processor. `docs/benchmarks.md` has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Final, Literal

from albert_infer.engine import AlbertShape
from albert_infer.engine.processor import resolved_precision
from albert_infer.schema import DeviceKind, Precision

Basis = Literal["measured", "modelled", "earlier runs"]


@dataclass(frozen=True)
class Sizes:
    """What of a shape decides the number of products a token takes."""

    hidden: int
    layers: int
    feed_forward: int

    @classmethod
    def of(cls, shape: AlbertShape) -> Sizes:
        """The sizes of a checkpoint."""
        return cls(shape.hidden_size, len(shape.path), shape.intermediate_size)

    @property
    def products(self) -> int:
        """Multiplications and additions of a token in all layers: four square products and the feed-forward's two."""
        return self.layers * (8 * self.hidden**2 + 4 * self.hidden * self.feed_forward)

    def __str__(self) -> str:
        name = next((name for name, sizes in SHAPES.items() if sizes == self), None)
        return name or f"{self.layers} layers of {self.hidden}"


SHAPES: Final = {
    "small": Sizes(384, 6, 1536),
    "base": Sizes(768, 12, 3072),
    "large": Sizes(1024, 24, 4096),
    "xlarge": Sizes(2048, 24, 8192),
    "xxlarge": Sizes(4096, 12, 16384),
}


@dataclass(frozen=True)
class Rate:
    """Tokens a second of one card, or of one core of a processor, and where that comes from.

    `card` is one of `--card`, or another one that Ray names.
    """

    card: str
    shape: str
    precision: Precision
    tokens_per_second: float
    basis: Basis
    where: str
    when: str


@dataclass(frozen=True)
class Entry:
    """A rate for pairs of about LENGTH tokens, and how it falls with the length.

    The time of a token grows with the `length_power` of the length. A card computes attention in squares of 128 tokens,
    so there it is 0.
    """

    rate: Rate
    length_power: float = 0.0


# The token-weighted mean length of the pairs that the entries are for: those of SNLI.
LENGTH: Final = 30
SAME_LENGTH: Final = 0.1
ZEN4: Final = "2 cores of an AMD EPYC (Zen 4)"
ZEN3: Final = "2 cores of an AMD EPYC (Zen 3)"
ROOFLINE: Final = "a roofline of its products, memory and attention, at 28 tokens a pair"


def _measured(
    card: str, shape: str, precision: Precision, of_two_cores: float, where: str, when: str, power: float
) -> Entry:
    return Entry(Rate(card, shape, precision, of_two_cores / 2, "measured", where, when), power)


def _modelled(card: str, shape: str, precision: Precision, pairs_per_second: float) -> Entry:
    return Entry(Rate(card, shape, precision, pairs_per_second * 28, "modelled", ROOFLINE, "2026-11-29"))


FP32, BF16, FP16, INT8 = Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8
TABLE: Final = (
    # `make bench`: pairs a second of our engine alone, times 27.88 tokens a pair; small: 27.60. The powers are those
    # between SNLI's pairs and long ones of 350 tokens, by the time of one core (2026-11-29).
    _measured("cpu-avx512-bf16", "base", FP32, 1_132, ZEN4, "2026-11-25", 0.07),
    _measured("cpu-avx512-bf16", "base", BF16, 2_230, ZEN4, "2026-11-25", 0.16),
    _measured("cpu-avx512-bf16", "base", INT8, 3_739, ZEN4, "2026-11-25", 0.24),
    _measured("cpu-avx512-bf16", "small", FP32, 8_863, ZEN4, "2026-11-25", 0.10),
    _measured("cpu-avx512-bf16", "small", BF16, 18_783, ZEN4, "2026-11-25", 0.31),
    _measured("cpu-avx512-bf16", "small", INT8, 31_518, ZEN4, "2026-11-25", 0.38),
    # The powers are those of the other processor.
    _measured("cpu-avx2", "base", FP32, 1_004, ZEN3, "2026-11-30", 0.07),
    _measured("cpu-avx2", "base", INT8, 1_983, ZEN3, "2026-11-30", 0.24),
    # `python -m benchmarks.roofline`: fused layers where the card has them.
    _modelled("h200", "base", BF16, 120_000),
    _modelled("h200", "xxlarge", BF16, 5_200),
    _modelled("h100", "base", BF16, 110_000),
    _modelled("h100", "xxlarge", BF16, 4_900),
    _modelled("a10g", "base", BF16, 12_000),
    _modelled("a10g", "xxlarge", BF16, 460),
    _modelled("l4", "base", BF16, 11_000),
    _modelled("l4", "xxlarge", BF16, 450),
    _modelled("t4", "base", FP16, 3_700),
    _modelled("t4", "xxlarge", FP16, 190),
)


def rate_of(card: str, shape: AlbertShape, precision: Precision, length: float = LENGTH) -> Rate | None:
    """The rate of a card or core; None where the table has no entry for the card in this precision.

    `length` is the token-weighted mean length of the pairs. For another shape than the entries have, the nearest entry
    is scaled by the products of a token. On a card a smaller shape has the rate of the nearest: there starting kernels
    takes the time, and not the products.
    """
    wanted = Sizes.of(shape)
    entries = [entry for entry in TABLE if (entry.rate.card, entry.rate.precision) == (card, precision)]
    if not entries:
        return None
    nearest = min(entries, key=lambda entry: abs(log(_times_the_products(entry.rate, wanted))))
    rate, times = nearest.rate, _times_the_products(nearest.rate, wanted)
    if times != 1:
        times = max(times, 1.0) if device_of(card) is DeviceKind.CUDA else times
        where = f"{rate.where}; from the shape {rate.shape}"
        scaled = rate.tokens_per_second / times
        rate = replace(rate, shape=str(wanted), tokens_per_second=scaled, basis="modelled", where=where)
    return at_length(rate, nearest.length_power, length)


def at_length(rate: Rate, power: float, length: float) -> Rate:
    """The rate for pairs of another token-weighted mean length than LENGTH; what differs by 10 % is modelled."""
    times = (max(length, 1.0) / LENGTH) ** power
    rate = replace(rate, tokens_per_second=rate.tokens_per_second / times)
    if abs(times - 1) < SAME_LENGTH:
        return rate
    return replace(rate, basis="modelled", where=f"{rate.where}; for pairs of about {length:.0f} tokens")


def processor(flags: frozenset[str]) -> str:
    """The entry for cores with these instruction sets."""
    precision = resolved_precision("auto", DeviceKind.CPU, flags)
    return "cpu-avx512-bf16" if precision is Precision.BF16 else "cpu-avx2"


def flags_of(card: str) -> frozenset[str]:
    """Instruction sets that decide the precision on a processor of the table."""
    return frozenset({"avx512_bf16"} if card == "cpu-avx512-bf16" else ())


def device_of(card: str) -> DeviceKind:
    """Whether the engine runs on a processor or on a GPU."""
    return DeviceKind.CPU if card.startswith("cpu") else DeviceKind.CUDA


def _times_the_products(rate: Rate, wanted: Sizes) -> float:
    return wanted.products / SHAPES[rate.shape].products
