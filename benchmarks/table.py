"""The results in a terminal: header, table, settings, limits, targets. Computes nothing but ratios."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.results import Limit, Results, Row

# Wide enough for every column when the output is a file; a terminal's own width is used where it is larger.
WIDTH: Final = 120


def show(results: Results, baseline: str) -> None:
    """Print everything; ratios are to the row called `baseline`."""
    console = Console(highlight=False)
    console.width = max(WIDTH, console.width)
    _show_header(console, results)
    console.print(_table(results, results.row(baseline)))
    for number, row in enumerate(results.rows, 1):
        console.print(f"[dim]{number:>2}  {row.settings}[/dim]")
    console.print()
    for limit in results.limits:
        console.print(_limit_line(limit))
    for target in results.targets:
        console.print(f"{target.verdict:<20}{target.claim}: {target.figure}")


def _show_header(console: Console, results: Results) -> None:
    machine, work = results.machine, results.work
    console.print(f"{machine.processor}, {machine.cores} cores ({' '.join(machine.instructions)}), {machine.date}")
    console.print(", ".join(f"{package} {version}" for package, version in machine.versions.items()))
    if machine.load > 0.5:
        console.print(f"[bold]the machine was not quiet[/bold]: load {machine.load} when the run began")
    console.print(
        f"ALBERT-base shape, random weights; {work.pairs} pairs of {work.source} (jobs: {work.job_pairs}), "
        f"mean {work.mean_tokens:.1f} tokens, longest {work.longest_tokens}, {work.forward_tflop:.2f} TFLOP"
    )


def _table(results: Results, baseline: Row) -> Table:
    table = Table("", "what", box=None, header_style="bold")
    for heading in ("pairs/s", "rounds", "x pipeline", "of the limit", "differs by", "same label"):
        table.add_column(heading, justify="right")
    for number, row in enumerate(results.rows, 1):
        table.add_row(str(number), row.name, *_cells(row, baseline, results.limit(row.precision)))
    return table


def _cells(row: Row, baseline: Row, limit: Limit | None) -> list[str]:
    speed, base = row.pairs_per_second, baseline.pairs_per_second
    if speed is None or base is None:
        return [row.note]
    return [
        f"{speed:.1f}",
        f"{min(row.rounds):.1f}-{max(row.rounds):.1f}",
        f"{speed / base:.2f}",
        f"{speed / limit.pairs_per_second:.0%}" if limit else "",
        "" if row.largest_difference is None else f"{row.largest_difference:.0e}",
        "" if row.same_label is None else f"{row.same_label:.1%}",
    ]


def _limit_line(limit: Limit) -> str:
    ways = ", ".join(f"{way} {gflops:.0f}" for way, gflops in limit.ways.items())
    return f"limit in {limit.precision}: {limit.pairs_per_second:.1f} pairs/s by {limit.best_way} (GFLOP/s: {ways})"
