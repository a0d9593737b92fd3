"""An input and an output on the local disk or on the S3 server, looked at past our code, and counted as readers count.

A reader of the folder takes every visible Parquet file; a reader of the manifest takes the files that `_SUCCESS` names.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from s3_server import S3Location


class LocalPlace:
    """Input below `in/`, output below `out/`, both in one folder."""

    endpoint = None
    flags: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.uri, self._out, self._in = str(folder), folder / "out", folder / "in"

    def deliver(self, name: str, data: bytes) -> None:
        """Put an input file."""
        self._in.mkdir(parents=True, exist_ok=True)
        (self._in / name).write_bytes(data)

    def put(self, name: str, data: bytes) -> None:
        """Put an object of the output."""
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Delete an object of the output."""
        (self._out / name).unlink()

    def read(self, name: str) -> bytes:
        """One object of the output. Raises FileNotFoundError."""
        return (self._out / name).read_bytes()

    def names(self) -> list[str]:
        """Every object of the output."""
        return sorted(str(path.relative_to(self._out)) for path in self._out.rglob("*") if path.is_file())

    def age(self, days: int) -> None:
        """Make every object of the output so many days older."""
        for name in self.names():
            status, seconds = (self._out / name).stat(), days * 86_400
            os.utime(self._out / name, (status.st_atime - seconds, status.st_mtime - seconds))


class S3Place:
    """The same on the S3 server; `through` is the endpoint that jobs are sent to, the server's own unless given."""

    def __init__(self, location: S3Location, through: str | None = None) -> None:
        self.uri, self.endpoint = location.uri, location.endpoint
        self.flags = ("--s3-endpoint", through or location.endpoint)
        self._location, self._client = location, location.client()

    def deliver(self, name: str, data: bytes) -> None:  # noqa: D102 (as above)
        self._client.put_object(**self._object(f"in/{name}"), Body=data)

    def put(self, name: str, data: bytes) -> None:  # noqa: D102
        self._client.put_object(**self._object(f"out/{name}"), Body=data)

    def remove(self, name: str) -> None:  # noqa: D102
        self._client.delete_object(**self._object(f"out/{name}"))

    def read(self, name: str) -> bytes:  # noqa: D102
        try:
            data: bytes = self._client.get_object(**self._object(f"out/{name}"))["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(name) from error
        return data

    def names(self) -> list[str]:  # noqa: D102
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=f"{self._location.prefix}/out/"
        )
        base = len(self._location.prefix) + len("/out/")
        return [entry["Key"][base:] for page in pages for entry in page.get("Contents", [])]

    def _object(self, below: str) -> dict[str, str]:
        return {"Bucket": self._location.bucket, "Key": f"{self._location.prefix}/{below}"}


Place = LocalPlace | S3Place


def deliver_pairs(place: Place, name: str, pairs: pa.Table, *, group_rows: int = 16) -> None:
    """Write pairs as an input file, as a producer would."""
    sink = io.BytesIO()
    pq.write_table(pairs, sink, row_group_size=group_rows, write_page_checksum=True, use_dictionary=False)
    place.deliver(name, sink.getvalue())


def manifest_at(place: Place) -> dict[str, Any]:
    """`_SUCCESS`. Raises FileNotFoundError if nothing is published."""
    manifest: dict[str, Any] = json.loads(place.read("_SUCCESS"))
    return manifest


def visible_names(place: Place) -> list[str]:
    """What a reader of the folder takes: names of which no segment begins with `_` or `.`."""
    return [name for name in place.names() if not any(part.startswith(("_", ".")) for part in name.split("/"))]


def ids_in_folder(place: Place) -> Counter[str]:
    """How often a reader of the folder sees each id; files that vanish while it reads are not counted."""
    found: Counter[str] = Counter()
    for name in visible_names(place):
        try:
            found.update(_ids(place.read(name)))
        except FileNotFoundError:
            continue
    return found


def ids_in_manifest(place: Place) -> Counter[str]:
    """How often a reader of the manifest sees each id, rejected rows left out. Raises FileNotFoundError."""
    found: Counter[str] = Counter()
    for entry in manifest_at(place)["files"]:
        found.update(_ids(place.read(entry["path"])))
    return found


def untrue_files(place: Place) -> list[str]:
    """The files that `_SUCCESS` names and that are not there, or have other bytes than its sha256 says."""
    manifest, untrue = manifest_at(place), []
    for entry in (*manifest["files"], *manifest["rejected_files"]):
        try:
            data = place.read(entry["path"])
        except FileNotFoundError:
            untrue.append(entry["path"])
            continue
        if (len(data), hashlib.sha256(data).hexdigest()) != (entry["bytes"], entry["sha256"]):
            untrue.append(entry["path"])
    return untrue


def other_bytes(data: bytes) -> bytes:
    """As many bytes, of which one in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _ids(data: bytes) -> list[str]:
    ids: list[str] = pq.read_table(io.BytesIO(data), columns=["pair_id"])["pair_id"].to_pylist()
    return ids
