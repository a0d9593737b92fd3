"""What servers that speak S3's protocol say in different ways, read in one way, and what some of them want more."""

from __future__ import annotations

import base64
import hashlib
import random
from datetime import datetime
from typing import Any, Final, NotRequired, TypedDict

from albert_infer.storage.folder import AccessError, ObjectPin

# A request is tried this often, with up to 1, 2, 4 and 8 s between (botocore draws them); then the run ends, and goes
# on when it is started again. Nothing above retries S3, or the tries would multiply.
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
    """What CopyObject made."""

    ETag: str


class Reply(TypedDict, total=False):
    """What is read of the replies to our requests, as botocore has them; each has some of it."""

    ETag: str
    ContentLength: int
    Contents: list[ListedObject]
    IsTruncated: bool
    NextContinuationToken: str
    CopyObjectResult: Copied
    Errors: list[UndeletedKey]


def listed_pin(name: str, entry: ListedObject) -> ObjectPin:
    """The pin of an object as an entry of a listing has it."""
    return ObjectPin(name, entry["Size"], version_of(entry.get("ETag"), f"listing {name}"))


def version_of(etag: str | None, asked: str) -> str:
    """The ETag without quotes, and without the mark of a weak one, which a proxy may add to some answers.

    Raises AccessError where the server gives none.
    """
    if not etag:
        remedy = "check the endpoint, or use an S3 server whose objects have ETags (docs/how-to/stores.md)"
        raise AccessError(asked, "an answer that names no ETag", remedy)
    return etag.removeprefix("W/").strip('"')


def is_directory_marker(name: str, size: int) -> bool:
    """Whether an object stands for a folder only: some tools make such objects."""
    return size == 0 and (name.endswith("/") or not name)


# `params` is a request as botocore builds it, which has no type.
def add_md5(params: dict[str, Any], **_: object) -> None:
    """Send the MD5 of a DeleteObjects request too: many stores that are not AWS demand it."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def retry_conflict(attempts: int, response: tuple[Any, Any] | None, **_: object) -> float | None:
    """Delay botocore, in seconds, where two conditional PUTs met (409); None leaves it to botocore's own rules."""
    conflict = response is not None and response[0].status_code == 409
    return jittered(attempts - 1) if conflict and attempts < ATTEMPTS else None


def jittered(waits_before: int) -> float:
    """Seconds to wait, drawn at random so that writers who met once do not meet again."""
    return random.uniform(0, 2.0**waits_before)  # noqa: S311  (no secret)
