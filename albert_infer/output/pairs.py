"""The table of a unit's pairs, from rows whose pairs are lists. Some pairs at a time, because texts are repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.schema import (
    HYPOTHESIS,
    HYPOTHESIS_BOUNDS,
    HYPOTHESIS_END,
    HYPOTHESIS_ID,
    HYPOTHESIS_SENTENCE,
    HYPOTHESIS_START,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIRS,
    PREMISE,
    PREMISE_BOUNDS,
    PREMISE_END,
    PREMISE_SENTENCE,
    PREMISE_START,
    SCORE,
    TRUNCATED,
    Expansion,
    PairColumns,
    RowPairs,
    conformed,
    offsets_of,
    row_batches,
)

# Pairs of a row group: with texts of a kilobyte, 32 MB.
PAIRS_AT_A_TIME: Final = 1 << 15
# Columns of a row that are other columns of its pairs.
_OF_ROWS: Final = frozenset({SCORE, N_TOKENS, TRUNCATED, NEEDS_REVIEW, N_WINDOWS, HYPOTHESIS_ID, PREMISE, HYPOTHESIS})


def pair_tables(rows: pa.Table, columns: PairColumns) -> Iterator[pa.Table]:
    """Yield the pairs of labelled rows, in their order, with the schema `columns.pairs`.

    `rows` are rows with a result, as `RowClassifier.classified` returns them.
    """
    expansion = columns.expansion
    assert expansion is not None  # noqa: S101  (for the type checker: only such runs have pairs)
    if not rows.num_rows:
        yield columns.pairs.empty_table()
    for batch in row_batches(rows[N_PAIRS].to_numpy().astype(np.int64), PAIRS_AT_A_TIME):
        some = rows.slice(batch.start, batch.stop - batch.start).combine_chunks()
        yield conformed(_pair_table(some, expansion), columns.pairs)


def _pair_table(rows: pa.Table, expansion: Expansion) -> pa.Table:
    premises = _Texts(rows, PREMISE, PREMISE_BOUNDS, is_split=expansion.split_premise)
    hypotheses = _Texts(rows, HYPOTHESIS, HYPOTHESIS_BOUNDS, is_split=expansion.split_hypothesis)
    if expansion.hypotheses is None:
        counts = hypotheses.counts
    else:
        counts = np.full(rows.num_rows, len(expansion.hypotheses), np.int64)
    pairs = RowPairs(premises.counts, counts)
    of_row = pa.array(pairs.rows_P)
    names = [name for name in rows.column_names if name not in _OF_ROWS and not name.startswith("_")]
    table = rows.select(names).take(of_row)
    added = {PREMISE: premises.of_pairs(pairs.rows_P, pairs.premise_P)}
    if expansion.split_premise:
        added |= premises.places(pairs.rows_P, pairs.premise_P, (PREMISE_SENTENCE, PREMISE_START, PREMISE_END))
    if expansion.hypotheses is not None:
        index = pa.array(pairs.hypothesis_P)
        added[HYPOTHESIS] = pa.array(expansion.hypotheses.texts, pa.string()).take(index)
        added[HYPOTHESIS_ID] = pa.array(expansion.hypotheses.ids, pa.string()).take(index)
    else:
        added[HYPOTHESIS] = hypotheses.of_pairs(pairs.rows_P, pairs.hypothesis_P)
    if expansion.split_hypothesis:
        names_of_places = (HYPOTHESIS_SENTENCE, HYPOTHESIS_START, HYPOTHESIS_END)
        added |= hypotheses.places(pairs.rows_P, pairs.hypothesis_P, names_of_places)
    labelled = rows[PAIRS].combine_chunks()
    for field, column in zip(labelled.type.value_type, labelled.flatten().flatten(), strict=True):
        added[field.name] = column
    for name, column in added.items():
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, column)
    return table


class _Texts:
    """The texts of one column, or the sentences of each text."""

    def __init__(self, rows: pa.Table, name: str, bounds: str, *, is_split: bool) -> None:
        self.counts: NDArray[np.int64] = np.ones(rows.num_rows, np.int64)
        if not is_split:
            self._texts = rows[name] if name in rows.column_names else pa.nulls(rows.num_rows, pa.string())
            self._offsets = np.arange(rows.num_rows + 1)
            return
        places = rows[bounds].combine_chunks()
        flat = places.flatten().to_numpy().reshape(-1, 2)
        self.counts = np.diff(places.offsets.to_numpy()).astype(np.int64) // 2
        self._offsets = offsets_of(self.counts)
        self._starts, self._ends = flat[:, 0], flat[:, 1]
        texts = rows[name].to_pylist()
        of_row = np.repeat(np.arange(rows.num_rows), self.counts)
        sentences = zip(of_row.tolist(), self._starts.tolist(), self._ends.tolist(), strict=True)
        self._texts = pa.array([texts[row][start:end] for row, start, end in sentences], pa.string())

    def of_pairs(self, rows: NDArray[np.int64], parts: NDArray[np.int64]) -> pa.Array:
        """The text of each pair."""
        return self._texts.take(pa.array(self._offsets[rows] + parts))

    def places(
        self, rows: NDArray[np.int64], parts: NDArray[np.int64], names: tuple[str, str, str]
    ) -> dict[str, pa.Array]:
        """The index of the sentence of each pair, and where the sentence begins and ends."""
        at = self._offsets[rows] + parts
        values = (parts, self._starts[at], self._ends[at])
        return {name: pa.array(value, pa.int32()) for name, value in zip(names, values, strict=True)}
