"""What a Ray worker does in each stage: it reads, classifies or commits a unit, by `unit` and `output.commit`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasink, ReadTask

from albert_infer.classify.classification import Classifier
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.attempts import MAX_LOST_ATTEMPTS
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.unit import (
    MAX_PREPARED_BYTES,
    classified_unit,
    no_rows,
    prepared_unit,
    quarantine_marker,
    sampled_unit,
)
from albert_infer.preflight.sample import ChosenRows, SampledUnit, sampled_schema
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.decoding import PairReader
from albert_infer.read.planning import Unit
from albert_infer.schema import UNIT, DeviceKind, PairColumns, Precision, Quarantine
from albert_infer.storage import Folder

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class UnitReader:
    """The first stage. Travels with every read task, so it holds references."""

    source: Folder
    columns: PairColumns
    tokenizer: ray.ObjectRef[PairTokenizer]
    board: RunBoard
    # What is larger Ray would cut.
    max_bytes: int = MAX_PREPARED_BYTES

    def prepared(self, unit: Unit) -> pa.Table:
        """`prepared_unit` on a worker; the marker of a unit that kills its workers."""
        with self.board.attempt("read", unit.unit_id) as healthy:
            if not healthy:
                return poison_marker(unit.unit_id, "reading", self.columns.prepared)
            return prepared_unit(unit, self._pair_reader(), _shared(self.tokenizer), self.max_bytes)

    def sampled(self, chosen: ChosenRows) -> SampledUnit:
        """`sampled_unit` on a worker; no rows of a unit that kills its workers."""
        with self.board.attempt("read", chosen.unit.unit_id) as healthy:
            if not healthy:
                return no_rows(sampled_schema(self.columns))
            return sampled_unit(chosen, self._pair_reader(), _shared(self.tokenizer))

    def _pair_reader(self) -> PairReader:
        return _pair_reader(self.source, self.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed


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
def _pair_reader(source: Folder, columns: PairColumns) -> PairReader:
    """The reader of a worker process: the next unit that it reads is mostly one further on in the same row group."""
    return PairReader(source, columns)


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
        self._actor_id = ray.get_runtime_context().get_actor_id() or ""
        board.tell_device(device)

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """Classify one unit; the marker of an unreadable one passes through."""
        return self._turn.submit(self._labelled, prepared).result()

    def _labelled(self, prepared: pa.Table) -> pa.Table:
        unit_id = prepared[UNIT][0].as_py()
        with self._board.attempt("classify", unit_id) as healthy:
            if not healthy:
                return self._classifier.classified(poison_marker(unit_id, "labelling", prepared.schema))
            return classified_unit(prepared, self._classifier, self._board, self._actor_id)


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
