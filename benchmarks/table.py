"""The results in a terminal: header, table, settings, limits, targets. Computes nothing but ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import checkpoint
from benchmarks.machine import Machine
from benchmarks.results import Limit, Results, Row, Section

# Wide enough for every column when the output is a file; a terminal's own width is used where it is larger.
WIDTH: Final = 144


def show(results: Results) -> None:
    """Print everything; ratios are to the first row of each section."""
    console = show_sections(results.machine, results.sections)
    for target in results.targets:
        console.print(f"{target.verdict:<20}{target.claim}: {target.figure}")


def show_sections(machine: Machine, sections: Sequence[Section]) -> Console:
    """Print the machine, and of each section what was labelled, the rows, their settings, and the limits."""
    console = Console(highlight=False)
    console.width = max(WIDTH, console.width)
    _show_machine(console, machine)
    for section in sections:
        _show_section(console, section)
    return console


def _show_section(console: Console, section: Section) -> None:
    work = section.work
    console.print()
    console.print(
        f"[bold]{_model(work.shape)}, {work.workload}[/bold]; {work.pairs} pairs of "
        f"{work.source}, mean {work.mean_tokens:.1f} tokens, longest {work.longest_tokens}, "
        f"{work.forward_tflop:.2f} TFLOP"
    )
    if section.quiet:
        console.print(section.quiet.to_text())
    console.print(_table(section))
    for number, row in enumerate(section.rows, 1):
        console.print(f"[dim]{number:>2}  {row.settings}[/dim]")
    for limit in section.limits:
        console.print(_limit_line(limit))


def _model(shape: str) -> str:
    return "the built-in checkpoint" if shape == checkpoint.BUILTIN else f"ALBERT-{shape} shape, random weights"


def _show_machine(console: Console, machine: Machine) -> None:
    console.print(f"{machine.processor}, {machine.cores} cores ({' '.join(machine.instructions)}), {machine.date}")
    if machine.gpu:
        console.print(machine.gpu)
    console.print(", ".join(f"{package} {version}" for package, version in machine.versions.items()))
    if machine.load > 0.5:
        console.print(f"[bold]the machine was not quiet[/bold]: load {machine.load} when the run began")


def _table(section: Section) -> Table:
    table = Table("", "what", box=None, header_style="bold")
    for heading in ("pairs/s", "rounds", "tokens/s", "TFLOP/s", "x row 1", "of the limit", "differs by", "same label"):
        table.add_column(heading, justify="right")
    for number, row in enumerate(section.rows, 1):
        table.add_row(str(number), row.name, *_cells(section, row))
    return table


def _cells(section: Section, row: Row) -> list[str]:
    speed, base, share = section.speed(row), section.rows[0].pairs_per_second, section.share_of_limit(row)
    if speed.pairs_per_second is None or base is None:
        return [row.note]
    return [
        f"{speed.pairs_per_second:,.1f}",
        f"{min(row.rounds):,.1f}-{max(row.rounds):,.1f}",
        f"{speed.tokens_per_second:,.0f}",
        f"{speed.tflop_per_second:.3g}",
        f"{speed.pairs_per_second / base:.2f}",
        "" if share is None else f"{share:.0%}",
        "" if row.largest_difference is None else f"{row.largest_difference:.0e}",
        "" if row.same_label is None else f"{row.same_label:.1%}",
    ]


def _limit_line(limit: Limit) -> str:
    ways = ", ".join(f"{way} {gflops:.0f}" for way, gflops in limit.ways.items())
    where = "" if limit.cores is None else f" on {limit.cores} core{'s' if limit.cores > 1 else ''}"
    best = f"{limit.pairs_per_second:.1f} pairs/s by {limit.best_way}"
    return f"limit in {limit.precision}{where}: {best} (GFLOP/s when it was chosen: {ways})"
