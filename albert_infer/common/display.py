"""Shows the progress of a job: a moving line in a terminal or a notebook, or a log line every 10 s."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from albert_infer.common import logs

# A terminal line is replaced. Log lines stay, so there are few of them.
TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Progressed:
    """The progress of a job: `done` of `total`, which is None while unknown.

    `text` is a line for a person. A terminal shows a bar after it, and a log gets `fields` with it.
    """

    done: int
    total: int | None
    text: str
    fields: Mapping[str, object]


def terminal_width() -> int | None:
    """The number of columns of the terminal at stdout, or None if stdout is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@contextmanager
def shown(event: str, look: Callable[[], Progressed]) -> Iterator[None]:
    """Show the result of `look` again and again during the block. `event` is the event of the log lines."""
    stop = threading.Event()
    thread = threading.Thread(target=_way_to_show(event), args=(look, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _way_to_show(event: str) -> Callable[[Callable[[], Progressed], threading.Event], None]:
    if logs.for_a_terminal():
        return _in_terminal
    return _in_notebook if is_notebook() else partial(_in_log, event)


def is_notebook() -> bool:
    """Whether stderr goes to a cell of a notebook: IPython's kernel replaces `sys.stderr`."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


def _in_notebook(look: Callable[[], Progressed], stop: threading.Event) -> None:
    """Show one output of the cell, and replace its text. A saved notebook has the last line only."""
    # Imported by name, because IPython is installed for notebooks only.
    display = import_module("IPython.display").display
    shown = display({"text/plain": look().text}, raw=True, display_id=True)
    stopped = False
    while not stopped:
        stopped = stop.wait(TERMINAL_SECONDS)
        shown.update({"text/plain": look().text}, raw=True)


def _in_terminal(look: Callable[[], Progressed], stop: threading.Event) -> None:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None))
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        first = look()
        task = bar.add_task(first.text, total=first.total, completed=first.done)
        stopped = False
        while not stopped:
            stopped = stop.wait(TERMINAL_SECONDS)
            progressed = look()
            bar.update(task, description=progressed.text, total=progressed.total, completed=progressed.done)


def _in_log(event: str, look: Callable[[], Progressed], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        progressed = look()
        logs.log(event, progressed.text, dict(progressed.fields))
