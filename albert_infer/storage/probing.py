"""Checks before a run that a local folder supports all operations of a run, and the lock of its writers.

Without these checks, an unsuitable file system would fail only at the end of the night. The functions raise the file
system's OSError, and AccessError if files of other users prevent writes.
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
# Enough bytes of a path for every name below an output.
ROOM_BELOW = 256


def probe_folder(folder: Path) -> None:
    """Try the operations of a run in the folder, which need not exist; leaves nothing behind."""
    # The folder itself is not made, because a refused run must leave nothing behind.
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    _refuse_long_names(folder, nearest)
    try:
        made = tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=nearest)
    except FileNotFoundError as error:  # the answer of /proc, where no folder can be made
        raise AccessError(
            f"writing {folder}", f"no folder can be made in {nearest}", "choose another output"
        ) from error
    with made as probe:
        _try_each_step(Path(probe))
    sync_folder(nearest)
    if nearest == folder:
        _refuse_a_closed_lock(folder)
        _refuse_objects_of_others(folder)


def _refuse_long_names(folder: Path, nearest: Path) -> None:
    """Raise AccessError if the run's names would be too long for the file system."""
    longest, longest_path = (os.pathconf(nearest, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    is_long = any(len(os.fsencode(part)) > longest for part in folder.parts)
    if is_long or len(os.fsencode(folder)) + ROOM_BELOW > longest_path:
        problem = (
            f"a name may have {longest} bytes there, a path {longest_path}, {ROOM_BELOW} of them for the run's files"
        )
        raise AccessError(f"writing {folder}", problem, "choose an output with a shorter name")


def _try_each_step(folder: Path) -> None:
    put, staged = folder / "put", folder / "staged"
    with staged.open("xb") as file:
        file.write(b"probe")
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    put.hardlink_to(staged)
    # A separate file: a rename between two links of one file does nothing.
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
        problem = f"the lock file {LOCK} in it cannot be opened for writing: {error.strerror}"
        remedy = "let its owner give this user the right to write it, or remove it while no run is active"
        raise AccessError(f"writing {folder}", problem, remedy) from error


def _refuse_objects_of_others(folder: Path) -> None:
    """Raise AccessError if a run cannot write to a folder or file of an earlier run: names that begin with `_`."""
    parent = folder.stat()
    # With the sticky bit, only the owners of a file and of the folder may replace the file.
    is_sticky = parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, parent.st_uid}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("_"):
                continue
            if entry.is_dir():
                closed = not os.access(entry.path, os.W_OK | os.X_OK, effective_ids=True)
                problem = f"the folder {entry.name} in it belongs to another user, and this one cannot write there"
            else:
                closed = bool(is_sticky) and entry.stat(follow_symlinks=False).st_uid != os.geteuid()
                problem = f"{entry.name} belongs to another user, and the folder's sticky bit forbids to replace it"
            if closed:
                remedy = "let its owner give this user the right, or choose another output"
                raise AccessError(f"writing {folder}", problem, remedy)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when its holder dies. The file stays: its removal would race."""
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
    # Without O_CREAT, because Linux then refuses files of other users in a shared folder. For writing, because NFS
    # locks only such files.
    return os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)


def _make_lock(folder: Path) -> None:
    """Create the lock file with rights for all writers of the folder. The rights are set before it gets its name."""
    staged = folder / f"{UNFINISHED}{uuid4().hex}"
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # A file system without rights raises OSError here.
            with suppress(OSError):
                _share(descriptor, folder.stat())
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            (folder / LOCK).hardlink_to(staged)
    finally:
        staged.unlink(missing_ok=True)


def _share(descriptor: int, folder: os.stat_result) -> None:
    """Give the group and all users the same right to write as in the folder; the umask does not matter."""
    shared = folder.st_mode & stat.S_IWOTH
    if folder.st_mode & stat.S_IWGRP:
        with suppress(PermissionError):
            os.fchown(descriptor, -1, folder.st_gid)
        # Not if the file has another group, that of its creator.
        if os.fstat(descriptor).st_gid == folder.st_gid:
            shared |= stat.S_IWGRP
    readable = shared << 1
    os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | shared | readable)
