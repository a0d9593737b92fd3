"""How far a job is: a moving line in a terminal, or a line of a log every 10 s."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from albert_infer.common import logs

# A terminal line may move; a line of a log stays, so there are few of them.
TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 10.0
NOTEBOOK_WIDTH: Final = 100


@dataclass(frozen=True)
class Progressed:
    """How far a job is: `done` of `total`, which is None before it is known.

    `text` is a line for a person, which a terminal shows before a bar; `fields` go with it into a log.
    """

    done: int
    total: int | None
    text: str
    fields: Mapping[str, object]


def terminal_width() -> int | None:
    """How many columns the terminal has that stdout is; None where stdout is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@contextmanager
def shown(event: str, look: Callable[[], Progressed]) -> Iterator[None]:
    """Show what `look` says while the block goes on; a log store knows its lines by the name of the `event`."""
    stop = threading.Event()
    if logs.for_a_terminal():
        console = Console(stderr=True)
    elif in_notebook():
        # As a terminal: what Rich makes for notebooks needs widgets, and shows nothing without them.
        console = Console(stderr=True, force_terminal=True, force_jupyter=False, width=NOTEBOOK_WIDTH)
    else:
        console = None
    show = partial(_in_log, event) if console is None else partial(_in_terminal, console)
    thread = threading.Thread(target=show, args=(look, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def in_notebook() -> bool:
    """Whether a cell of a notebook shows what is written to stderr: IPython's kernel replaces it."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


def _in_terminal(console: Console, look: Callable[[], Progressed], stop: threading.Event) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        first = look()
        task = bar.add_task(first.text, total=first.total, completed=first.done)
        stopped = False
        while not stopped:
            stopped = stop.wait(TERMINAL_SECONDS)
            now = look()
            bar.update(task, description=now.text, total=now.total, completed=now.done)


def _in_log(event: str, look: Callable[[], Progressed], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        now = look()
        logs.tell(event, now.text, dict(now.fields))
