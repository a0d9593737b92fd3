"""`python -m benchmarks.roofline`: the modelled speed of each card, and the tables of `docs/how-to/gpu-cards.md`.

The kernels of a pass and their bytes are counted by `passes`. The rates of a card are assumptions, all in `CARDS`.
`--write` writes the tables into the page. A test compares the page with this module.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from albert_infer.classify.classification import default_batch_tokens
from albert_infer.engine import AlbertShape
from albert_infer.schema import DeviceKind
from benchmarks import checkpoint, limit
from benchmarks.passes import FLASH_TILE, SHORT_TILE, AttentionKernel, Kernels, Kind, fused_pass, plain_pass

PAGE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "gpu-cards.md"
# Each file is what `python -m benchmarks.gpu --json` wrote on a card.
RESULTS: Final = Path(__file__).with_name("results")
# The figure of `benchmarks.gpu` that compares a pass with its products alone.
SHARE: Final = "share of the rate of the products"
# Tokens of an SNLI pair.
LENGTH: Final = 28
SHAPES: Final = ("base", "xxlarge")
LEAST_FUSED: Final = 8.0
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
    precision: str
    peak_tflops: int
    products: Mapping[str, float]
    attention: float

    @property
    def kinds(self) -> Sequence[str]:
        """The layers that the card can have: Triton, which fused layers need, is for capability 8.0 and later."""
        return ("plain", "fused") if float(self.capability) >= LEAST_FUSED else ("plain",)


CARDS: Final = (
    Card("T4", "7.5", 16, 320, 4, "fp16", 65, {"base": 27, "xxlarge": 27}, 8),
    Card("V100", "7.0", 32, 900, 6, "fp16", 125, {"base": 80, "xxlarge": 85}, 25),
    Card("L4", "8.9", 24, 300, 48, "bf16", 121, {"base": 60, "xxlarge": 60}, 50),
    Card("A10G", "8.6", 24, 600, 6, "bf16", 70, {"base": 60, "xxlarge": 60}, 32),
    Card("A100", "8.0", 80, 2039, 40, "bf16", 312, {"base": 230, "xxlarge": 245}, 130),
    Card("H100", "9.0", 80, 3350, 50, "bf16", 989, {"base": 620, "xxlarge": 650}, 270),
    Card("H200", "9.0", 141, 4800, 60, "bf16", 989, {"base": 640, "xxlarge": 680}, 270),
)


@dataclass(frozen=True)
class PassTime:
    """Milliseconds of one pass, and what follows from them. `share` is of the rate of the products alone."""

    products: float
    element_wise: float
    attention: float
    host: float
    share: float
    pairs_per_second: float

    @property
    def device(self) -> float:
        """Milliseconds of the device."""
        return self.products + self.element_wise + self.attention


@cache
def shape_of(name: str) -> AlbertShape:
    """The shape of that name, with three labels."""
    config = {**checkpoint.SHAPES[name], "model_type": "albert", "id2label": {"0": "", "1": "", "2": ""}}
    return AlbertShape.from_config(config)


@cache
def passes_of(name: str) -> Mapping[str, Kernels]:
    """The kernels of a full pass of a shape, plain and fused."""
    shape = shape_of(name)
    plain = plain_pass(shape, default_batch_tokens(DeviceKind.CUDA, shape) // LENGTH, LENGTH)
    return {"plain": plain, "fused": fused_pass(plain)}


def pass_time(card: Card, name: str, kind: str) -> PassTime:
    """What a full pass of pairs of `LENGTH` tokens takes on a card; `kind` is `plain` or `fused`."""
    kernels, rate = passes_of(name)[kind], card.products[name] * 1e9
    bandwidth = card.bandwidth_gbs * BANDWIDTH_SHARE * 1e6
    tile = SHORT_TILE if kind == "fused" else FLASH_TILE
    by_kind = dict.fromkeys(Kind, 0.0)
    for kernel in kernels:
        computed = kernel.flop / rate
        if isinstance(kernel, AttentionKernel):
            computed = kernel.tiled_flop(tile) / (card.attention * 1e9)
        by_kind[kernel.kind] += max(computed, kernel.moved_bytes / bandwidth)
    device = by_kind[Kind.PRODUCT] + by_kind[Kind.ELEMENT_WISE] + by_kind[Kind.ATTENTION]
    host = len(kernels) * HOST_MICROSECONDS / 1e3
    lengths = np.full(default_batch_tokens(DeviceKind.CUDA, shape_of(name)) // LENGTH, LENGTH)
    needed = limit.needed_product_flop(shape_of(name), lengths) / rate
    # While the device computes one pass, the host launches the next.
    slower = max(device, host)
    return PassTime(
        products=by_kind[Kind.PRODUCT],
        element_wise=by_kind[Kind.ELEMENT_WISE],
        attention=by_kind[Kind.ATTENTION],
        host=host,
        share=needed / slower,
        pairs_per_second=len(lengths) / slower * 1e3,
    )


def hourly_price_of_a_million(price: float, pairs_per_second: float) -> float:
    """What a million pairs cost on a card that costs `price` an hour."""
    return price * 1e6 / (3600 * pairs_per_second * JOB_SHARE)


def cards_table(results: Path = RESULTS) -> str:
    """What a reader asks first: which card does what, how fast."""
    ran_on = [run["machine"]["gpu"] for _, run in runs_in(results)]
    rows = []
    for card in CARDS:
        speeds = [
            rounded(pass_time(card, name, kind).pairs_per_second) if kind in card.kinds else "none"
            for name in SHAPES
            for kind in ("plain", "fused")
        ]
        measured_too = any(card.name in gpu.split() for gpu in ran_on)
        figures = "modelled; measured below" if measured_too else "modelled"
        rows.append([card.name, card.capability, card.precision, f"{card.memory_gb} GB", *speeds, figures])
    heads = ["card", "capability", "`auto` is", "memory", "base, plain", "base, fused", "xxlarge, plain"]
    return markdown([*heads, "xxlarge, fused", "figures"], rows)


def runs_in(results: Path) -> list[tuple[str, dict[str, Any]]]:
    """The name and the content of each file that `benchmarks.gpu` wrote on a card."""
    return [(file.name, json.loads(file.read_text("utf-8"))) for file in sorted(results.glob("*-gpu.json"))]


def runs_table(results: Path = RESULTS) -> str:
    """What has run on which card: a row for each file that `benchmarks.gpu` wrote on one."""
    rows = []
    for file, run in runs_in(results):
        steps = {step["name"]: step for step in run["steps"]}
        verdicts = Counter(step["verdict"] or "PASS" for step in steps.values())
        speeds = [_figure(steps, name, figure) for name in SHAPES for figure in ("speed", SHARE)]
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        rows.append([run["machine"]["gpu"], run["machine"]["date"][:10], *speeds, counts, f"`{file}`"])
    heads = ["card", "date", "base, pairs/s", "of the product rate", "xxlarge, pairs/s", "of the product rate"]
    return markdown([*heads, "steps", "file"], rows or [["none yet", *[""] * 7]])


def _figure(steps: Mapping[str, Any], step: str, figure: str) -> str:
    values = [each["value"] for each in steps.get(step, {}).get("figures", ()) if each["name"] == figure]
    if not values:
        return ""
    return percent(values[0]) if figure == SHARE else f"{values[0]:,.0f}"


def passes_table() -> str:
    """Launches and bytes of a pass."""
    rows = []
    for name in SHAPES:
        for kind, kernels in passes_of(name).items():
            of = {each: [kernel for kernel in kernels if kernel.kind is each] for each in Kind}
            moved = [f"{sum(kernel.moved_bytes for kernel in of[each]) / 1e9:.2f} GB" for each in list(Kind)[:3]]
            launches = len(kernels) - len(of[Kind.COPY])
            tokens = default_batch_tokens(DeviceKind.CUDA, shape_of(name)) // LENGTH * LENGTH
            rows.append([f"{name}, {kind}", f"{tokens:,}", str(launches), str(len(of[Kind.COPY])), *moved])
    return markdown(["pass", "tokens", "launches", "copies", "products", "attention", "element-wise"], rows)


def limits_table() -> str:
    """Where the time of a pass of base goes."""
    rows = []
    for card in CARDS:
        for kind in card.kinds:
            time = pass_time(card, "base", kind)
            parts = [f"{part:.1f}" for part in (time.products, time.element_wise, time.attention, time.host)]
            rows.append([f"{card.name}, {kind}", *parts, percent(time.share)])
    return markdown(
        ["card", "products, ms", "element-wise, ms", "attention, ms", "host, ms", "of the product rate"], rows
    )


def assumptions_table() -> str:
    """What the model assumes of each card."""
    rows = [
        [card.name, f"{card.bandwidth_gbs:,} GB/s", f"{card.l2_mb} MB", f"{card.peak_tflops}"]
        + [f"{card.products[name]:.0f}" for name in SHAPES]
        + [f"{card.attention:.0f}"]
        for card in CARDS
    ]
    return markdown(["card", "bandwidth", "L2", "peak", "products of base", "products of xxlarge", "attention"], rows)


def pools_table() -> str:
    """What a pool needs, and what a million pairs cost at 1.00 an hour for a card; of the plain pass of base."""
    rows = []
    for card in CARDS:
        speed = pass_time(card, "base", "plain").pairs_per_second * JOB_SHARE
        an_hour = 1e9 / 3600 / speed
        rows.append(
            [
                card.name,
                f"{rounded(speed * 3600 / 1e6)} million",
                str(math.ceil(an_hour)),
                str(math.ceil(an_hour / 8)),
                f"{math.ceil(10 * speed / CORE_PAIRS_PER_SECOND) / 10:.1f}",
                f"{hourly_price_of_a_million(1.0, speed / JOB_SHARE):.4f}",
            ]
        )
    heads = ["card", "pairs an hour", "cards for a billion in 1 h", "in 8 h", "cores that tokenize, a card"]
    return markdown([*heads, "price factor"], rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "cards": cards_table,
    "runs": runs_table,
    "pools": pools_table,
    "passes": passes_table,
    "limits": limits_table,
    "assumptions": assumptions_table,
}


def rounded(value: float) -> str:
    """Two digits: a model knows no more."""
    digits = 1 - math.floor(math.log10(value))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def percent(share: float) -> str:
    """A share as pages write it."""
    return f"{share:.0%}".replace("%", " %")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a page."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def with_tables(page: str) -> str:
    """`page` with each table between its two comments written again."""
    for name, table in TABLES.items():
        before, begin, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        page = f"{before}{begin}{table()}{end}{after}" if begin and end else page
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    parser.add_argument("--card", choices=[card.name for card in CARDS], help="the card that --price is of")
    parser.add_argument("--price", type=float, help="price of an hour of the card: print that of a million pairs")
    given = parser.parse_args(argv)
    if given.write:
        PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
        return
    for name, table in TABLES.items():
        print(f"{name}\n{table()}\n")
    for card in CARDS:
        if given.price and given.card in (None, card.name):
            for shape in SHAPES:
                price = hourly_price_of_a_million(given.price, pass_time(card, shape, "plain").pairs_per_second)
                print(f"{card.name} at {given.price:.2f} an hour, {shape}: {price:.4f} for a million pairs")


if __name__ == "__main__":
    main()
