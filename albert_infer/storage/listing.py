"""Lists the objects below a local folder, through subfolders and links, and pins each of them."""

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
# The errors for a broken link, and for a link to itself.
LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def pins_below(
    folder: Path,
    name: str,
    status_of_entry: StatusOf,
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[ObjectPin]:
    """Pin all regular files below `folder`; a link to a folder `above` is not followed.

    If `status_of_entry` returns the status of a link itself, the link is pinned as a file.
    """
    try:
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if not entry.name.startswith(UNFINISHED)]
        folder_status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    inode = folder_status.st_dev, folder_status.st_ino
    if inode in above:
        return
    for entry in entries:
        below = f"{name}{_checked_utf8(entry)}"
        status = status_of_entry(entry)
        if status and stat.S_ISDIR(status.st_mode):
            yield from pins_below(Path(entry.path), f"{below}/", status_of_entry, above | {inode})
        elif status and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            yield pin_of(below, status)


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of the entry's target, or of the link itself if the target cannot be read; None if it was deleted.

    A broken link is not skipped, because its name may be that of an input file.
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
    """The status of the entry's target; None for a broken link."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in LEADS_NOWHERE:
            return None
        raise


def leads_nowhere(path: str | Path) -> bool:
    """Whether the path is a broken link, or a link to itself."""
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
            f"listing {entry.path!r}", "its name is not UTF-8", "rename it; the plan stores names as text"
        ) from error
    return entry.name


def pin_of(name: str, status: os.stat_result) -> ObjectPin:
    """The pin of a file with this status."""
    return ObjectPin(name, status.st_size, str(status.st_mtime_ns))
