"""Handles the differences between S3 servers: their replies, and the extra headers that some of them need."""

from __future__ import annotations

import base64
import hashlib
import random
from datetime import datetime
from typing import Any, Final, NotRequired, TypedDict

from albert_infer.storage.folder import AccessError, ObjectPin

# The number of attempts for a request, with random waits up to 1, 2, 4 and 8 s in between. Then the run ends, and a new
# start resumes it. No other module retries S3 requests, because the attempts would multiply.
ATTEMPTS: Final = 5


class ListedObject(TypedDict):
    """An object in a page of ListObjectsV2; some servers leave the ETag out."""

    Key: str
    Size: int
    LastModified: datetime
    ETag: NotRequired[str]


class UndeletedKey(TypedDict):
    """A key that DeleteObjects did not delete, and why."""

    Key: str
    Code: str


class Copied(TypedDict, total=False):
    """The result of CopyObject."""

    ETag: str


class Reply(TypedDict, total=False):
    """The used keys of botocore's replies; each reply has some of them."""

    ETag: str
    ContentLength: int
    Contents: list[ListedObject]
    IsTruncated: bool
    NextContinuationToken: str
    CopyObjectResult: Copied
    Errors: list[UndeletedKey]


def listed_pin(name: str, entry: ListedObject) -> ObjectPin:
    """The pin of an object in a listing."""
    return ObjectPin(name, entry["Size"], version_of(entry.get("ETag"), f"listing {name}"))


def version_of(etag: str | None, asked: str) -> str:
    """The ETag without quotes, and without the mark of weak ETags, which a proxy may add.

    Raises AccessError if the reply has no ETag.
    """
    if not etag:
        remedy = "check the endpoint, or use an S3 server whose objects have ETags (docs/how-to/stores.md)"
        raise AccessError(asked, "an answer without an ETag", remedy)
    return etag.removeprefix("W/").strip('"')


def is_directory_marker(name: str, size: int) -> bool:
    """Whether an object only marks a folder: some tools make such objects."""
    return size == 0 and (name.endswith("/") or not name)


# `params` is botocore's request, which has no type.
def add_md5(params: dict[str, Any], **_: object) -> None:
    """Add the MD5 to a DeleteObjects request: many stores other than AWS require it."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def retry_conflict(attempts: int, response: tuple[Any, Any] | None, **_: object) -> float | None:
    """The delay in seconds before a retry after 409 (two conditional PUTs at once); None for botocore's own rules."""
    conflict = response is not None and response[0].status_code == 409
    return jittered(attempts - 1) if conflict and attempts < ATTEMPTS else None


def jittered(waits_before: int) -> float:
    """Random seconds to wait, so that two writers do not collide again."""
    return random.uniform(0, 2.0**waits_before)  # noqa: S311  (no secret)
