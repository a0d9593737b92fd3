"""The steps of a unit: `prepared_unit`, `classified_unit`, then `output.commit.commit_unit`.

Plain functions, without Ray. `stages` calls each one in its own stage, and `inline` calls one after another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from albert_infer.classify.classification import Classifier
from albert_infer.common import failpoints
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.progress import SECONDS_BETWEEN_MESSAGES, Board, UnitProgress
from albert_infer.preflight.sample import ChosenRows, SampledUnit, sampled_schema
from albert_infer.preflight.swap import Texts, texts_of
from albert_infer.prepare import tokenization, validation
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.decoding import PairReader
from albert_infer.read.footers import UnreadableError
from albert_infer.read.planning import Unit
from albert_infer.schema import (
    DETAIL,
    INPUT_IDS,
    N_TOKENS,
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
    unit: Unit, reader: PairReader, tokenizer: PairTokenizer, max_bytes: int = MAX_PREPARED_BYTES
) -> pa.Table:
    """Read, validate and tokenize a unit. The result has the schema `columns.prepared`.

    A unit that cannot be read, or has more than `max_bytes` after tokenizing, becomes one row with `_quarantine` set.
    """
    schema = reader.columns.prepared
    try:
        pairs = _pairs(unit, reader)
    except UnreadableError as error:
        return quarantine_marker(unit.unit_id, error.reason, error.detail, schema)
    rows = pairs.num_rows
    prepared = (
        _encoded(pairs, tokenizer)
        .append_column(UNIT, pa.repeat(unit.unit_id, rows))
        .append_column(ROW, pa.array(np.arange(rows)))
        .append_column(UNIT_QUARANTINE, pa.nulls(rows, pa.string()))
    )
    if prepared.nbytes > max_bytes:
        size = f"its {rows} rows take {prepared.nbytes} bytes with the tokens of their long premises"
        detail = f"{size}, at most {max_bytes}; lower --unit-rows if they are meant"
        return quarantine_marker(unit.unit_id, Quarantine.LIMIT_DECODED_BYTES, detail, schema)
    return conformed(prepared, schema)


def classified_unit(prepared: pa.Table, classifier: Classifier, board: Board, worker: str = "") -> pa.Table:
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
    return SampledUnit(conformed(_encoded(pairs.take(chosen.rows_R), tokenizer), schema), texts_of(pairs))


def no_rows(schema: pa.Schema) -> SampledUnit:
    """The sample of a unit that cannot be read."""
    return SampledUnit(schema.empty_table(), Texts())


def quarantine_marker(unit_id: str, reason: Quarantine, detail: str, prepared: pa.Schema) -> pa.Table:
    """The single row of a unit that cannot be read. It is rejected, so no later step uses its texts."""
    no_tokens = {INPUT_IDS: [], PREMISE_TOKENS: 0, N_TOKENS: 0, TRUNCATED: False}
    row = {UNIT: unit_id, UNIT_QUARANTINE: str(reason), REJECTION: str(reason), DETAIL: detail, **no_tokens}
    return pa.Table.from_pylist([row], schema=prepared)


def _pairs(unit: Unit, reader: PairReader) -> pa.Table:
    failpoints.reach("reading", unit.pin.name)
    return reader.read(unit.pin, unit.range)


def _encoded(pairs: pa.Table, tokenizer: PairTokenizer) -> pa.Table:
    return tokenization.append_tokens(validation.mark_rejected(pairs), tokenizer)


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
