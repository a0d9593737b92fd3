"""The objects below a local folder, each pinned: a walk through folders and links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from albert_infer.errors import InputError
from albert_infer.storage.folder import ObjectPin
from albert_infer.storage.probing import UNFINISHED

StatusOf = Callable[[os.DirEntry[str]], os.stat_result | None]


def pins_below(
    folder: Path,
    name: str,
    status_of_entry: StatusOf,
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[ObjectPin]:
    """Pin all regular files below, through links; a link to a folder that we are in is not entered again."""
    try:
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if not entry.name.startswith(UNFINISHED)]
        here = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if (here.st_dev, here.st_ino) in above:
        return
    for entry in entries:
        below = f"{name}{_checked_utf8(entry)}"
        status = status_of_entry(entry)
        if status and stat.S_ISDIR(status.st_mode):
            yield from pins_below(Path(entry.path), f"{below}/", status_of_entry, above | {(here.st_dev, here.st_ino)})
        elif status and stat.S_ISREG(status.st_mode):
            yield pin_of(below, status)


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at what the entry leads to; None if it was deleted since the scan.

    Raises `ObjectMissingError` for a link to nothing: data that somebody meant to be here is not.
    """
    try:
        return entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            raise
        return None


def status_if_any(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at what the entry leads to; None if it leads to nothing."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None


def _checked_utf8(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"listing {entry.path!r}", "its name is not UTF-8", "rename it; names are kept in the plan as text"
        ) from error
    return entry.name


def pin_of(name: str, status: os.stat_result) -> ObjectPin:
    """The pin of a file with this status."""
    return ObjectPin(name, status.st_size, str(status.st_mtime_ns))
