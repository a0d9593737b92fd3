"""The contract of a folder of objects. `local` and `s3` implement it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from albert_infer.errors import InfrastructureError, ObjectMissingError

# Threads wait for the store; each holds at most one unit's bytes.
REQUESTS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class ObjectPin:
    """One object at one moment; equal pins of a name mean the same bytes.

    `name` is relative to its folder, with `/` between segments. `version` is the ETag without quotes on S3, and the
    time of modification in ns on a local disk.
    """

    name: str
    size: int
    version: str


@dataclass(frozen=True)
class StoredObject:
    """One object and its time of modification by the store's clock."""

    pin: ObjectPin
    modified: datetime

    @property
    def name(self) -> str:
        """The name relative to the folder."""
        return self.pin.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.pin.size


class AccessError(InfrastructureError):
    """The bucket, folder or a right is missing: a person must act, and a retry does not help."""


class DeadLinkError(ObjectMissingError):
    """The object is a broken local link, or a link to itself: a person must act."""


class UnsupportedError(AccessError):
    """The store does not support the request."""


class ArchivedError(InfrastructureError):
    """The object is in an archive storage class, and cannot be read until it is restored."""


class Folder(Protocol):
    """The objects below one URI. A folder is small and picklable; it holds neither credentials nor connections.

    Names are joined to the URI as text, and never interpreted. Methods raise `AccessError` for a missing right, a
    missing bucket or an unsuitable file system, `ArchivedError` for an object that must be restored first, and other
    `InfrastructureError`s after the storage library's own retries. All methods are thread-safe.
    """

    @property
    def uri(self) -> str:
        """The normalised URI: `s3://bucket/prefix`, or an absolute local path without links."""
        ...

    @property
    def requests_at_once(self) -> int:
        """The useful number of threads for many small requests."""
        ...

    def uri_of(self, name: str) -> str:
        """Join the name to the URI, for messages and for `source_file`."""
        ...

    def objects(self, prefix: str = "") -> list[ObjectPin]:
        """List every object whose name begins with `prefix`, at any depth, sorted by name; [] for a missing folder.

        Directories and their zero-byte S3 markers (`dir/`), devices and unfinished local puts are no objects. A broken
        local link is an object; opening it raises `DeadLinkError`. Raises `InputError` for a local name that is not
        UTF-8.
        """
        ...

    def stored(self, prefix: str = "") -> list[StoredObject]:
        """List as `objects` does, with the time of modification, which S3 pins lack. Skips broken local links."""
        ...

    def stat(self, name: str) -> ObjectPin | None:
        """Pin the current object; None if there is no object."""
        ...

    def read(self, name: str) -> bytes:
        """Return all bytes of the current object. Raises `ObjectMissingError`."""
        ...

    def pinned_read(self, name: str) -> tuple[ObjectPin, bytes]:
        """Return all bytes of the current object, and the pin of exactly these bytes.

        Raises `ObjectMissingError` if nothing has the name, `IntegrityError` if a folder or broken link has the name.
        """
        ...

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:
        """Open the pinned object as a seekable file; use `with`, because a local file is checked again at its close.

        The open, a read or the close raises `ObjectMissingError` or `ObjectChangedError` if the object is not the
        pinned one. On S3 each read is one ranged GET: give the file to pyarrow with `pre_buffer=True`.
        """
        ...

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Create the object whole, or leave an existing object; True if this call created the object.

        False is also possible after a lost reply to an own PUT: the caller must read the object and compare.
        """
        ...

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:
        """Compare-and-swap: put `data` if the object is `expected` (None: if there is no object).

        True if the object holds `data` afterwards: from this call, from an earlier call with a lost reply, or from
        another writer of the same bytes. False if the object has other bytes or is gone.
        """
        ...

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:
        """Replace `target` atomically with the pinned bytes; may be repeated. Returns the pin of the target.

        On S3 the server copies the bytes; on a local disk a hard link shares them if the file system allows that.
        Raises `ObjectMissingError` if the source is gone, and `ObjectChangedError` if it is not the pinned object.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete the objects; missing objects are no error."""
        ...

    def arrow(self) -> tuple[Any, str]:
        """The folder as a `pyarrow.fs.FileSystem` and a path on it, for libraries that write files of their own.

        The contract above does not hold for such files.
        """
        ...

    def probe_write(self) -> None:
        """Raise `AccessError` unless objects can be created here; leaves nothing behind, needs no right to delete."""
        ...


def holds(folder: Folder, name: str, data: bytes) -> bool:
    """Whether the object exists with exactly these bytes."""
    try:
        return folder.read(name) == data
    except ObjectMissingError:
        return False
