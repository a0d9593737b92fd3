"""Runs units in three stages of Ray Data: read and prepare, classify, commit.

One unit is one Ray block, and becomes one committed object. Ray does placement, queues and retries. `unit` has the
steps of a unit.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasink, ReadTask

from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.exits import limit_exit
from albert_infer.pipeline.loading import classifier_of_worker
from albert_infer.pipeline.lost_devices import ending_with_the_device
from albert_infer.pipeline.reader import UnitReader, poison_detail, poison_marker, unpickled
from albert_infer.pipeline.resources import WorkerResources, commits_at_once
from albert_infer.pipeline.session import READ_TASK_MEMORY, reserved, session_settings, shared
from albert_infer.pipeline.stage_errors import own_errors
from albert_infer.pipeline.turns import Turns
from albert_infer.pipeline.unit import classified_unit, source_of
from albert_infer.prepare.framing import PairFrame
from albert_infer.read.planning import Unit
from albert_infer.schema import UNIT, PairColumns, Precision, Quarantine
from albert_infer.storage import Folder


class UnitSource(Datasource):
    """Reads the given units. Each unit is one read task and one block."""

    def __init__(self, units: Sequence[Unit], reader: UnitReader) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates in part
        self._units = units
        self._reader = reader

    def get_name(self) -> str:
        """The name of the operator."""
        return "Units"

    def estimate_inmemory_data_size(self) -> int | None:
        """None: the size is not known before reading."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """One task per unit. Ignores the parallelism that Ray suggests."""
        return [_read_task(unit, self._reader) for unit in self._units]


def _read_task(unit: Unit, reader: UnitReader) -> ReadTask:
    metadata = BlockMetadata(num_rows=unit.range.rows, size_bytes=None, exec_stats=None, input_files=(unit.pin.name,))
    return ReadTask(lambda: [reader.prepared(unit)], metadata)


class ClassifyActor:
    """The second stage: an engine on a device. One prepared unit in, one labelled unit out."""

    def __init__(
        self,
        checkpoint: ray.ObjectRef[Checkpoint],
        precision: Precision,
        workers: WorkerResources,
        max_batch_tokens: int,
        columns: PairColumns,
        frame: PairFrame,
        board: RunBoard,
    ) -> None:
        limit_exit()
        self._classifier, device = classifier_of_worker(
            ray.get(checkpoint), precision, workers, max_batch_tokens=max_batch_tokens, columns=columns, frame=frame
        )
        self._turns = Turns()
        self._board = board
        self._actor_id = ray.get_runtime_context().get_actor_id() or ""
        board.report_device(device, self._classifier.engine.kernels)

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """Classify one unit. The marker of an unreadable unit is returned without change.

        Ray calls this in several threads: one unit is prepared while the device computes another.
        """
        unit_id = prepared[UNIT][0].as_py()
        # A worker that dies counts against all its units. A unit of which an attempt was lost has the next one alone,
        # so that no unit is given up for the company of another.
        is_suspected = self._board.is_suspected("classify", unit_id)
        with self._turns.taken(alone=is_suspected), self._board.attempt("classify", unit_id) as healthy:
            if not healthy:
                return self._classifier.classified(poison_marker(unit_id, "labelling", prepared.schema))
            # Inside the attempt, which stays open if the process ends.
            with ending_with_the_device(self._report_lost_device):
                return classified_unit(prepared, self._classifier, self._board, self._actor_id)

    def _report_lost_device(self, error: str) -> None:
        self._board.report_lost_device(f"the GPU of a worker on {platform.node()} is lost ({error})")


class UnitSink(Datasink[None]):
    """The third stage: each block is a whole unit, and is committed as objects."""

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
        """Commit the blocks of one write task. Committing a block twice is harmless."""
        sources = unpickled(self._sources)
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
                self._board.report_committed(unit_id, summary.rejected if summary else {})


@dataclass(frozen=True)
class Stages:
    """The stages of one task, as a Ray dataset."""

    reader: UnitReader
    checkpoint: ray.ObjectRef[Checkpoint]
    precision: Precision
    output: Folder
    workers: WorkerResources
    frame: PairFrame

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit, or raise AlbertInferError. Units that were committed before stay."""
        sources = {unit.unit_id: source_of(unit, self.reader.source) for unit in units}
        with own_errors("labelling the units"), session_settings(), reserved(self.workers) as scheduling:
            labelled = self.labelled(units, scheduling, max_batch_tokens)
            labelled.write_datasink(
                UnitSink(shared(sources), self.output, self.reader.columns, self.reader.board),
                # No logical CPU: readers are always ahead and take the last CPU, so commits would wait until half
                # of the object store is full. `concurrency` limits the number of commits instead.
                ray_remote_args={"num_cpus": 0, **scheduling},
                # Ray logs a warning if this is more than the number of blocks.
                concurrency=min(commits_at_once(self.workers, ray.cluster_resources().get("CPU", 0.0)), len(units)),
            )

    def labelled(self, units: Sequence[Unit], scheduling: Mapping[str, Any], max_batch_tokens: int) -> Dataset:
        """The labelled units as a dataset, one block each. `scheduling` is the argument from `reserved`."""
        workers = self.workers
        read: Dataset = ray.data.read_datasource(
            UnitSource(units, self.reader),
            override_num_blocks=len(units),
            num_cpus=1,
            memory=READ_TASK_MEMORY,
            ray_remote_args=dict(scheduling),
        )
        return read.map_batches_internal(
            # A DeveloperAPI with one call per block. `map_batches` refuses batch_size=None with GPUs, and with a number
            # it cuts tables across units. tests/test_pipeline.py fails if Ray drops this method.
            ClassifyActor,
            fn_constructor_kwargs={
                "checkpoint": self.checkpoint,
                "precision": self.precision,
                "workers": workers,
                "max_batch_tokens": max_batch_tokens,
                "columns": self.reader.columns,
                "frame": self.frame,
                "board": self.reader.board,
            },
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=workers.num_cpus,
            num_gpus=workers.num_gpus,
            compute=ActorPoolStrategy(
                min_size=workers.min_workers,
                max_size=workers.max_workers,
                # While the device computes a unit, the next one is fetched and prepared, and the last one is finished.
                max_concurrent_calls_per_actor=2,
                # Otherwise Ray Data runs the two calls one after the other.
                enable_true_multi_threading=True,
            ),
            udf_modifying_row_count=False,
            **scheduling,
        )
