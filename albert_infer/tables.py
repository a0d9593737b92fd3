"""A table as the lines of a text: each value on its line and as it is, whatever it holds."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from albert_infer.printable import printable


def table_lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, width: int, title: str | None = None
) -> list[str]:
    """The lines of a table of at most `width` characters, without colours; `[red]` in a value is text."""
    table = Table(*(column.copy() for column in columns), box=SIMPLE, pad_edge=False, title=title)
    for row in rows:
        table.add_row(*map(printable, row))
    file = io.StringIO()
    # No terminal, whatever the environment says: these lines go into a text.
    console = Console(file=file, width=width, force_terminal=False, markup=False, emoji=False, highlight=False)
    console.print(table)
    return [line.rstrip() for line in file.getvalue().strip("\n").splitlines()]
