"""What every place of objects promises, local or S3. Knows neither; `local` and `s3` keep these promises."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from albert_infer.errors import InfrastructureError, ObjectMissingError

# Requests wait on the store; each holds one unit's bytes at most.
REQUESTS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class ObjectPin:
    """One object at one moment; two equal pins of a name mean the same bytes.

    `name` is relative to its folder, with `/` between segments. `version` is the ETag without quotes on S3, and the
    time of modification in ns locally.
    """

    name: str
    size: int
    version: str


@dataclass(frozen=True)
class StoredObject:
    """One object and when it was written, by the clock of its place."""

    pin: ObjectPin
    modified: datetime

    @property
    def name(self) -> str:
        """Relative to its folder."""
        return self.pin.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.pin.size


class AccessError(InfrastructureError):
    """The place or the rights to it are missing: a person must act, trying again does not help."""


class DeadLinkError(ObjectMissingError):
    """The object is a local link that leads to nothing, or to itself: a person must act."""


class UnsupportedError(AccessError):
    """The place does not take such a request at all."""


class ArchivedError(InfrastructureError):
    """The object is there, but in an archive storage class that cannot be read until it is restored."""


class Folder(Protocol):
    """The objects below one URI. Small and picklable: it holds neither credentials nor connections.

    Names are joined to the URI as text, never interpreted. Methods raise `AccessError` where a right, the bucket or
    the file system stands in the way, `ArchivedError` where an object must be restored before it can be read or
    copied, and other `InfrastructureError`s after the storage library's own retries. Every method may be called from
    several threads.
    """

    @property
    def uri(self) -> str:
        """Where this is, normalised: `s3://bucket/prefix`, or a local path that is absolute and free of links."""
        ...

    @property
    def requests_at_once(self) -> int:
        """How many threads are worth their while for many small requests."""
        ...

    def uri_of(self, name: str) -> str:
        """Join the name to the URI: for messages, and for `source_file`."""
        ...

    def objects(self, prefix: str = "") -> list[ObjectPin]:
        """List every object whose name begins with `prefix`, at any depth, sorted by name; none for a missing folder.

        Nothing is filtered by name. Not objects: directories and their zero-byte S3 markers (`dir/`), devices, and
        local puts that are not finished. A local link to nothing is an object, and to open it raises
        `DeadLinkError`. Raises `InputError` for a local name that is not UTF-8.
        """
        ...

    def stored(self, prefix: str = "") -> list[StoredObject]:
        """List as `objects` does, with the time of modification, which no pin holds on S3.

        Skips local links to nothing: what a run left is judged object by object.
        """
        ...

    def stat(self, name: str) -> ObjectPin | None:
        """Pin the object as it is now; None where there is none."""
        ...

    def read(self, name: str) -> bytes:
        """Return all bytes of the object as it is now. Raises `ObjectMissingError`."""
        ...

    def pinned_read(self, name: str) -> tuple[ObjectPin, bytes]:
        """Return all bytes of the object as it is now, and the pin of exactly these bytes.

        Raises `ObjectMissingError` where nothing has the name, `IntegrityError` for what is there and is no object.
        """
        ...

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:
        """Open the pinned object as a seekable file; use `with`, for a local file is checked again when it closes.

        Raises `ObjectMissingError` or `ObjectChangedError`, here, from a read, or from the close, when the object is
        not the pinned one. On S3 each read is one ranged GET: give it to pyarrow with `pre_buffer=True`.
        """
        ...

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Create the object whole, or leave what is there; True says that this call created it.

        False can also follow a lost reply to our own PUT: read back and compare before calling it foreign.
        """
        ...

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:
        """Compare-and-swap: put `data` if the object is `expected` (None: if there is none).

        True says that the object holds `data`: put by this call, by an earlier one whose reply was lost, or by
        another writer of the same bytes. False says that it holds something else, or is gone.
        """
        ...

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:
        """Make `target` hold the pinned bytes, whole and at once, whatever was there; may be repeated.

        Returns the pin of the target. The bytes do not pass through this process on S3; locally they are shared by a
        hard link where the file system allows it. Raises `ObjectMissingError` when there is no source and
        `ObjectChangedError` when it is not the pinned one.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Remove the objects; those that are not there are fine."""
        ...

    def arrow(self) -> tuple[Any, str]:
        """The place as a `pyarrow.fs.FileSystem` and a path on it: for a library that keeps files of its own there.

        What such a library writes has none of the promises above.
        """
        ...

    def probe_write(self) -> None:
        """Raise `AccessError` unless objects can be created here; leaves nothing behind and needs no delete right."""
        ...


def holds(folder: Folder, name: str, data: bytes) -> bool:
    """Whether the object is there with exactly these bytes."""
    try:
        return folder.read(name) == data
    except ObjectMissingError:
        return False
