"""How far a job is: a moving line in a terminal, or a line of a log every 10 s."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from albert_infer.common import logs

# A terminal line may move; a line of a log stays, so there are few of them.
TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Progressed:
    """How far a job is: `done` of `total`, which is None before it is known.

    `note` follows the counts in a terminal. `text` and `fields` are a line of the log.
    """

    done: int
    total: int | None
    note: str
    text: str
    fields: Mapping[str, object]


@contextmanager
def shown(verb: str, things: str, look: Callable[[], Progressed]) -> Iterator[None]:
    """Show what `look` says while the block goes on; the line begins with `verb` and counts `things`."""
    stop = threading.Event()
    show = _in_terminal if logs.for_a_terminal() else _in_log
    thread = threading.Thread(target=show, args=(verb, things, look, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _in_terminal(verb: str, things: str, look: Callable[[], Progressed], stop: threading.Event) -> None:
    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{things} · {{task.fields[note]}} ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        first = look()
        task = bar.add_task(verb, total=first.total, completed=first.done, note=first.note)
        stopped = False
        while not stopped:
            stopped = stop.wait(TERMINAL_SECONDS)
            now = look()
            bar.update(task, total=now.total, completed=now.done, note=now.note)


def _in_log(verb: str, _things: str, look: Callable[[], Progressed], stop: threading.Event) -> None:
    while not stop.wait(LOG_SECONDS):
        now = look()
        logs.tell(verb, now.text, dict(now.fields))
