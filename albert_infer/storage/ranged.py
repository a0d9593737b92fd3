"""Random access to one pinned object by ranges. A `fetch` function reads the ranges."""
# ruff: noqa: D102 - the methods are those of `io.RawIOBase`

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from albert_infer.storage.folder import ObjectPin

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangedFile(io.RawIOBase):
    """A pinned object as a file: each read calls `fetch(pin, start, stop)` once, for the bytes before `stop`."""

    def __init__(self, pin: ObjectPin, fetch: Callable[[ObjectPin, int, int], bytes]) -> None:
        self._pin = pin
        self._fetch = fetch
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._pin.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self._pin.size - self._position)
        wanted = rest if size is None or size < 0 else min(size, rest)
        data = self._fetch(self._pin, self._position, self._position + wanted)
        self._position += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
