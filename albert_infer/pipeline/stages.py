"""What runs inside each stage: the reader of a unit, the classify actor, the sink that commits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataContext, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasink, ReadTask

from albert_infer.classify.classification import Classifier
from albert_infer.common import failpoints
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.attempts import MAX_LOST_ATTEMPTS
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.progress import UnitProgress
from albert_infer.pipeline.session import TARGET_MAX_BLOCK_BYTES
from albert_infer.preflight.sample import ChosenRows, SampledUnit, sampled_schema
from albert_infer.preflight.swap import Texts, texts_of
from albert_infer.prepare import tokenization, validation
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read import decoding
from albert_infer.read import footers as reading
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
    DeviceKind,
    PairColumns,
    Precision,
    Quarantine,
    conformed,
)
from albert_infer.storage import Folder

Shared = TypeVar("Shared")

# Messages to the progress board; finer is of no use to a person.
SECONDS_BETWEEN_PROGRESS: Final = 0.5


@dataclass(frozen=True)
class UnitReader:
    """The first stage: read, validate and tokenize a unit. Travels with every read task, so it holds references."""

    source: Folder
    columns: PairColumns
    tokenizer: ray.ObjectRef[PairTokenizer]
    board: RunBoard
    # What is larger Ray would cut: only premises in windows come near it, a token of them takes four bytes.
    max_block_bytes: int = TARGET_MAX_BLOCK_BYTES

    def prepared(self, unit: Unit) -> pa.Table:
        """The unit as `columns.prepared`.

        One row with `_quarantine` set stands for a unit that cannot be read, or is too large once tokenized.
        """
        with self.board.attempt("read", unit.unit_id) as healthy:
            if not healthy:
                return poison_marker(unit.unit_id, "reading", self.columns.prepared)
            try:
                pairs = self._pairs(unit)
            except reading.UnreadableError as error:
                return quarantine_marker(unit.unit_id, error.reason, error.detail, self.columns.prepared)
            rows = pairs.num_rows
            prepared = (
                self._encoded(pairs)
                .append_column(UNIT, pa.repeat(unit.unit_id, rows))
                .append_column(ROW, pa.array(np.arange(rows)))
                .append_column(UNIT_QUARANTINE, pa.nulls(rows, pa.string()))
            )
            if prepared.nbytes > self.max_block_bytes:
                found = f"its {rows} rows take {prepared.nbytes} bytes with the tokens of their long premises"
                detail = f"{found}, at most {self.max_block_bytes}; lower --unit-rows if they are meant"
                reason = Quarantine.LIMIT_DECODED_BYTES
                return quarantine_marker(unit.unit_id, reason, detail, self.columns.prepared)
            return conformed(prepared, self.columns.prepared)

    def sampled(self, chosen: ChosenRows) -> SampledUnit:
        """Some rows of a unit, and what all its texts are like; nothing of a unit that cannot be read."""
        wanted = sampled_schema(self.columns)
        with self.board.attempt("read", chosen.unit.unit_id) as healthy:
            try:
                pairs = self._pairs(chosen.unit) if healthy else None
            except reading.UnreadableError:
                pairs = None  # labelling quarantines it, with its reason
            if pairs is None:
                return SampledUnit(wanted.empty_table(), Texts())
            return SampledUnit(conformed(self._encoded(pairs.take(chosen.rows_R)), wanted), texts_of(pairs))

    def _pairs(self, unit: Unit) -> pa.Table:
        failpoints.reach("reading", unit.pin.name)
        reader = _pair_reader(self.source, self.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed
        return reader.read(unit.pin, unit.range)

    def _encoded(self, pairs: pa.Table) -> pa.Table:
        return tokenization.append_tokens(validation.mark_rejected(pairs), _shared(self.tokenizer))


def quarantine_marker(unit_id: str, reason: Quarantine, detail: str, prepared: pa.Schema) -> pa.Table:
    """The row that stands for a unit without rows; rejected, so that no later step looks for its texts."""
    no_tokens = {INPUT_IDS: [], PREMISE_TOKENS: 0, N_TOKENS: 0, TRUNCATED: False}
    row = {UNIT: unit_id, UNIT_QUARANTINE: str(reason), REJECTION: str(reason), DETAIL: detail, **no_tokens}
    return pa.Table.from_pylist([row], schema=prepared)


def poison_marker(unit_id: str, doing: str, prepared: pa.Schema) -> pa.Table:
    """The marker of a unit that kills its workers."""
    return quarantine_marker(unit_id, Quarantine.POISON_UNIT, poison_detail(doing), prepared)


def poison_detail(doing: str) -> str:
    """Why the unit is given up."""
    return f"{MAX_LOST_ATTEMPTS} workers died while {doing} it"


@lru_cache(maxsize=4)
def _shared(reference: ray.ObjectRef[Shared]) -> Shared:
    """What the reference stands for, unpickled once a worker process: a process works on many units."""
    return ray.get(reference)


@lru_cache(maxsize=1)
def _pair_reader(source: Folder, columns: PairColumns) -> decoding.PairReader:
    """The reader of a worker process: the next unit that it reads is mostly one further on in the same row group."""
    return decoding.PairReader(source, columns)


class UnitSource(Datasource):
    """Reads exactly the given units: one read task, one block each."""

    def __init__(self, units: Sequence[Unit], reader: UnitReader) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates in part
        self._units = units
        self._reader = reader

    def get_name(self) -> str:
        """The name of the operator."""
        return "Units"

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before reading."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """One task a unit, whatever the parallelism that Ray suggests."""
        return [_read_task(unit, self._reader) for unit in self._units]


def _read_task(unit: Unit, reader: UnitReader) -> ReadTask:
    metadata = BlockMetadata(num_rows=unit.range.rows, size_bytes=None, exec_stats=None, input_files=(unit.pin.name,))
    return ReadTask(lambda: [reader.prepared(unit)], metadata)


class ClassifyActor:
    """The second stage: an engine on its device, one prepared unit in, one labelled unit out."""

    def __init__(
        self,
        checkpoint: ray.ObjectRef[Checkpoint],
        precision: Precision,
        device: DeviceKind,
        max_batch_tokens: int,
        threads: int | None,
        review_below: float | None,
        board: RunBoard,
    ) -> None:
        # Imported here, because the driver and the read tasks have no use for torch and it takes seconds to load.
        from albert_infer.engine.devices import usable_device

        device = usable_device(device)
        self._classifier = Classifier.load(
            ray.get(checkpoint),
            precision=precision,
            device=device,
            max_batch_tokens=max_batch_tokens,
            threads=threads,
            review_below=review_below,
        )
        # One unit after the other: of the calls that wait for their turn none counts as begun.
        self._turn = ThreadPoolExecutor(max_workers=1)
        self._board = board
        board.tell_device(device)

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """Classify one unit; the marker of an unreadable one passes through."""
        return self._turn.submit(self._labelled, prepared).result()

    def _labelled(self, prepared: pa.Table) -> pa.Table:
        unit_id = prepared[UNIT][0].as_py()
        with self._board.attempt("classify", unit_id) as healthy:
            if not healthy:
                return self._classifier.classified(poison_marker(unit_id, "labelling", prepared.schema))
            failpoints.reach("classifying", unit_id)
            reported = _Reported(self._board, unit_id)
            labelled = self._classifier.classified(prepared, reported)
            reported.tell()
            failpoints.reach("classified", unit_id)
            return labelled


class _Reported:
    """Tells the board how far a unit is, at most every so often. Counts are absolute: a retry starts over."""

    def __init__(self, board: RunBoard, unit_id: str) -> None:
        self._board = board
        self._unit_id = unit_id
        self._actor = ray.get_runtime_context().get_actor_id() or ""
        self._done = UnitProgress()
        # Before the first row: the clock of rows per second starts here.
        self.tell()

    def __call__(self, batch: ComputedBatch) -> None:
        self._done = self._done.after(batch)
        if time.monotonic() - self._told >= SECONDS_BETWEEN_PROGRESS:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        self._board.tell(self._unit_id, self._done, self._actor)


class UnitSink(Datasink[None]):
    """The third stage: every block is a whole unit, and becomes its objects."""

    def __init__(
        self,
        sources: ray.ObjectRef[dict[str, commit.Source]],
        output: Folder,
        columns: PairColumns,
        board: RunBoard,
    ) -> None:
        self._sources = sources
        self._output = output
        self._columns = columns
        self._board = board

    def write(self, blocks: Iterable[Block], ctx: Any) -> None:
        """Commit the blocks of one write task; the same block again is harmless."""
        sources = _shared(self._sources)
        for block in blocks:
            rows = pa.table(block)
            unit_id = rows[UNIT][0].as_py()
            with self._board.attempt("commit", unit_id) as healthy:
                summary = None
                if healthy:
                    summary = commit.commit_unit(self._output, unit_id, sources[unit_id], rows, self._columns)
                else:
                    detail = poison_detail("committing")
                    commit.commit_quarantine(self._output, unit_id, sources[unit_id], Quarantine.POISON_UNIT, detail)
                self._board.tell_committed(unit_id, summary.rejected if summary else {})
