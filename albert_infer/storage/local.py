"""A folder on a POSIX file system: objects appear whole, under their final name, and survive a power failure.

Unfinished puts and the lock have names that begin with `UNFINISHED`; they are no objects. A killed process leaves such
a file behind. The file is harmless, and may be deleted while no run is active.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from albert_infer.common import failpoints
from albert_infer.common.durable import sync_folder
from albert_infer.errors import IntegrityError, ObjectChangedError, ObjectMissingError
from albert_infer.storage.folder import REQUESTS_AT_ONCE, ObjectPin, StoredObject, holds
from albert_infer.storage.listing import (
    LEADS_NOWHERE,
    StatusOf,
    pin_of,
    pins_below,
    status_if_any,
    status_of,
)
from albert_infer.storage.local_errors import reading, writing
from albert_infer.storage.probing import UNFINISHED, locked, probe_folder

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True)
class LocalFolder:
    """A `Folder` on this machine, or on a file system that every node mounts at the same path.

    Raises `IntegrityError` for a name outside the folder, because names may come from a damaged manifest.
    """

    uri: str

    @property
    def requests_at_once(self) -> int:  # noqa: D102 (the contracts are `Folder`'s)
        return REQUESTS_AT_ONCE

    def uri_of(self, name: str) -> str:  # noqa: D102
        return str(self._path(name))

    def objects(self, prefix: str = "") -> list[ObjectPin]:  # noqa: D102
        return self._pins(prefix, status_of)

    def stored(self, prefix: str = "") -> list[StoredObject]:  # noqa: D102
        pins = self._pins(prefix, status_if_any)
        return [StoredObject(pin, datetime.fromtimestamp(int(pin.version) / 1e9, UTC)) for pin in pins]

    def stat(self, name: str) -> ObjectPin | None:  # noqa: D102
        path = self._path(name)
        with reading(str(path)):
            try:
                status = path.stat()
            except OSError as error:
                if error.errno in LEADS_NOWHERE:
                    return None
                raise
        return pin_of(name, status) if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str) -> bytes:  # noqa: D102
        path = self._path(name)
        with reading(str(path)):
            return path.read_bytes()

    def pinned_read(self, name: str) -> tuple[ObjectPin, bytes]:  # noqa: D102
        path = self._path(name)
        with reading(str(path)):
            try:
                with path.open("rb") as file:
                    return pin_of(name, os.fstat(file.fileno())), file.read()
            except OSError as error:
                if error.errno in {errno.EISDIR, *LEADS_NOWHERE} and os.path.lexists(path):
                    problem = "a folder or a broken link has the name of a file"
                    raise IntegrityError(f"reading {path}", problem, "move it away") from error
                raise

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:  # noqa: D102
        path = self._path(pin.name)
        with reading(str(path)):
            return _PinnedFile(path, pin)

    def put_if_absent(self, name: str, data: bytes) -> bool:  # noqa: D102
        path = self._path(name)
        with writing(str(path)):
            _make_folder(path.parent)
            with _staged(path.parent, data) as staged:
                failpoints.reach("local_staged", name)
                created = _linked(staged, path)
            # Also if another writer was first: the object that the caller reads must survive a power failure.
            sync_folder(path.parent)
        return created

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:  # noqa: D102
        if expected is None:
            return self.put_if_absent(name, data) or holds(self, name, data)
        path = self._path(name)
        with writing(str(path)), _locked(path.parent):
            if self.stat(name) != expected:
                return holds(self, name, data)
            with _staged(path.parent, data) as staged:
                _make_later_than(staged, expected)
                staged.replace(path)
            sync_folder(path.parent)
        return True

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:  # noqa: D102
        origin, final = self._path(source.name), self._path(target)
        pin = self.stat(source.name)
        if pin is None:
            raise ObjectMissingError(f"copying {origin}", "it is not there", "start the run again")
        if pin != source:
            raise _changed(origin, source, pin)
        with writing(str(final)):
            _make_folder(final.parent)
            staged = _unfinished_path(final.parent)
            try:
                copied = _linked_or_copied(source, origin, staged, target)
                staged.replace(final)
            finally:
                # Also after success: a rename between two links of one file does nothing.
                staged.unlink(missing_ok=True)
            sync_folder(final.parent)
        return copied

    def delete(self, names: Iterable[str]) -> None:  # noqa: D102
        for path in map(self._path, names):
            with writing(str(path)), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()

    def arrow(self) -> tuple[Any, str]:  # noqa: D102
        from pyarrow.fs import LocalFileSystem  # imported here, because few runs need it

        return LocalFileSystem(), self.uri

    def probe_write(self) -> None:  # noqa: D102
        with writing(self.uri):
            probe_folder(Path(self.uri))

    def _pins(self, prefix: str, status_of_entry: StatusOf) -> list[ObjectPin]:
        start = prefix.rpartition("/")[0]
        folder = self._path(start) if start else Path(self.uri)
        with reading(self.uri):
            below = pins_below(folder, f"{start}/" if start else "", status_of_entry)
            return sorted((pin for pin in below if pin.name.startswith(prefix)), key=lambda pin: pin.name)

    def _path(self, name: str) -> Path:
        if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name:
            raise IntegrityError(
                f"the object {name!r} in {self.uri}", "not a name below that folder", "find out who wrote this name"
            )
        return Path(self.uri, name)


class _PinnedFile(io.FileIO):
    """A file that raises ObjectChangedError at its open or close if it is not the pinned one."""

    def __init__(self, path: Path, pin: ObjectPin) -> None:
        super().__init__(path)
        self._path = path
        self._pin = pin
        try:
            self._check()
        except ObjectChangedError:
            super().close()
            raise

    # A disk error is raised as an error of the store, so that a reader does not take it for a damaged file.
    def read(self, size: int | None = -1) -> bytes:
        with reading(str(self._path)):
            return super().read(-1 if size is None else size)

    def readall(self) -> bytes:
        with reading(str(self._path)):
            return super().readall()

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        with reading(str(self._path)):
            return super().readinto(buffer)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._check()
        finally:
            super().close()

    def _check(self) -> None:
        # The open file is checked, not the path: after a rename over the path, the open file has the pinned bytes.
        current = pin_of(self._pin.name, os.fstat(self.fileno()))
        if current != self._pin:
            raise _changed(self._path, self._pin, current)


def _changed(path: Path, pin: ObjectPin, current: ObjectPin) -> ObjectChangedError:
    return ObjectChangedError(
        f"reading {path} as planned ({pin.size} bytes, modified at {pin.version} ns)",
        f"it changed ({current.size} bytes, modified at {current.version} ns)",
        "stop the program that writes to it and start the run again",
    )


def _unfinished_path(folder: Path) -> Path:
    return folder / f"{UNFINISHED}{uuid4().hex}"


@contextmanager
def _staged(folder: Path, data: bytes) -> Iterator[Path]:
    """Write the bytes to a durable file with an unfinished name, and delete the file at the end."""
    path = _unfinished_path(folder)
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _linked(staged: Path, path: Path) -> bool:
    """Give the staged file its final name, unless the name exists: the one atomic step of a put."""
    try:
        path.hardlink_to(staged)
    except FileExistsError:
        return False
    return True


def _linked_or_copied(source: ObjectPin, origin: Path, staged: Path, target: str) -> ObjectPin:
    """Link or copy the pinned bytes of `origin` to `staged`; return their pin with the name `target`."""
    try:
        staged.hardlink_to(origin)
    except FileNotFoundError as error:
        raise ObjectMissingError(f"copying {origin}", "it is not there", "start the run again") from error
    except OSError:
        # The file belongs to another user (fs.protected_hardlinks), or a mount is in between.
        with _PinnedFile(origin, source) as file, staged.open("xb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return pin_of(target, staged.stat())
    # The link is checked, because the file may have been replaced since the first check.
    linked = pin_of(source.name, staged.stat())
    if linked != source:
        raise _changed(origin, source, linked)
    return replace(linked, name=target)


def _make_later_than(staged: Path, expected: ObjectPin) -> None:
    """Set a later time of modification: two puts within one tick of the kernel's clock must have different pins."""
    modified = max(staged.stat().st_mtime_ns, int(expected.version) + 1)
    os.utime(staged, ns=(modified, modified))


def _make_folder(folder: Path) -> None:
    """Make the folder and its missing parents; each is durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    _make_folder(folder)
    with locked(folder):
        yield
