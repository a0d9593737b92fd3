"""The rules for every row of a published file, checked batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.schema import (
    HYPOTHESIS,
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PREMISE,
    REJECTION,
    SOURCE_FILE,
    SOURCE_ROW,
    TRUNCATED,
    Rejection,
)
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.findings import Finding

# The largest difference between 1 and the sum of a row's probabilities.
SUM_TOLERANCE: Final = 1e-3


class RowFaults:
    """Collects the rows of one file that break rules; each broken rule is one finding."""

    def __init__(self, where: str) -> None:
        self._where = where
        # For each rule, the number of rows that break it and the first such row.
        self._broken: dict[str, tuple[int, int]] = {}

    def note(self, rule: str, broken: Any, first_row: int) -> None:
        """Add the rows where `broken` is True; its first element belongs to row `first_row` of the file."""
        rows = np.flatnonzero(broken)
        if len(rows):
            count, first = self._broken.get(rule, (0, first_row + int(rows[0])))
            self._broken[rule] = count + len(rows), first

    def findings(self) -> list[Finding]:
        """One finding for each broken rule."""
        return [
            Finding(self._where, rule, f"{count:,} {'row that breaks' if count == 1 else 'rows that break'} it, first "
                    f"the file's row {first}")
            for rule, (count, first) in self._broken.items()
        ]  # fmt: skip


def note_nulls(faults: RowFaults, first: int, batch: pa.RecordBatch, added: Iterable[pa.Field]) -> None:
    """Note the rows without a text, or without a value in a column that labelling adds."""
    texts = [name for name in (PREMISE, HYPOTHESIS) if name in batch.schema.names]
    for name in (*texts, *(column.name for column in added)):
        faults.note(f"a {name} in every row", mask(pc.is_null(batch[name])), first)


def note_label_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, columns: OutputColumns) -> None:
    """Note the rows with a label that contradicts their probabilities."""
    chosen = pc.fill_null(pc.index_in(batch[LABEL], pa.array(columns.labels)), -1).to_numpy(zero_copy_only=False)
    faults.note(f"a label of {', '.join(columns.labels)}", chosen < 0, first)
    probabilities_RL = probabilities_of(batch, columns.probabilities).astype(np.float64)  # noqa: N806  (rows, labels)
    finite = np.isfinite(probabilities_RL).all(axis=1)
    faults.note("finite probabilities", ~finite, first)
    in_range = ((probabilities_RL >= 0) & (probabilities_RL <= 1 + SUM_TOLERANCE)).all(axis=1)
    sums = np.abs(probabilities_RL.sum(axis=1) - 1) <= SUM_TOLERANCE
    faults.note("probabilities from 0 to 1 that sum to 1", finite & ~(in_range & sums), first)
    faults.note(
        "the label of the largest probability",
        finite & (chosen >= 0) & (probabilities_RL.argmax(axis=1) != chosen),
        first,
    )


def note_token_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, max_tokens: int) -> None:
    """Note the rows with no tokens, or with more than `max_tokens`, and truncated pairs that are not full."""
    tokens = integers(batch[N_TOKENS])
    truncated = mask(pc.fill_null(batch[TRUNCATED], False))
    faults.note(f"{N_TOKENS} of {max_tokens} in a truncated pair", truncated & (tokens != max_tokens), first)
    faults.note(f"{N_TOKENS} from 1 to {max_tokens}", (tokens < 1) | (tokens > max_tokens), first)


def note_window_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, max_tokens: int) -> None:
    """Note the rows without a window, with windows that are not full, or with windows and truncated."""
    tokens, windows = integers(batch[N_TOKENS]), integers(batch[N_WINDOWS])
    faults.note(f"{N_WINDOWS} of 1 or more", windows < 1, first)
    unlike = np.where(windows > 1, tokens != windows * max_tokens, (tokens < 1) | (tokens > max_tokens))
    faults.note(f"{N_TOKENS} from 1 to {max_tokens}, or {max_tokens} for each of several windows", unlike, first)
    faults.note("no truncated pair in a run with windows", mask(pc.fill_null(batch[TRUNCATED], False)), first)


def note_review_faults(
    faults: RowFaults, first: int, batch: pa.RecordBatch, review_below: float, probabilities: Sequence[str]
) -> None:
    """Note the rows whose `needs_review` contradicts their probabilities, compared in float32 as stored."""
    expected = probabilities_of(batch, probabilities).max(axis=1) < np.float32(review_below)
    actual = mask(pc.fill_null(batch[NEEDS_REVIEW], False))
    faults.note(f"{NEEDS_REVIEW} where no probability is {review_below} or more", actual != expected, first)


def note_source_faults(faults: RowFaults, first: int, batch: pa.RecordBatch, source_uri: str) -> None:
    """Note the rows with a source file other than the unit's."""
    foreign = pc.fill_null(pc.not_equal(batch[SOURCE_FILE], source_uri), True)
    faults.note(f"{SOURCE_FILE} {source_uri}", mask(foreign), first)


def note_rejection_faults(faults: RowFaults, first: int, batch: pa.RecordBatch) -> None:
    """Note the rejected rows with a reason outside the closed list."""
    reasons = pa.array([str(reason) for reason in Rejection])
    faults.note("a rejection of the closed list", mask(pc.invert(pc.is_in(batch[REJECTION], reasons))), first)


def note_disorder(faults: RowFaults, source_rows: NDArray[np.int64]) -> None:
    """Note the rows of a whole file that are not in the order of the source."""
    faults.note(f"{SOURCE_ROW} above that of the row before", np.diff(source_rows, prepend=-1) <= 0, 0)


def probabilities_of(rows: pa.RecordBatch | pa.Table, names: Sequence[str]) -> NDArray[np.float32]:
    """The probabilities (rows, labels), NaN for null."""
    return np.stack([numbers(rows[name]) for name in names], axis=1)


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
    """The float32 numbers of a column, NaN for null."""
    filled = pc.fill_null(column, float("nan"))
    arrays = filled.chunks if isinstance(filled, pa.ChunkedArray) else [filled]
    return np.concatenate([np.empty(0, np.float32), *(part.to_numpy(zero_copy_only=False) for part in arrays)])


def integers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """The whole numbers of a column, -1 for null; a boolean is 0 or 1."""
    filled = pc.fill_null(column.cast(pa.int64()), -1)
    arrays = filled.chunks if isinstance(filled, pa.ChunkedArray) else [filled]
    return np.concatenate([np.empty(0, np.int64), *(part.to_numpy(zero_copy_only=False) for part in arrays)])


def positions(column: pa.Array | pa.ChunkedArray, ids: list[str]) -> NDArray[np.int64]:
    """The positions of the column's values in `ids`, -1 for others and for null."""
    return integers(pc.index_in(column, pa.array(ids, pa.string()), skip_nulls=True))


def mask(column: pa.Array) -> NDArray[np.bool_]:
    """A column of booleans without nulls as a numpy array."""
    return np.asarray(column.to_numpy(zero_copy_only=False), bool)
