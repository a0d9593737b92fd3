"""What a local folder must be able to do, tried before a run begins, and the lock that its writers take in turn.

A file system that lacks one of these answers so every time: what is found here at the start would else be found at the
end of the night. Raises OSError as the file system answers, and AccessError where files of others are in the way.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from albert_infer.common.durable import sync_folder
from albert_infer.storage.folder import AccessError

UNFINISHED = ".albert-infer-"
LOCK = f"{UNFINISHED}lock"
# Bytes of a path that are enough for every name below an output.
ROOM_BELOW = 256


def probe_folder(folder: Path) -> None:
    """Try what a run does in the folder, which may not exist yet; leaves nothing behind."""
    # Making it here would leave something behind in a run that is refused.
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    _refuse_long_names(folder, nearest)
    try:
        made = tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=nearest)
    except FileNotFoundError as error:  # as /proc answers, where no name can be made
        raise AccessError(
            f"writing {folder}", f"no folder can be made in {nearest}", "choose another output"
        ) from error
    with made as probe:
        _try_each_step(Path(probe))
    sync_folder(nearest)
    if nearest == folder:
        _refuse_a_closed_lock(folder)
        _refuse_what_others_keep(folder)


def _refuse_long_names(folder: Path, nearest: Path) -> None:
    """Look at the names that the run would make: a file system says what is too long only when it makes it."""
    longest, longest_path = (os.pathconf(nearest, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    is_long = any(len(os.fsencode(part)) > longest for part in folder.parts)
    if is_long or len(os.fsencode(folder)) + ROOM_BELOW > longest_path:
        found = (
            f"a name may have {longest} bytes there, a path {longest_path}, {ROOM_BELOW} of them for the run's files"
        )
        raise AccessError(f"writing {folder}", found, "choose an output with a shorter name")


def _try_each_step(folder: Path) -> None:
    put, staged = folder / "put", folder / "staged"
    with staged.open("xb") as file:
        file.write(b"probe")
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    put.hardlink_to(staged)
    # Another file: renaming a file over another name of itself does nothing.
    swapped = folder / "swapped"
    swapped.touch()
    os.utime(swapped, ns=(1, 1))
    swapped.replace(put)
    sync_folder(folder)


def _refuse_a_closed_lock(folder: Path) -> None:
    try:
        os.close(_lock_descriptor(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        found = f"the lock file {LOCK} in it cannot be opened for writing: {error.strerror}"
        remedy = "let its owner give this user the right to write it, or remove it while no run is going on"
        raise AccessError(f"writing {folder}", found, remedy) from error


def _refuse_what_others_keep(folder: Path) -> None:
    """Look at what jobs make in an output: its names begin with an underscore, and every run writes there."""
    above = folder.stat()
    # In such a folder only the owners of a file and of the folder may replace it.
    is_kept = above.st_mode & stat.S_ISVTX and os.geteuid() not in {0, above.st_uid}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("_"):
                continue
            if entry.is_dir():
                closed = not os.access(entry.path, os.W_OK | os.X_OK, effective_ids=True)
                found = f"the folder {entry.name} in it belongs to another user, and this one cannot write there"
            else:
                closed = bool(is_kept) and entry.stat(follow_symlinks=False).st_uid != os.geteuid()
                found = (
                    f"{entry.name} belongs to another user, and the folder's sticky bit keeps it from being replaced"
                )
            if closed:
                remedy = "let its owner give this user the right, or choose another output"
                raise AccessError(f"writing {folder}", found, remedy)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel frees it when its holder dies; its file stays, for removing it would race."""
    try:
        descriptor = _lock_descriptor(folder)
    except FileNotFoundError:
        _make_lock(folder)
        descriptor = _lock_descriptor(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock_descriptor(folder: Path) -> int:
    # Without O_CREAT: with it, Linux refuses files of others in a shared folder, whatever their rights. For writing:
    # NFS locks nothing else.
    return os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)


def _make_lock(folder: Path) -> None:
    """Have a lock in the folder that whoever writes there may hold; under its name it has its rights at once."""
    staged = folder / f"{UNFINISHED}{uuid4().hex}"
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # A file system without rights has none to give.
            with suppress(OSError):
                _share(descriptor, folder.stat())
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            (folder / LOCK).hardlink_to(staged)
    finally:
        staged.unlink(missing_ok=True)


def _share(descriptor: int, folder: os.stat_result) -> None:
    """Give the folder's group, and all, the right to write that they have in the folder, whatever the umask."""
    shared = folder.st_mode & stat.S_IWOTH
    if folder.st_mode & stat.S_IWGRP:
        with suppress(PermissionError):
            os.fchown(descriptor, -1, folder.st_gid)
        # Not to another group, that of who makes the file.
        if os.fstat(descriptor).st_gid == folder.st_gid:
            shared |= stat.S_IWGRP
    readable = shared << 1
    os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | shared | readable)
