"""Formats tables and named facts as lines of text. No value can start a new line or change the format."""

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

# The line below the heading, and the mark of a truncated value.
DRAWN: Final = "─…"
SIMPLE_ASCII: Final = Box(str(SIMPLE).replace("─", "-"), ascii=True)
# The width of the column with the names of facts.
NAME_WIDTH: Final = 12
# Narrower terminals wrap the lines themselves.
LEAST_WIDTH: Final = 40


def table_lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    width: int,
    title: str | None = None,
    encoding: str | None = None,
) -> list[str]:
    """The lines of a table of at most `width` characters, without colours. `[red]` in a value is text.

    The lines and marks of the table are ASCII if `encoding` (default: that of stdout) does not have them.
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
    # Never a terminal, for any environment: these lines become part of a text.
    console = Console(file=file, width=width, force_terminal=False, markup=False, emoji=False, highlight=False)
    console.print(table)
    return [line.rstrip() for line in file.getvalue().strip("\n").splitlines()]


def fact_lines(facts: Mapping[str, str], *, width: int | None = None) -> list[str]:
    """A line for each fact, starting with its name. With a `width`, long facts wrap with an indent.

    A word that is longer than the width, such as a path, is not cut.
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
