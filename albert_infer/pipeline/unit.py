"""The steps of a unit: `prepared_unit`, `classified_unit`, then `output.commit.commit_unit`.

Plain functions, without Ray. `stages` calls each one in its own stage, and `inline` calls one after another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from albert_infer.classify.classification import Classifier
from albert_infer.classify.rows import RowClassifier
from albert_infer.common import failpoints
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.progress import SECONDS_BETWEEN_MESSAGES, Board, UnitProgress
from albert_infer.preflight.sample import ChosenRows, RowCounts, SampledUnit, sampled_schema
from albert_infer.preflight.swap import Texts, texts_of
from albert_infer.prepare import parts, tokenization, validation
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.decoding import PairReader
from albert_infer.read.footers import UnreadableError
from albert_infer.read.planning import Unit
from albert_infer.schema import (
    DETAIL,
    HYPOTHESIS,
    HYPOTHESIS_PARTS,
    INPUT_IDS,
    N_PAIRS,
    N_TOKENS,
    PREMISE_PARTS,
    PREMISE_TOKENS,
    REJECTION,
    ROW,
    TRUNCATED,
    UNIT,
    UNIT_QUARANTINE,
    ComputedBatch,
    PairColumns,
    Precision,
    Quarantine,
    conformed,
)
from albert_infer.storage import Folder

# The largest prepared unit. Only long premises in windows need so much: each token takes four bytes.
MAX_PREPARED_BYTES: Final = 1 << 30
# The most pairs of a unit whose rows become several pairs: their labels take some hundred megabytes.
MAX_UNIT_PAIRS: Final = 1 << 22


@dataclass(frozen=True)
class LabelTask:
    """The data that all units of a run share."""

    source: Folder
    output: Folder
    columns: PairColumns
    checkpoint: Checkpoint
    tokenizer: PairTokenizer
    precision: Precision


def prepared_unit(
    unit: Unit,
    reader: PairReader,
    tokenizer: PairTokenizer,
    max_bytes: int = MAX_PREPARED_BYTES,
    max_pairs: int = MAX_UNIT_PAIRS,
) -> pa.Table:
    """Read, validate and tokenize a unit. The result has the schema `columns.prepared`.

    A unit that cannot be read, has more than `max_bytes` after tokenizing, or has more than `max_pairs` pairs where its
    rows become several, becomes one row with `_quarantine` set.
    """
    schema = reader.columns.prepared
    try:
        pairs = _pairs(unit, reader)
    except UnreadableError as error:
        return quarantine_marker(unit.unit_id, error.reason, error.detail, schema)
    rows = pairs.num_rows
    prepared = (
        _encoded(pairs, tokenizer, reader.columns)
        .append_column(UNIT, pa.repeat(unit.unit_id, rows))
        .append_column(ROW, pa.array(np.arange(rows)))
        .append_column(UNIT_QUARANTINE, pa.nulls(rows, pa.string()))
    )
    if N_PAIRS in prepared.column_names and (n_pairs := pc.sum(prepared[N_PAIRS]).as_py() or 0) > max_pairs:
        detail = f"its {rows} rows have {n_pairs} pairs, at most {max_pairs}; lower --unit-rows"
        return quarantine_marker(unit.unit_id, Quarantine.LIMIT_PAIRS, detail, schema)
    if prepared.nbytes > max_bytes:
        size = f"its {rows} rows take {prepared.nbytes} bytes with the tokens of their long premises"
        detail = f"{size}, at most {max_bytes}; lower --unit-rows if they are meant"
        return quarantine_marker(unit.unit_id, Quarantine.LIMIT_DECODED_BYTES, detail, schema)
    return conformed(prepared, schema)


def classified_unit(
    prepared: pa.Table, classifier: Classifier | RowClassifier, board: Board, worker: str = ""
) -> pa.Table:
    """Classify a unit. The marker of a quarantined unit stays as it is. Reports the progress of `worker` to `board`."""
    unit_id = prepared[UNIT][0].as_py()
    failpoints.reach("classifying", unit_id)
    reported = _Reported(board, unit_id, worker)
    labelled = classifier.classified(prepared, reported)
    reported.report()
    failpoints.reach("classified", unit_id)
    return labelled


def source_of(unit: Unit, folder: Folder) -> commit.Source:
    """The input file and the rows of a unit, as its objects record them."""
    return commit.Source(folder.uri_of(unit.pin.name), unit.range.first_row, unit.range.rows)


def sampled_unit(chosen: ChosenRows, reader: PairReader, tokenizer: PairTokenizer) -> SampledUnit:
    """The chosen rows of a unit, and the statistics of all its texts. No rows if the unit cannot be read."""
    schema = sampled_schema(reader.columns)
    try:
        pairs = _pairs(chosen.unit, reader)
    except UnreadableError:
        return no_rows(schema)  # labelling quarantines the unit, with the reason
    # A set of hypotheses cannot be exchanged with the premises.
    texts = texts_of(pairs) if HYPOTHESIS in pairs.column_names else Texts()
    validated = validation.mark_rejected(pairs.take(chosen.rows_R))
    expansion = reader.columns.expansion
    if expansion is None:
        return SampledUnit(conformed(tokenization.append_tokens(validated, tokenizer), schema), texts)
    expanded = RowCounts.of(parts.append_parts(validated, tokenizer, expansion))
    one_each = tokenization.append_tokens(parts.one_pair_each(validated, expansion), tokenizer)
    return SampledUnit(conformed(one_each, schema), texts, expanded)


def no_rows(schema: pa.Schema) -> SampledUnit:
    """The sample of a unit that cannot be read."""
    return SampledUnit(schema.empty_table(), Texts())


def quarantine_marker(unit_id: str, reason: Quarantine, detail: str, prepared: pa.Schema) -> pa.Table:
    """The single row of a unit that cannot be read. It is rejected, so no later step uses its texts."""
    row = {UNIT: unit_id, UNIT_QUARANTINE: str(reason), REJECTION: str(reason), DETAIL: detail}
    return pa.Table.from_pylist([{**_no_tokens(prepared), **row}], schema=prepared)


def _no_tokens(prepared: pa.Schema) -> dict[str, Any]:
    """The values of a row without tokens in the columns that tokenization adds."""
    lists: dict[str, Any] = {name: [] for name in (INPUT_IDS, PREMISE_PARTS, HYPOTHESIS_PARTS)}
    numbers = dict.fromkeys((PREMISE_TOKENS, N_TOKENS, N_PAIRS), 0)
    none = {**lists, **numbers, TRUNCATED: False}
    return {name: value for name, value in none.items() if name in prepared.names}


def _pairs(unit: Unit, reader: PairReader) -> pa.Table:
    failpoints.reach("reading", unit.pin.name)
    return reader.read(unit.pin, unit.range)


def _encoded(pairs: pa.Table, tokenizer: PairTokenizer, columns: PairColumns) -> pa.Table:
    validated = validation.mark_rejected(pairs)
    if columns.expansion is not None:
        return parts.append_parts(validated, tokenizer, columns.expansion)
    return tokenization.append_tokens(validated, tokenizer)


class _Reported:
    """Reports the progress of a unit to the board, at most every SECONDS_BETWEEN_MESSAGES.

    Reports totals, so the reports of a retry replace those of the attempt before.
    """

    def __init__(self, board: Board, unit_id: str, worker: str) -> None:
        self._board = board
        self._unit_id = unit_id
        self._worker = worker
        self._progress = UnitProgress()
        # A report before the first row starts the clock of rows per second.
        self.report()

    def __call__(self, batch: ComputedBatch) -> None:
        self._progress = self._progress.after(batch)
        if time.monotonic() - self._reported_at >= SECONDS_BETWEEN_MESSAGES:
            self.report()

    def report(self) -> None:
        self._reported_at = time.monotonic()
        self._board.report_progress(self._unit_id, self._progress, self._worker)
