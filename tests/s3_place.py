"""The input, model and output of one job on the S3 test server, and how they stand, seen past the job's rights."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from s3_server import S3Location


@dataclass(frozen=True)
class Place:
    """Pairs are below `in/pairs/`, a checkpoint may be below `in/model/`, and the output is `out/`."""

    location: S3Location

    def argv(self, *more: object) -> tuple[object, ...]:
        """The job's input and output; all else is the test's."""
        return ("--input", f"{self.location.uri}/in/pairs/", "--output", f"{self.location.uri}/out", *more)

    def upload(self, path: Path, below: str = "in/pairs") -> None:
        """Put a file under its own name, or all files of a folder."""
        for file in path.iterdir() if path.is_dir() else [path]:
            key = f"{self.location.prefix}/{below}/{file.name}"
            self.location.client().put_object(Bucket=self.location.bucket, Key=key, Body=file.read_bytes())

    def read(self, name: str) -> bytes:
        """One object of the output."""
        reply = self.location.client().get_object(Bucket=self.location.bucket, Key=f"{self.location.prefix}/out/{name}")
        return bytes(reply["Body"].read())

    def names(self, prefix: str = "") -> set[str]:
        """The objects of the output whose names begin so."""
        out = f"{self.location.prefix}/out/"
        page = self.location.client().list_objects_v2(Bucket=self.location.bucket, Prefix=out + prefix)
        return {entry["Key"].removeprefix(out) for entry in page.get("Contents", [])}

    def manifest(self) -> dict[str, Any]:
        """`_SUCCESS`."""
        manifest: dict[str, Any] = json.loads(self.read("_SUCCESS"))
        return manifest

    def leftovers(self) -> int:
        """Those that the published run's report tells of."""
        return int(json.loads(self.read(f"_runs/{self.manifest()['plan_id']}/report.json"))["leftovers"])

    def published_ids(self) -> list[str]:
        """What a reader of the manifest gets, sorted."""
        parts = [pq.read_table(io.BytesIO(self.read(entry["path"]))) for entry in self.manifest()["files"]]
        return sorted(pa.concat_tables(parts)["pair_id"].to_pylist())
