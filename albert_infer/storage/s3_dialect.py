"""What servers that speak S3's protocol say in different ways, read in one way, and what some of them want more."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any, Final

from albert_infer.storage.folder import AccessError, ObjectPin

# A request is tried this often, with up to 1, 2, 4 and 8 s between (botocore draws them); then the run ends, and goes
# on when it is started again. Nothing above retries S3, or the tries would multiply.
ATTEMPTS: Final = 5


def listed_pin(name: str, entry: dict[str, Any]) -> ObjectPin:
    """The pin of an object as an entry of a listing has it."""
    return ObjectPin(name, entry["Size"], version_of(entry["ETag"], f"listing {name}"))


def version_of(etag: str | None, asked: str) -> str:
    """The ETag without quotes, and without the mark of a weak one, which a proxy may add to some answers.

    Raises AccessError where the server gives none.
    """
    if not etag:
        remedy = "check the endpoint, or use an S3 server whose objects have ETags (docs/stores.md)"
        raise AccessError(asked, "an answer that names no ETag", remedy)
    return etag.removeprefix("W/").strip('"')


def is_directory_marker(name: str, size: int) -> bool:
    """Whether an object stands for a folder only: some tools make such objects."""
    return size == 0 and (name.endswith("/") or not name)


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
