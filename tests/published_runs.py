"""A published run for the tests to damage, and the ways to damage it, with or without telling `_SUCCESS` of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Manifest = dict[str, Any]


@dataclass(frozen=True)
class PublishedRun:
    """The folders of a published run; the input may be shared with other copies."""

    source: Path
    output: Path

    def copied(self, folder: Path) -> PublishedRun:
        """Copy both folders; times of modification are kept, because the plan pins them."""
        for name, original in (("in", self.source), ("out", self.output)):
            shutil.copytree(original, folder / name)
        return PublishedRun(folder / "in", folder / "out")

    @property
    def manifest(self) -> Manifest:
        """`_SUCCESS`."""
        manifest: Manifest = json.loads((self.output / "_SUCCESS").read_text())
        return manifest

    @property
    def parts(self) -> list[Path]:
        """The files of labels, in the order of the input."""
        return [self.output / entry["path"] for entry in self.manifest["files"]]

    @property
    def rejected(self) -> list[Path]:
        """The files of rejected rows, in the order of the input."""
        return [self.output / entry["path"] for entry in self.manifest["rejected_files"]]

    @property
    def plan_path(self) -> Path:
        """`plan.json`."""
        return self.output / f"_runs/{self.manifest['plan_id']}/plan.json"

    def tell(self, change: Callable[[Manifest], object]) -> None:
        """Change `_SUCCESS`."""
        _change_json(self.output / "_SUCCESS", change)

    def plan(self, change: Callable[[Manifest], object]) -> None:
        """Change the plan."""
        _change_json(self.plan_path, change)

    def believe_files(self) -> None:
        """Make `_SUCCESS` true of the files that it names, as a job would that does not notice what is wrong."""
        self.tell(lambda manifest: _believe(manifest, self.output))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a Parquet file again with other rows or columns; what its footer says of itself stays."""
    pq.write_table(change(pq.read_table(path)), path, write_page_checksum=True)


def take(*rows: int) -> Callable[[pa.Table], pa.Table]:
    """The rows at these places instead of all."""
    return lambda table: table.take(pa.array(rows, pa.int64()))


def put(column: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    """Another value in one cell."""
    return put_column(column, lambda values: [*values[:row], value, *values[row + 1 :]])


def put_column(column: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    """Other values in one column."""

    def changed(table: pa.Table) -> pa.Table:
        place, kind = table.column_names.index(column), table.schema.field(column).type
        return table.set_column(place, column, pa.array(change(table[column].to_pylist()), kind))

    return changed


def swap_first_rows(one: Path, other: Path) -> None:
    """Exchange the first rows of two files."""
    first, second = pq.read_table(one), pq.read_table(other)
    for path, own, foreign in ((one, first, second), (other, second, first)):
        rows = pa.concat_tables([foreign.slice(0, 1), own.slice(1)])
        pq.write_table(rows.replace_schema_metadata(own.schema.metadata), path, write_page_checksum=True)


def rotated(values: list[Any]) -> list[Any]:
    """Each value one row further down."""
    return [*values[-1:], *values[:-1]]


def _change_json(path: Path, change: Callable[[Manifest], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _believe(manifest: Manifest, output: Path) -> None:
    rejected: dict[str, Counter[str]] = {}
    for entry in manifest["rejected_files"]:
        table = _describe(entry, output)
        rejected[entry["unit_id"]] = Counter(table["rejection"].to_pylist())
    for entry in manifest["files"]:
        table, reasons = _describe(entry, output), rejected.get(entry["unit_id"], Counter())
        entry["summary"] |= {
            "labelled": table.num_rows,
            "rejected": dict(reasons),
            "labels": dict(Counter(map(str, table["label"].to_pylist()))),
            "tokens": pc.sum(table["n_tokens"]).as_py() or 0,
            "truncated": pc.sum(table["truncated"]).as_py() or 0,
            "needs_review": _sum(table, "needs_review"),
        }
    summaries = [entry["summary"] for entry in manifest["files"]]
    for name in ("labelled", "tokens", "truncated", "needs_review"):
        manifest[name] = sum(summary[name] for summary in summaries)
    for name in ("labels", "rejected"):
        manifest[name] = dict(sum((Counter(summary[name]) for summary in summaries), Counter()))
    quarantined = manifest["quarantined"]["rows_known"]
    manifest["rows_in"] = manifest["labelled"] + sum(manifest["rejected"].values()) + quarantined


def _sum(table: pa.Table, name: str) -> int:
    """The rows where a column that not every run has is true."""
    return pc.sum(table[name]).as_py() or 0 if name in table.column_names else 0


def _describe(entry: Manifest, output: Path) -> pa.Table:
    data = (output / entry["path"]).read_bytes()
    table = pq.read_table(pa.BufferReader(data))
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": table.num_rows}
    return table
