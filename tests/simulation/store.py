"""Where simulated objects are kept: contents, clock and history, and the single steps that change them.

One effect is one atomic step of an S3 server or of a file system. Who asks for it, and when it takes effect, is not
known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

NS_PER_SECOND: Final = 10**9
NS_PER_DAY: Final = 86_400 * NS_PER_SECOND
# Simulated time of one effect: a round trip to S3.
NS_PER_EFFECT: Final = NS_PER_SECOND // 100
# 4 ms, a kernel's coarse clock, in units of effects on a disk, which take 1 ms there.
NS_PER_TICK: Final = 4_000_000
BEGINNING_NS: Final = 1_800_000_000 * NS_PER_SECOND


@dataclass(frozen=True, slots=True, eq=False)
class StoredFile:
    """One object, or one inode that several names may share: compared by identity."""

    data: bytes
    version: str
    modified_ns: int

    @property
    def modified(self) -> datetime:
        """When it was written, by the store's clock."""
        return datetime.fromtimestamp(self.modified_ns / NS_PER_SECOND, UTC)


Contents = dict[str, StoredFile]
# Told after each change: name, what was there before, what is there now.
Watcher = Callable[[str, "StoredFile | None", "StoredFile | None"], None]


def _unwatched(name: str, before: StoredFile | None, after: StoredFile | None) -> None:
    """Nobody looks."""


@dataclass
class Store:
    """All objects below one output.

    `is_disk` chooses between the rules of S3 and of a local disk. With `fresh_etags` two puts of the same bytes have
    two ETags, as with SSE-KMS.
    """

    is_disk: bool = False
    fresh_etags: bool = False
    contents: Contents = field(default_factory=dict)
    clock_ns: int = BEGINNING_NS
    watcher: Watcher = _unwatched
    # Whose effect is taking place; for the table and the oracle.
    actor: str = ""
    # The holder of the lock of each folder of a disk.
    locks: dict[str, object] = field(default_factory=dict)
    changes: list[tuple[str, StoredFile | None]] = field(default_factory=list)
    # What was written into a file of a disk that is still open or linked somewhere.
    overwritten: dict[StoredFile, StoredFile] = field(default_factory=dict)
    # Random numbers that were drawn: each is the next one, so that a schedule is the same each time.
    ids: int = 0

    def now(self) -> datetime:
        """The store's clock."""
        return datetime.fromtimestamp(self.clock_ns / NS_PER_SECOND, UTC)

    def new_id(self) -> str:
        """Eight hexadecimal digits that nobody else has."""
        self.ids += 1
        return f"{self.ids:08x}"

    def tick(self) -> None:
        """Let the time of one effect pass."""
        self.clock_ns += NS_PER_EFFECT // 10 if self.is_disk else NS_PER_EFFECT

    def put(self, name: str, data: bytes, later_than_ns: int = -1) -> StoredFile:
        """Write the object whole, whatever is there. On a disk it is a new inode."""
        file = self.new_file(data, later_than_ns)
        self.link(name, file)
        return file

    def new_file(self, data: bytes, later_than_ns: int = -1) -> StoredFile:
        """An object that has no name yet."""
        if self.is_disk:
            modified_ns = max(self.clock_ns // NS_PER_TICK * NS_PER_TICK, later_than_ns + 1)
            return StoredFile(data, str(modified_ns), modified_ns)
        etag = _etag(data)
        version = f"{etag}-{len(self.changes)}-{self.clock_ns}" if self.fresh_etags else etag
        return StoredFile(data, version, self.clock_ns)

    def overwrite(self, name: str, data: bytes) -> None:
        """Write into the file that has the name: on a disk all of its names have the other bytes then."""
        before = self.contents[name]
        if not self.is_disk:
            self.put(name, data)
            return
        self.overwritten[before] = self.new_file(data, before.modified_ns)
        for same in self.names_of(before):
            self.link(same, before)

    def names_of(self, file: StoredFile) -> list[str]:
        """Every name that the file has."""
        return [name for name, there in self.contents.items() if there is file]

    def link(self, name: str, file: StoredFile) -> None:
        """Give the file the name, whatever had it."""
        before, file = self.contents.get(name), self.overwritten.get(file, file)
        self.contents[name] = file
        self.changes.append((name, before))
        self.watcher(name, before, file)

    def remove(self, name: str) -> None:
        """Take the name away, if it is there."""
        before = self.contents.pop(name, None)
        if before is not None:
            self.changes.append((name, before))
            self.watcher(name, before, None)

    def release_locks(self, holder: object) -> None:
        """Free what a process held that has died, as the kernel does."""
        for folder in [folder for folder, its in self.locks.items() if its is holder]:
            del self.locks[folder]

    def seen(self, stale_effects: int = 0) -> Contents:
        """The contents as a listing sees them that is behind by up to so many changes, another number each time."""
        behind = self.clock_ns // NS_PER_EFFECT % (stale_effects + 1)
        if not behind:
            return self.contents
        past = dict(self.contents)
        for name, before in reversed(self.changes[-behind:]):
            if before is None:
                past.pop(name, None)
            else:
                past[name] = before
        return past

    def copied(self) -> Store:
        """A store of its own with the same objects and the same time; unwatched, and without locks."""
        return Store(self.is_disk, self.fresh_etags, dict(self.contents), self.clock_ns, ids=self.ids)


@lru_cache(maxsize=4096)
def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4096)
def sha256(data: bytes) -> str:
    """The digest that manifests keep; remembered, because most objects are the same few."""
    return hashlib.sha256(data).hexdigest()
