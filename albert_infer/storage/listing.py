"""The objects below a local folder, each pinned: a walk through folders and links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from albert_infer.errors import InputError
from albert_infer.storage.folder import ObjectPin
from albert_infer.storage.probing import UNFINISHED

StatusOf = Callable[[os.DirEntry[str]], os.stat_result | None]
# What a link is answered with that leads to nothing, or to itself.
LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def pins_below(
    folder: Path,
    name: str,
    status_of_entry: StatusOf,
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[ObjectPin]:
    """Pin all regular files below, through links; a link to a folder that we are in is not entered again.

    What `status_of_entry` says of a link itself is pinned as a file's status is.
    """
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
        elif status and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            yield pin_of(below, status)


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at what the entry leads to, or at the link itself if that cannot be seen; None if it was deleted meanwhile.

    A link to nothing is not passed over, for it may stand for data. Its name tells.
    """
    try:
        return entry.stat()
    except OSError as error:
        if entry.is_symlink() and (error.errno in LEADS_NOWHERE or isinstance(error, PermissionError)):
            return entry.stat(follow_symlinks=False)
        if isinstance(error, FileNotFoundError):
            return None
        raise


def status_if_any(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at what the entry leads to; None if it leads to nothing."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in LEADS_NOWHERE:
            return None
        raise


def leads_nowhere(path: str | Path) -> bool:
    """Whether this is a link to nothing, or to itself."""
    try:
        Path(path).stat()
    except OSError as error:
        return error.errno in LEADS_NOWHERE and Path(path).is_symlink()
    return False


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
