"""How far a job is: a moving line in a terminal, or a line of a log every 10 s."""

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

# A terminal line may move; a line of a log stays, so there are few of them.
TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 10.0


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
    """Whether a cell of a notebook shows what is written to stderr: IPython's kernel replaces it."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


def _in_notebook(look: Callable[[], Progressed], stop: threading.Event) -> None:
    """One output of the cell, which is replaced: a saved notebook has the last line only."""
    # By its name, because IPython is there in a notebook only.
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
            now = look()
            bar.update(task, description=now.text, total=now.total, completed=now.done)


def _in_log(event: str, look: Callable[[], Progressed], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        now = look()
        logs.log(event, now.text, dict(now.fields))
