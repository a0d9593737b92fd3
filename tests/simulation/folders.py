"""The project's `Folder` over a simulated store: each method asks for what `S3Folder` or `LocalFolder` asks for.

The order and number of requests are those of `albert_infer.storage.s3` and `albert_infer.storage.local`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from albert_infer.errors import ObjectChangedError, ObjectMissingError
from albert_infer.storage import AccessError, Folder, ObjectPin, StoredObject
from simulation.requests import Asker, Request
from simulation.store import Store, StoredFile

URI: Final = "sim://output"


@dataclass(frozen=True)
class Rights:
    """How an asker sees the store: names on a page of a listing, how stale it may be, and the right to delete."""

    page_names: int = 1000
    stale_effects: int = 0
    may_delete: bool = True


def folder_on(store: Store, asker: Asker, rights: Rights) -> Folder:
    """The folder of that store, as the asker sees it."""
    return DiskFolder(store, asker, rights) if store.is_disk else S3Folder(store, asker, rights)


@dataclass(frozen=True)
class SimulatedFolder:
    """What both kinds share."""

    store: Store
    asker: Asker
    rights: Rights

    # In this thread: a greenlet cannot be left from another one.
    requests_at_once = 1

    @property
    def uri(self) -> str:  # noqa: D102 (the contracts are `Folder`'s)
        return URI

    def uri_of(self, name: str) -> str:  # noqa: D102
        return f"{URI}/{name}"

    def objects(self, prefix: str = "") -> list[ObjectPin]:  # noqa: D102
        return [_pin(name, file) for name, file in self._listed(prefix)]

    def stored(self, prefix: str = "") -> list[StoredObject]:  # noqa: D102
        return [StoredObject(_pin(name, file), file.modified) for name, file in self._listed(prefix)]

    def stat(self, name: str) -> ObjectPin | None:  # noqa: D102
        file = self._ask("stat", name, lambda: self.store.contents.get(name))
        return _pin(name, file) if file else None

    def read(self, name: str) -> bytes:  # noqa: D102
        data: bytes = self._ask("read", name, lambda: self._file(name).data)
        return data

    def pinned_read(self, name: str) -> tuple[ObjectPin, bytes]:  # noqa: D102
        file: StoredFile = self._ask("read", name, lambda: self._file(name))
        return _pin(name, file), file.data

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:
        """Not simulated: only inputs are read this way."""
        raise NotImplementedError

    def arrow(self) -> tuple[Any, str]:
        """Not simulated: only training keeps files of another library."""
        raise NotImplementedError

    def probe_write(self) -> None:  # noqa: D102
        return

    def _ask(self, kind: str, name: str, *parts: Any) -> Any:
        return self.asker.ask(Request(kind, name, parts))

    def _file(self, name: str) -> StoredFile:
        file = self.store.contents.get(name)
        if file is None:
            raise ObjectMissingError(f"reading {self.uri_of(name)}", "it is not there", "start the run again")
        return file

    def _listed(self, prefix: str) -> list[tuple[str, StoredFile]]:
        raise NotImplementedError

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name) == data
        except ObjectMissingError:
            return False

    def _delete_allowed(self, name: str) -> None:
        if not self.rights.may_delete:
            raise AccessError(f"deleting {self.uri_of(name)}", "AccessDenied", "grant s3:DeleteObject")


class S3Folder(SimulatedFolder):
    """Conditions are checked by the server, atomically; a listing comes page by page."""

    def put_if_absent(self, name: str, data: bytes) -> bool:  # noqa: D102
        return self._put_if(name, data, None)

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:  # noqa: D102
        return self._put_if(name, data, expected) or self._holds(name, data)

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:  # noqa: D102
        def copy() -> StoredFile:
            file = self._file(source.name)
            if file.version != source.version:
                raise _changed(source)
            return self.store.put(target, file.data)

        copied: StoredFile = self._ask("copy", target, copy)
        return _pin(target, copied)

    def delete(self, names: Iterable[str]) -> None:  # noqa: D102
        doomed = list(names)
        if doomed:
            self._delete_allowed(doomed[0])
            self._ask("delete", " ".join(doomed), *(partial(self.store.remove, name) for name in doomed))

    def _put_if(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:
        def put() -> bool:
            there = self.store.contents.get(name)
            if (there.version if there else None) != (expected.version if expected else None):
                return False
            self.store.put(name, data)
            return True

        created: bool = self._ask("put", name, put)
        return created

    def _listed(self, prefix: str) -> list[tuple[str, StoredFile]]:
        found: list[tuple[str, StoredFile]] = []
        after = ""
        while True:
            page: list[tuple[str, StoredFile]] = self._ask(
                "list", f"{prefix} {after}".strip(), partial(self._page, prefix, after)
            )
            found += page[: self.rights.page_names]
            if len(page) <= self.rights.page_names:
                return found
            after = found[-1][0]

    def _page(self, prefix: str, after: str) -> list[tuple[str, StoredFile]]:
        """One page, and one object more if there are more."""
        seen = self.store.seen(self.rights.stale_effects)
        names = sorted(name for name in seen if name > after and name.startswith(prefix))
        return [(name, seen[name]) for name in names[: self.rights.page_names + 1]]


class DiskFolder(SimulatedFolder):
    """Links and renames are atomic; a compare-and-swap holds a lock; a listing goes directory by directory."""

    def put_if_absent(self, name: str, data: bytes) -> bool:  # noqa: D102
        file = self.store.new_file(data)

        def link() -> bool:
            if name in self.store.contents:
                return False
            self.store.link(name, file)
            return True

        created: bool = self._ask("link", name, link)
        return created

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:  # noqa: D102
        if expected is None:
            return self.put_if_absent(name, data) or self._holds(name, data)
        with self._locked(name):
            if self.stat(name) != expected:
                return self._holds(name, data)
            self._ask("rename", name, lambda: self.store.put(name, data, int(expected.version)))
        return True

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:  # noqa: D102
        found = self.stat(source.name)
        if found is None:
            raise ObjectMissingError(f"copying {source.name}", "it is not there", "start the run again")
        if found != source:
            raise _changed(source)
        file: StoredFile = self._ask("hard link", source.name, lambda: self._file(source.name))
        if _pin(source.name, file) != source:
            raise _changed(source)
        self._ask("rename", target, lambda: self.store.link(target, file))
        return _pin(target, file)

    def delete(self, names: Iterable[str]) -> None:  # noqa: D102
        for name in names:
            self._delete_allowed(name)
            self._ask("unlink", name, partial(self.store.remove, name))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        folder, locks = name.rpartition("/")[0], self.store.locks

        def is_free() -> bool:
            return locks.get(folder) is None

        def take() -> None:
            locks[folder] = self.asker

        self.asker.ask(Request("lock", name, (take,), is_free=is_free))
        try:
            yield
        finally:
            locks.pop(folder, None)

    def _listed(self, prefix: str) -> list[tuple[str, StoredFile]]:
        start = prefix.rpartition("/")[0]
        found = self._below(f"{start}/" if start else "")
        return sorted((name, file) for name, file in found if name.startswith(prefix))

    def _below(self, folder: str) -> list[tuple[str, StoredFile]]:
        entries: list[tuple[str, StoredFile | None]] = self._ask("scan", folder or "./", partial(self._scan, folder))
        found = []
        for name, file in entries:
            found += [(name, file)] if file else self._below(name)
        return found

    def _scan(self, folder: str) -> list[tuple[str, StoredFile | None]]:
        """The files and, without a file, the folders directly below."""
        found: dict[str, StoredFile | None] = {}
        for name, file in self.store.contents.items():
            if name.startswith(folder):
                below, slash, _ = name[len(folder) :].partition("/")
                found[f"{folder}{below}{slash}"] = None if slash else file
        return sorted(found.items(), key=lambda entry: entry[0])


def _changed(pin: ObjectPin) -> ObjectChangedError:
    return ObjectChangedError(f"copying {pin.name}", "it is another object by now", "start the run again")


def _pin(name: str, file: StoredFile) -> ObjectPin:
    return ObjectPin(name, len(file.data), file.version)
