"""Tables and named facts as the lines of a text: each value on its line and as it is, whatever it holds."""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.box import SIMPLE, Box
from rich.console import Console
from rich.table import Column, Table

from albert_infer.common.printable import printable

# The rule below the heading, and the mark of a value that was cut.
DRAWN: Final = "─…"
SIMPLE_ASCII: Final = Box(str(SIMPLE).replace("─", "-"), ascii=True)
# The names of facts stand in a column of this width.
NAME_WIDTH: Final = 12
# A narrower terminal wraps by itself.
LEAST_WIDTH: Final = 40


def table_lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    width: int,
    title: str | None = None,
    encoding: str | None = None,
) -> list[str]:
    """The lines of a table of at most `width` characters, without colours; `[red]` in a value is text.

    What is drawn beside the values is ASCII if `encoding` does not have it; without one, stdout's counts.
    """
    is_drawn = _encodes(DRAWN, encoding or getattr(sys.stdout, "encoding", None) or "utf-8")
    shown = [column.copy() for column in columns]
    if not is_drawn:
        for column in shown:
            column.overflow = "crop"
    table = Table(*shown, box=SIMPLE if is_drawn else SIMPLE_ASCII, pad_edge=False, title=title)
    for row in rows:
        table.add_row(*map(printable, row))
    file = io.StringIO()
    # No terminal, whatever the environment says: these lines go into a text.
    console = Console(file=file, width=width, force_terminal=False, markup=False, emoji=False, highlight=False)
    console.print(table)
    return [line.rstrip() for line in file.getvalue().strip("\n").splitlines()]


def fact_lines(facts: Mapping[str, str], *, width: int | None = None) -> list[str]:
    """A line for each fact, its name first. With a `width`, long facts continue below themselves.

    A word that is longer than the width, such as a path, stays whole.
    """
    room = None if width is None else max(width, LEAST_WIDTH) - NAME_WIDTH - 1
    lines: list[str] = []
    for name, fact in facts.items():
        first, *others = _wrapped(printable(fact), room)
        lines.append(f"{name:<{NAME_WIDTH}} {first}")
        lines += [" " * (NAME_WIDTH + 1) + line for line in others]
    return lines


def _wrapped(text: str, room: int | None) -> list[str]:
    if room is None or len(text) <= room:
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
