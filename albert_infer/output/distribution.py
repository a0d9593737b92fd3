"""How the labels of a published run are distributed: probabilities, lengths, and what each label got.

Reads few columns of a bounded sample of files, so that a run of a billion pairs costs no more than one of a million.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.printable import one_line
from albert_infer.errors import InputError
from albert_infer.output.manifest import Manifest, PublishedFile, Seal
from albert_infer.schema import LABEL, N_TOKENS, PROBABILITIES, NliLabel
from albert_infer.storage import Folder, each

# Edges of the bins. The largest of three probabilities is at least a third.
CONFIDENCE_EDGES: Final = tuple(round(0.30 + 0.05 * step, 2) for step in range(15))
TOKEN_EDGES: Final = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Enough rows that the share of a bin is known to half a percent.
MAX_ROWS: Final = 500_000
# Each file is two or three requests to S3.
MAX_FILES: Final = 64
REMEDY: Final = "verify the run with albert-infer verify"


@dataclass(frozen=True)
class Distribution:
    """Counts of `rows` labelled rows, out of `rows_of` in the run.

    Of each label `confidence[label][b]` rows have a probability from `CONFIDENCE_EDGES[b]` up to the next edge.
    `tokens[b]` rows have more than `TOKEN_EDGES[b]` tokens, up to the next edge; the last bin has no upper edge.
    """

    rows: int
    rows_of: int
    confidence: dict[str, tuple[int, ...]]
    tokens: tuple[int, ...]

    @property
    def is_sample(self) -> bool:
        """Whether some rows were not read."""
        return self.rows < self.rows_of

    @property
    def confidence_of_all(self) -> tuple[int, ...]:
        """The same, whatever the label."""
        return tuple(sum(rows) for rows in zip(*self.confidence.values(), strict=True))


def distribution_of(
    manifest: Manifest, output: Folder, *, max_rows: int = MAX_ROWS, max_files: int = MAX_FILES
) -> Distribution:
    """Count the labels of a published or sealed run, or of files drawn from it.

    The same files are drawn each time. Raises InputError for a file that cannot be read.
    """
    names = _drawn_names(manifest, max_rows=max_rows, max_files=max_files)
    total = sum(each(output, names, lambda name: _counted(name, output)), start=_Counts.none())
    return Distribution(
        rows=int(total.tokens.sum()),
        rows_of=manifest.labelled,
        confidence={str(label): _ints(total.confidence[code]) for code, label in enumerate(NliLabel)},
        tokens=_ints(total.tokens),
    )


def label_counts_by(
    manifest: Manifest, output: Folder, columns: Sequence[str], *, max_rows: int = MAX_ROWS, max_files: int = MAX_FILES
) -> dict[str, dict[tuple[str, str], int]]:
    """Of each carried column the rows by value, as text, and label, in the files that `distribution_of` draws.

    A column that the run has not carried is left out. Raises InputError for a file that cannot be read.
    """
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for name in _drawn_names(manifest, max_rows=max_rows, max_files=max_files):
        for rows in read_columns(name, output, (LABEL, *columns)):
            labels = rows[LABEL].to_pylist()
            for column in columns:
                if column in rows.schema.names:
                    values = map(str, rows[column].to_pylist())
                    counts.setdefault(column, Counter()).update(zip(values, labels, strict=True))
    return {column: dict(rows_of) for column, rows_of in counts.items()}


def _drawn_names(manifest: Manifest, *, max_rows: int, max_files: int) -> list[str]:
    """The names of the drawn files; of a sealed run, where their staged objects are."""
    staged = manifest.sources if isinstance(manifest, Seal) else {}
    drawn = drawn_files(manifest.files, max_rows=max_rows, max_files=max_files)
    return [staged[entry.path].name if entry.path in staged else entry.path for entry in drawn]


def drawn_files(files: Sequence[PublishedFile], *, max_rows: int, max_files: int) -> list[PublishedFile]:
    """All files where they are within the bounds, else some, drawn by a hash of their units; at least one."""
    drawn: list[PublishedFile] = []
    rows = 0
    for entry in sorted(files, key=lambda entry: hashlib.sha256(entry.unit_id.encode()).digest()):
        if drawn and (len(drawn) == max_files or rows + entry.rows > max_rows):
            break
        drawn.append(entry)
        rows += entry.rows
    return drawn


@dataclass(frozen=True)
class _Counts:
    """The rows of some files: by label and probability, and by length."""

    confidence: NDArray[np.int64]
    tokens: NDArray[np.int64]

    @classmethod
    def none(cls) -> _Counts:
        bins = len(CONFIDENCE_EDGES) - 1
        return cls(np.zeros((len(NliLabel), bins), np.int64), np.zeros(len(TOKEN_EDGES), np.int64))

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.confidence + other.confidence, self.tokens + other.tokens)


def _counted(name: str, output: Folder) -> _Counts:
    total = _Counts.none()
    labels, bins = total.confidence.shape
    for rows in read_columns(name, output, (*PROBABILITIES, N_TOKENS)):
        probabilities = np.stack([rows[column].to_numpy() for column in PROBABILITIES])
        binned = np.searchsorted(CONFIDENCE_EDGES, probabilities.max(axis=0), side="right") - 1
        cells = probabilities.argmax(axis=0) * bins + np.clip(binned, 0, bins - 1)
        lengths = np.searchsorted(TOKEN_EDGES, rows[N_TOKENS].to_numpy(), side="left") - 1
        total += _Counts(
            np.bincount(cells, minlength=labels * bins).reshape(labels, bins),
            np.bincount(np.clip(lengths, 0, len(TOKEN_EDGES) - 1), minlength=len(TOKEN_EDGES)),
        )
    return total


def _ints(counts: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(map(int, counts))


def read_columns(name: str, output: Folder, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The columns of one file of a run, batch by batch; columns that it does not have are left out.

    Raises InputError for a file that cannot be read.
    """
    asked = f"the labels in {output.uri_of(name)}"
    try:
        # Not by the version that the manifest has: in a copy of a run each file has another.
        pin = output.stat(name)
        if pin is None:
            raise InputError(asked, "the file is missing", REMEDY)
        with output.open_pinned(pin) as file:
            parquet = pq.ParquetFile(file, pre_buffer=True)
            there = [name for name in columns if name in parquet.schema_arrow.names]
            yield from parquet.iter_batches(65_536, columns=there, use_threads=False)
    except pa.ArrowException as error:
        raise InputError(asked, one_line(error), REMEDY) from error
