"""`python -m benchmarks.roofline`: the modelled speed of each card, and the tables of `docs/how-to/gpu-cards.md`.

`passes` counts the kernels of a pass and their bytes. `card_model` has the assumed rates of each card, and the model.
`--write` writes the tables into the page. A test compares the page with this module.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.card_model import (
    CARDS,
    CORE_PAIRS_PER_SECOND,
    JOB_SHARE,
    SHAPES,
    card_named,
    hourly_price_of_a_million,
    pass_time,
    passes_of,
    tokens_of,
    usual_tokens,
)
from benchmarks.passes import Kind

PAGE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "gpu-cards.md"
# Each file is what `python -m benchmarks.gpu --json` wrote on a card.
RESULTS: Final = Path(__file__).with_name("results")
# The figure of `benchmarks.gpu` that compares a pass with its products alone.
SHARE: Final = "share of the rate of the products"


def cards_table(results: Path = RESULTS) -> str:
    """The speed of each card, with its precision and memory."""
    ran_on = [card_named(run["machine"]["gpu"]) for _, run in runs_in(results)]
    rows = []
    for card in CARDS:
        speeds = [
            rounded(pass_time(card, name, kind).pairs_per_second) if kind in card.kinds else "none"
            for name in SHAPES
            for kind in ("plain", "fused")
        ]
        figures = "modelled; measured below" if card in ran_on else "modelled"
        rows.append([card.name, card.capability, card.precision, f"{card.memory_gb} GB", *speeds, figures])
    heads = ["card", "capability", "`auto` is", "memory", "base, plain", "base, fused", "xxlarge, plain"]
    return markdown([*heads, "xxlarge, fused", "figures"], rows)


def runs_in(results: Path) -> list[tuple[str, dict[str, Any]]]:
    """The name and the content of each file that `benchmarks.gpu` wrote on a card."""
    return [(file.name, json.loads(file.read_text("utf-8"))) for file in sorted(results.glob("*-gpu.json"))]


def runs_table(results: Path = RESULTS) -> str:
    """The runs on cards: a row for each file that `benchmarks.gpu` wrote on one."""
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
        tokens = usual_tokens(name)
        for kind, kernels in passes_of(name, tokens).items():
            of = {each: [kernel for kernel in kernels if kernel.kind is each] for each in Kind}
            moved = [f"{sum(kernel.moved_bytes for kernel in of[each]) / 1e9:.2f} GB" for each in list(Kind)[:3]]
            copies = len(of[Kind.COPY])
            rows.append([f"{name}, {kind}", f"{tokens:,}", str(len(kernels) - copies), str(copies), *moved])
    return markdown(["pass", "tokens", "launches", "copies", "products", "attention", "element-wise"], rows)


def limits_table() -> str:
    """Where the time of a pass of base goes."""
    rows = []
    for card in CARDS:
        for kind in card.kinds:
            time = pass_time(card, "base", kind)
            parts = [f"{part:.1f}" for part in (time.products, time.element_wise, time.attention, time.host)]
            rows.append([f"{card.name}, {kind}", f"{tokens_of(card, 'base'):,}", *parts, percent(time.share)])
    return markdown(
        ["card", "tokens", "products, ms", "element-wise, ms", "attention, ms", "host, ms", "of the product rate"], rows
    )


def assumptions_table() -> str:
    """The assumptions about each card."""
    rows = [
        [card.name, f"{card.bandwidth_gbs:,} GB/s", f"{card.l2_mb} MB", f"{card.peak_tflops}"]
        + [f"{card.products[name]:.0f}" for name in SHAPES]
        + [f"{card.attention:.0f}"]
        for card in CARDS
    ]
    return markdown(["card", "bandwidth", "L2", "peak", "products of base", "products of xxlarge", "attention"], rows)


def pools_table() -> str:
    """Sizes of pools, and the price of a million pairs at 1.00 an hour for a card; of the plain pass of base."""
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
