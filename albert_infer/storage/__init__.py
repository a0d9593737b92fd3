"""Local and S3 folders with one interface: opening, listing, pinned reads, and writes that cannot lose data.

No other module joins paths or calls a file system. `Folder` states the contract of every folder.
"""

from __future__ import annotations

from albert_infer.storage.access import DEFAULT_ACCESS, S3Access, refuse_unsafe_endpoint
from albert_infer.storage.folder import AccessError, ArchivedError, DeadLinkError, Folder, ObjectPin, StoredObject
from albert_infer.storage.opening import (
    InputObjects,
    check_conditional,
    check_writable,
    each,
    open_folder,
    overlaps,
    refused,
    resolve_input,
    subfolder,
)
from albert_infer.storage.retries import s3_retries
from albert_infer.storage.whole import put_whole, refuse_filled

__all__ = [
    "DEFAULT_ACCESS",
    "AccessError",
    "ArchivedError",
    "DeadLinkError",
    "Folder",
    "InputObjects",
    "ObjectPin",
    "S3Access",
    "StoredObject",
    "check_conditional",
    "check_writable",
    "each",
    "open_folder",
    "overlaps",
    "put_whole",
    "refuse_filled",
    "refuse_unsafe_endpoint",
    "refused",
    "resolve_input",
    "s3_retries",
    "subfolder",
]
