"""A folder on S3 or on a server with its protocol.

`s3_client` connects, and s3fs's `call_s3` sends one S3 operation unchanged. The file methods of s3fs are not used: they
strip slashes, parse `?versionId=` in keys, and write large objects in parts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from s3fs import S3FileSystem

from albert_infer.errors import InfrastructureError, ObjectChangedError, ObjectMissingError
from albert_infer.storage.access import S3Access
from albert_infer.storage.folder import REQUESTS_AT_ONCE, AccessError, ObjectPin, StoredObject, UnsupportedError, holds
from albert_infer.storage.ranged import RangedFile
from albert_infer.storage.retries import RETRIES
from albert_infer.storage.s3_client import connected
from albert_infer.storage.s3_dialect import (
    ListedObject,
    Reply,
    is_directory_marker,
    jittered,
    listed_pin,
    version_of,
)
from albert_infer.storage.s3_errors import NO_ANSWER, reply_error, translated

# botocore retries only until the header of a reply; an incomplete body is fetched again here.
BODY_ATTEMPTS: Final = 3
# The most keys of one DeleteObjects request.
DELETE_KEYS: Final = 1000
# No object has this ETag. A PUT that depends on it needs the right to write, and writes nothing.
IMPOSSIBLE_ETAG: Final = f'"{"0" * 32}"'


@dataclass(frozen=True)
class S3Folder:
    """A `Folder` on S3. Each process finds credentials by botocore's chain; a pickled folder has none.

    One PUT creates an object, never multipart, with a SHA-256 that the server checks.
    """

    uri: str
    access: S3Access

    def __reduce__(self) -> tuple[object, tuple[str, S3Access]]:
        # Every task of a worker unpickles its folder; they share one object and its connections.
        return _shared_folder, (self.uri, self.access)

    @property
    def requests_at_once(self) -> int:  # noqa: D102 (the contracts are `Folder`'s)
        return REQUESTS_AT_ONCE

    def uri_of(self, name: str) -> str:  # noqa: D102
        return f"{self.uri}/{name}"

    def objects(self, prefix: str = "") -> list[ObjectPin]:  # noqa: D102
        return [listed_pin(name, entry) for name, entry in self._entries(prefix)]

    def stored(self, prefix: str = "") -> list[StoredObject]:  # noqa: D102
        return [StoredObject(listed_pin(name, entry), entry["LastModified"]) for name, entry in self._entries(prefix)]

    def stat(self, name: str) -> ObjectPin | None:  # noqa: D102
        try:
            head = self._call("head_object", name)
        except ObjectMissingError:
            return None
        except AccessError:
            # If the right to list is limited to a prefix, S3 answers 403 instead of 404 for a missing object. A listing
            # shows which of the two is the case.
            if self._is_listed(name):
                raise
            return None
        return ObjectPin(name, head["ContentLength"], version_of(head.get("ETag"), f"looking for {self.uri_of(name)}"))

    def read(self, name: str) -> bytes:  # noqa: D102
        return self._body(name)[1]

    def pinned_read(self, name: str) -> tuple[ObjectPin, bytes]:  # noqa: D102
        try:
            etag, data = self._body(name)
        except AccessError as error:
            if self._is_listed(name):
                raise
            raise ObjectMissingError(error.asked, "it is not there", "put it back, then start the run again") from error
        return ObjectPin(name, len(data), etag), data

    def open_pinned(self, pin: ObjectPin) -> io.RawIOBase:  # noqa: D102
        current = self.stat(pin.name)
        asked = f"reading {self.uri_of(pin.name)} as planned ({pin.size} bytes, ETag {pin.version})"
        if current is None:
            raise ObjectMissingError(asked, "it is gone", "put it back, then start the run again")
        if current != pin:
            problem = f"it changed ({current.size} bytes, ETag {current.version})"
            raise ObjectChangedError(asked, problem, "start the run again to plan it again")
        return RangedFile(pin, self.byte_range)

    def put_if_absent(self, name: str, data: bytes) -> bool:  # noqa: D102
        return self._put_if(name, data, IfNoneMatch="*")

    def replace(self, name: str, data: bytes, expected: ObjectPin | None) -> bool:  # noqa: D102
        condition = {"IfMatch": f'"{expected.version}"'} if expected else {"IfNoneMatch": "*"}
        return self._put_if(name, data, **condition) or holds(self, name, data)

    def copy(self, source: ObjectPin, target: str) -> ObjectPin:  # noqa: D102
        origin = {"Bucket": self._bucket, "Key": self._key(source.name)}
        reply = self._call("copy_object", target, CopySource=origin, CopySourceIfMatch=f'"{source.version}"')
        etag = reply.get("CopyObjectResult", {}).get("ETag")
        return ObjectPin(target, source.size, version_of(etag, f"copying to {self.uri_of(target)}"))

    def delete(self, names: Iterable[str]) -> None:  # noqa: D102
        names = list(names)
        for first in range(0, len(names), DELETE_KEYS):
            batch = names[first : first + DELETE_KEYS]
            try:
                self._delete_together(batch)
            except UnsupportedError:
                # Some stores lack DeleteObjects; all have DeleteObject.
                self._delete_one_by_one(batch)

    def arrow(self) -> tuple[Any, str]:  # noqa: D102
        from pyarrow.fs import FSSpecHandler, PyFileSystem  # imported here, because few runs need it

        s3 = S3FileSystem(endpoint_url=self.access.endpoint, s3_additional_kwargs=self.access.parameters)
        return PyFileSystem(FSSpecHandler(s3)), self.uri.removeprefix("s3://")

    def probe_write(self) -> None:  # noqa: D102
        self._send("list_objects_v2", self.uri, Prefix=self._key(""), MaxKeys=1)
        self.stat("_probe")
        if self._put_if("_probe", b"", IfMatch=IMPOSSIBLE_ETAG):
            raise AccessError(
                f"a conditional PUT to {self.uri_of('_probe')}",
                "this S3 server ignores the condition",
                "use one that obeys If-None-Match and If-Match, or two runs could overwrite each other",
            )

    def byte_range(self, pin: ObjectPin, start: int, stop: int) -> bytes:
        """Fetch the bytes from `start` to before `stop`. Raises ObjectChangedError if the object has changed."""
        if start >= stop:
            return b""
        _, data = self._body(pin.name, Range=f"bytes={start}-{stop - 1}", IfMatch=f'"{pin.version}"')
        if len(data) != stop - start:
            asked, problem = f"reading {self.uri_of(pin.name)}", f"{len(data)} bytes for a range of {stop - start}"
            raise InfrastructureError(asked, problem, "use an S3 server that supports ranged reads")
        return data

    @cached_property
    def _s3(self) -> S3FileSystem:
        return connected(self.uri, self.access)

    def _delete_together(self, names: Sequence[str]) -> None:
        keys = [{"Key": self._key(name)} for name in names]
        reply = self._send("delete_objects", self.uri, Delete={"Objects": keys, "Quiet": True})
        for error in reply.get("Errors", []):
            # The status is that of the whole request; a key has only a code.
            status = {"NoSuchKey": 404, "AccessDenied": 403}.get(error["Code"], 500)
            if status != 404:
                raise reply_error("delete_objects", f"s3://{self._bucket}/{error['Key']}", status, error["Code"])

    def _delete_one_by_one(self, names: Sequence[str]) -> None:
        def delete(name: str) -> None:
            with suppress(ObjectMissingError):
                self._call("delete_object", name)

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            list(threads.map(delete, names))

    @property
    def _bucket(self) -> str:
        return self.uri.removeprefix("s3://").partition("/")[0]

    def _key(self, name: str) -> str:
        return self.uri_of(name).removeprefix("s3://").partition("/")[2]

    def _call(self, operation: str, name: str, **parameters: object) -> Reply:
        return self._send(operation, self.uri_of(name), Key=self._key(name), **parameters)

    def _send(self, operation: str, uri: str, **parameters: object) -> Reply:
        with translated(operation, uri):
            reply: Reply = self._s3.call_s3(operation, Bucket=self._bucket, **parameters)
        return reply

    def _entries(self, prefix: str) -> list[tuple[str, ListedObject]]:
        """The entries of a listing with their names, sorted by name."""
        base = len(self._key(""))
        entries = [entry for page in self._pages(prefix) for entry in page.get("Contents", [])]
        named = ((entry["Key"][base:], entry) for entry in entries)
        objects = [(name, entry) for name, entry in named if not is_directory_marker(name, entry["Size"])]
        return sorted(self._with_etags(objects), key=lambda pair: pair[0])

    def _with_etags(self, listed: list[tuple[str, ListedObject]]) -> list[tuple[str, ListedObject]]:
        """Add ETags to a listing that lacks them, by one HEAD request for each object."""
        if all(entry.get("ETag") for _, entry in listed):
            return listed

        def with_etag(named: tuple[str, ListedObject]) -> tuple[str, ListedObject] | None:
            pin = self.stat(named[0])
            return None if pin is None else (pin.name, {**named[1], "Size": pin.size, "ETag": pin.version})

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            return [entry for entry in threads.map(with_etag, listed) if entry]

    def _pages(self, prefix: str) -> Iterator[Reply]:
        more: dict[str, str] = {}
        while True:
            page = self._send("list_objects_v2", self.uri_of(prefix), Prefix=self._key(prefix), **more)
            keys = [entry["Key"] for entry in page.get("Contents", [])]
            if keys and "StartAfter" in more and min(keys) <= more["StartAfter"]:
                raise self._endless_listing(prefix)
            yield page
            if not page.get("IsTruncated"):
                return
            if token := page.get("NextContinuationToken"):
                more = {"ContinuationToken": token}
            elif keys:
                more = {"StartAfter": keys[-1]}
            else:
                raise self._endless_listing(prefix)

    def _endless_listing(self, prefix: str) -> AccessError:
        problem = "a page that says there is more, without the position of the next page"
        remedy = "use an S3 server that supports ListObjectsV2 (docs/how-to/stores.md)"
        return AccessError(f"listing {self.uri_of(prefix)}", problem, remedy)

    def _is_listed(self, name: str) -> bool:
        page = self._send("list_objects_v2", self.uri_of(name), Prefix=self._key(name), MaxKeys=1)
        return [entry["Key"] for entry in page.get("Contents", [])] == [self._key(name)]

    def _body(self, name: str, **parameters: str) -> tuple[str, bytes]:
        """The ETag of an object and its bytes, from one reply."""
        with translated("get_object", self.uri_of(name)):
            fetched: tuple[str, bytes] = sync(self._s3.loop, self._fetched, name, parameters)
        return fetched

    async def _fetched(self, name: str, parameters: dict[str, str], attempts: int = BODY_ATTEMPTS) -> tuple[str, bytes]:
        # Runs in s3fs's event loop. `_call_s3` is the awaitable version of `call_s3`.
        reply = await self._s3._call_s3("get_object", Bucket=self._bucket, Key=self._key(name), **parameters)
        try:
            # For a whole object, the SDK compares the bytes with the SHA-256 of the PUT.
            async with reply["Body"] as stream:
                data = bytes(await stream.read())
            if "ETag" in reply:
                return version_of(reply["ETag"], f"reading {self.uri_of(name)}"), data
            # Every object has an ETag. Some servers send an error with status 200, and botocore accepts that for a GET.
            raise ResponseParserError("no ETag")
        except NO_ANSWER:
            if attempts == 1:
                raise
        await asyncio.sleep(jittered(BODY_ATTEMPTS - attempts))
        RETRIES.note_body()
        return await self._fetched(name, parameters, attempts - 1)

    def _put_if(self, name: str, data: bytes, **condition: str) -> bool:
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            self._call("put_object", name, Body=data, ChecksumSHA256=digest, **condition)
        except (ObjectChangedError, ObjectMissingError):
            return False
        return True


@cache
def _shared_folder(uri: str, access: S3Access) -> S3Folder:
    return S3Folder(uri, access)
