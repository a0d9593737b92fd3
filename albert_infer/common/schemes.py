"""Accepts the locations that the package can read and write: local paths, `file://` and `s3://`. Refuses others."""

from __future__ import annotations

import re
from typing import Final

# One slash is enough: `s3:/bucket` is a mistake, and must not create a folder named `s3:`.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_COPY: Final = "copy the files to a local path or to an S3 store (docs/how-to/stores.md)"
_REMEDIES: Final = {
    "s3": "write s3://bucket/prefix",
    "s3a": "write s3://bucket/prefix",
    "s3n": "write s3://bucket/prefix",
    "file": "write file:///absolute/path",
    "gs": "Google Cloud Storage has an S3 interface: see docs/how-to/stores.md, or copy the files to a local path",
    "gcs": "Google Cloud Storage has an S3 interface: see docs/how-to/stores.md, or copy the files to a local path",
    "http": "download the files, and give the local path",
    "https": "download the files, and give the local path",
}


class SchemeError(ValueError):
    """A URI with another scheme. The message has only the scheme, because the rest may have a signature."""

    def __init__(self, scheme: str, slashes: str) -> None:
        self.asked = f"{scheme}:{slashes}…"
        self.problem = "only local paths and s3:// are read"
        self.remedy = _REMEDIES.get(scheme.lower(), _COPY)
        super().__init__(f"{self.asked}: {self.problem}; {self.remedy}")


def scheme_of(uri: str) -> str:
    """`s3`, `file`, or an empty string for a path. Raises SchemeError for anything else."""
    match = _SCHEME.match(uri)
    scheme = match[1] if match else ""
    if scheme and (scheme not in {"s3", "file"} or not uri.startswith(f"{scheme}://")):
        raise SchemeError(scheme, "//" if uri.startswith(f"{scheme}://") else "/")
    return scheme


def checked_scheme(location: str) -> str:
    """Return the location without change. Raises SchemeError like `scheme_of`."""
    scheme_of(location)
    return location
