"""`read_labels`, the labels of one published run: as an Arrow table in this process, or as a Ray Dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from albert_infer import storage
from albert_infer.errors import SettingsError
from albert_infer.output import reading
from albert_infer.output.reading import PublishedRows, Table
from albert_infer.storage import S3Access

ENGINES: Final = ("arrow", "ray")


def read_labels(
    uri: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    rejected: bool = False,
    pairs: bool = False,
    engine: Literal["arrow", "ray"] = "arrow",
    checksums: bool = False,
    s3_endpoint: str | None = None,
) -> Any:
    """The rows of the run that is published at `uri`: of the files that its `_SUCCESS` names, and of no others.

    Returns a `pyarrow.Table` in the order of the input, or with `engine="ray"` a `ray.data.Dataset`, which has no
    order. `columns` names the columns to read. With `rejected` the rows are those without a label. With `pairs` they
    are the pairs of the rows, of a run that published pairs. With `checksums` the bytes of each file are compared with
    their sha256 in `_SUCCESS`.

    Raises InputError where nothing is published, for a column that the run does not have, and for pairs of a run
    without a table of pairs. Raises IntegrityError for
    a file that is missing or is not the one that was published, and ObjectChangedError where another run was published
    meanwhile. A Ray Dataset raises the errors of files when it is consumed, inside errors of Ray.
    """
    if engine not in ENGINES:
        raise SettingsError(f"engine={engine!r}", "it is no engine", f"give one of {', '.join(ENGINES)}")
    if rejected and pairs:
        raise SettingsError("rejected with pairs", "a rejected row has no pairs", "give one of them")
    of: Table = "rejected" if rejected else "pairs" if pairs else "labels"
    folder = storage.open_folder(os.fspath(uri), S3Access(s3_endpoint))
    rows = reading.published_rows(folder, of=of, columns=columns, checksums=checksums)
    if engine == "arrow":
        return rows.table(storage.each(folder, rows.files, rows.read))
    return published_dataset(rows)


def published_dataset(rows: PublishedRows) -> Any:
    """A `ray.data.Dataset` of the rows. Each file is read by a task when the Dataset is consumed."""
    # Imported here, because Ray Data takes a second to load and the other engine does not need it.
    import ray.data

    if not rows.files:
        return ray.data.from_arrow(rows.empty())
    positions = ray.data.from_items(list(range(len(rows.files))), override_num_blocks=len(rows.files))
    return positions.map_batches(_FileReader(rows), batch_size=1, batch_format="pyarrow")


@dataclass(frozen=True)
class _FileReader:
    """Reads the files of a run by their positions."""

    rows: PublishedRows

    def __call__(self, positions: pa.Table) -> pa.Table:
        """The rows of the files at these positions."""
        return self.rows.table([self.rows.read(self.rows.files[number]) for number in positions["item"].to_pylist()])
