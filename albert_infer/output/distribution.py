"""How the labels of a published run are distributed: probabilities, lengths, and what each label got.

Reads few columns of a bounded sample of files, so that a run of a billion pairs costs no more than one of a million.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.common.printable import one_line
from albert_infer.errors import InputError
from albert_infer.output.manifest import Manifest, PublishedFile, Seal
from albert_infer.schema import BEST, LABEL, N_PAIRS, N_TOKENS, SCORE, probability_columns
from albert_infer.storage import Folder, each

# Edges of the bins. The largest of three probabilities is at least a third, the larger of two at least a half.
CONFIDENCE_EDGES: Final = tuple(round(0.30 + 0.05 * step, 2) for step in range(15))
TOKEN_EDGES: Final = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# A score of a hypothesis is a share, and the score of a row is a difference of probabilities.
SCORE_EDGES: Final = tuple(round(0.05 * step, 2) for step in range(21))
SIGNED_EDGES: Final = tuple(round(-1 + 0.1 * step, 1) for step in range(21))
# All pairs of a row together.
ROW_TOKEN_EDGES: Final = (*TOKEN_EDGES, *(size << step for step in range(1, 16) for size in (384, 512)))
# The hypotheses with series of their own; the other hypotheses are one series.
MAX_SERIES: Final = 20
OTHER: Final = "(other)"
# Enough rows that the share of a bin is known to half a percent.
MAX_ROWS: Final = 500_000
# Each file is two or three requests to S3.
MAX_FILES: Final = 64
REMEDY: Final = "verify the run with albert-infer verify"


@dataclass(frozen=True)
class Axes:
    """What a distribution counts, where the rows of the run become several pairs and have one result each.

    `result` is the column whose values name the series: `label`, `best`, or `score` for a rule that gives a score
    alone. `values` and `tokens` are the edges of the bins.
    """

    result: str
    values: tuple[float, ...]
    tokens: tuple[int, ...]


ORDINARY: Final = Axes(LABEL, CONFIDENCE_EDGES, TOKEN_EDGES)


@dataclass(frozen=True)
class Distribution:
    """Counts of `rows` labelled rows, out of `rows_of` in the run.

    Of each label `confidence[label][b]` rows have a probability from `CONFIDENCE_EDGES[b]` up to the next edge.
    `tokens[b]` rows have more than `TOKEN_EDGES[b]` tokens, up to the next edge; the last bin has no upper edge.
    Where the run publishes one result for several pairs, `axes` says what is counted and has other edges. Where the
    run publishes pairs, pairs are counted as rows.
    """

    rows: int
    rows_of: int
    confidence: dict[str, tuple[int, ...]]
    tokens: tuple[int, ...]
    # None in a run that publishes pairs.
    axes: Axes | None = None

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
    """Count the results of a published or sealed run, or of files drawn from it.

    The same files are drawn each time. Raises InputError for a file that cannot be read.
    """
    names = _drawn_names(manifest, max_rows=max_rows, max_files=max_files)
    axes = _axes(manifest, names, output)
    series = _series(manifest, axes)
    columns = probability_columns(manifest.label_set) if axes.result == LABEL else (axes.result, SCORE)
    counting = _Counting(axes, series, columns)
    total = sum(each(output, names, lambda name: _counted(name, output, counting)), start=counting.nothing)
    return Distribution(
        rows=int(total.tokens.sum()),
        rows_of=sum(file.rows for file in manifest.files),
        confidence={name: _ints(rows) for name, rows in zip(series, total.confidence, strict=True)},
        tokens=_ints(total.tokens),
        axes=None if axes is ORDINARY else axes,
    )


def _axes(manifest: Manifest, names: Sequence[str], output: Folder) -> Axes:
    """What is counted in the files, by the columns of the first: all files of a run have the same columns."""
    if not (manifest.pairs and names):
        return ORDINARY
    with _opened(names[0], output) as parquet:
        columns = parquet.schema_arrow.names
    if BEST in columns:
        return Axes(BEST, SCORE_EDGES, ROW_TOKEN_EDGES)
    if LABEL not in columns:
        return Axes(SCORE, SIGNED_EDGES, ROW_TOKEN_EDGES)
    return Axes(LABEL, CONFIDENCE_EDGES, ROW_TOKEN_EDGES) if N_PAIRS in columns else ORDINARY


def _series(manifest: Manifest, axes: Axes) -> tuple[str, ...]:
    """The names of the series: the labels, the most frequent hypotheses of the run and the others, or the score."""
    if axes.result == SCORE:
        return (SCORE,)
    if axes.result == LABEL:
        return tuple(map(str, manifest.label_set))
    frequent = Counter(manifest.labels).most_common(MAX_SERIES)
    # A hypothesis may have the name of the others.
    return (*(name for name, _ in frequent if name != OTHER), OTHER)


def label_counts_by(
    manifest: Manifest, output: Folder, columns: Sequence[str], *, max_rows: int = MAX_ROWS, max_files: int = MAX_FILES
) -> dict[str, dict[tuple[str, str], int]]:
    """Of each carried column the rows by value, as text, and label, in the files that `distribution_of` draws.

    With a rule that ranks hypotheses, the label is the best hypothesis. With a rule that gives a score alone, there
    are no counts. A column that the run has not carried is left out. Raises InputError for a file that cannot be read.
    """
    counts: dict[str, Counter[tuple[str, str]]] = {}
    names = _drawn_names(manifest, max_rows=max_rows, max_files=max_files)
    result = _axes(manifest, names, output).result
    for name in names if result != SCORE else ():
        for rows in read_columns(name, output, (result, *columns)):
            labels = rows[result].to_pylist()
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
    """The rows of some files: by series and value, and by length."""

    confidence: NDArray[np.int64]
    tokens: NDArray[np.int64]

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.confidence + other.confidence, self.tokens + other.tokens)


@dataclass(frozen=True)
class _Counting:
    """What is counted of each file: the axes, the names of the series, and the columns of the results."""

    axes: Axes
    series: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def nothing(self) -> _Counts:
        bins = len(self.axes.values) - 1
        return _Counts(np.zeros((len(self.series), bins), np.int64), np.zeros(len(self.axes.tokens), np.int64))

    def results(self, rows: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The index of the series of each row, and its value: a probability, or a score."""
        if self.axes.result == LABEL:
            probabilities = np.stack([rows[column].to_numpy() for column in self.columns])
            return probabilities.argmax(axis=0), probabilities.max(axis=0)
        scores = rows[SCORE].to_numpy()
        if self.axes.result == SCORE:
            return np.zeros(len(scores), np.int64), scores
        *named, _ = self.series
        codes = pc.index_in(rows[self.axes.result], pa.array(named, pa.string())).fill_null(len(named))
        return codes.to_numpy().astype(np.int64), scores


def _counted(name: str, output: Folder, counting: _Counting) -> _Counts:
    total, axes = counting.nothing, counting.axes
    count, bins = total.confidence.shape
    for rows in read_columns(name, output, dict.fromkeys((*counting.columns, N_TOKENS))):
        codes, values = counting.results(rows)
        binned = np.searchsorted(axes.values, values, side="right") - 1
        cells = codes * bins + np.clip(binned, 0, bins - 1)
        lengths = np.searchsorted(axes.tokens, rows[N_TOKENS].to_numpy(), side="left") - 1
        total += _Counts(
            np.bincount(cells, minlength=count * bins).reshape(count, bins),
            np.bincount(np.clip(lengths, 0, len(axes.tokens) - 1), minlength=len(axes.tokens)),
        )
    return total


def _ints(counts: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(map(int, counts))


def read_columns(name: str, output: Folder, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    """The columns of one file of a run, batch by batch; columns that it does not have are left out.

    Raises InputError for a file that cannot be read.
    """
    with _opened(name, output) as parquet:
        there = [name for name in columns if name in parquet.schema_arrow.names]
        yield from parquet.iter_batches(65_536, columns=there, use_threads=False)


@contextmanager
def _opened(name: str, output: Folder) -> Iterator[pq.ParquetFile]:
    asked = f"the labels in {output.uri_of(name)}"
    try:
        # Not by the version that the manifest has: in a copy of a run each file has another.
        pin = output.stat(name)
        if pin is None:
            raise InputError(asked, "the file is missing", REMEDY)
        with output.open_pinned(pin) as file:
            yield pq.ParquetFile(file, pre_buffer=True)
    except pa.ArrowException as error:
        raise InputError(asked, one_line(error), REMEDY) from error
