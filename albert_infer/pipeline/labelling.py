"""The three Ray stages: read and prepare a unit, classify it, commit it; and the checks before them.

One unit is one Ray block is one committed object. Ray owns placement, queues and retries; the steps inside a stage
are plain functions of other modules. Besides `jobs/` and `training`, only this package knows Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset

from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import commit
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.resources import WorkerResources, commits_at_once
from albert_infer.pipeline.session import (
    READ_TASK_MEMORY,
    own_error,
    reserved,
    session_settings,
    shared,
)
from albert_infer.pipeline.stages import ClassifyActor, UnitReader, UnitSink, UnitSource
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.planning import Unit
from albert_infer.schema import PairColumns, Precision
from albert_infer.storage import Folder


@dataclass(frozen=True)
class LabelTask:
    """What is the same for every unit of a run."""

    source: Folder
    output: Folder
    columns: PairColumns
    checkpoint: ray.ObjectRef[Checkpoint]
    tokenizer: PairTokenizer
    precision: Precision
    max_batch_tokens: int

    def reader(self, board: RunBoard) -> UnitReader:
        """What reads and prepares units; the tokenizer travels once to a node."""
        return UnitReader(self.source, self.columns, shared(self.tokenizer), board)


def label_units(units: Sequence[Unit], task: LabelTask, workers: WorkerResources, board: RunBoard) -> None:
    """Label and commit every unit, or raise AlbertInferError; what was committed before stays."""
    sources = {
        unit.unit_id: commit.Source(task.source.uri_of(unit.pin.name), unit.range.first_row, unit.range.rows)
        for unit in units
    }
    try:
        with session_settings(), reserved(workers) as place:
            sink = UnitSink(shared(sources), task.output, task.columns, board)
            labelled = labelled_units(units, task, workers, board, place)
            labelled.write_datasink(
                sink,
                # No logical CPU: reading, which is always ahead, takes the last one, and labelled units would wait
                # until half of the object store is full. So their number is bounded.
                ray_remote_args={"num_cpus": 0, **place},
                # Ray warns of more than there are blocks.
                concurrency=min(commits_at_once(workers, ray.cluster_resources().get("CPU", 0.0)), len(units)),
            )
    except Exception as error:
        raise own_error(error, "labelling the units") from error


def labelled_units(
    units: Sequence[Unit], task: LabelTask, workers: WorkerResources, board: RunBoard, place: Mapping[str, Any]
) -> Dataset:
    """The labelled units as a dataset, one block each; `place` is what `reserved` gives."""
    read: Dataset = ray.data.read_datasource(
        UnitSource(units, task.reader(board)),
        override_num_blocks=len(units),
        num_cpus=1,
        memory=READ_TASK_MEMORY,
        ray_remote_args=dict(place),
    )
    return read.map_batches_internal(
        # A DeveloperAPI: `map_batches` refuses batch_size=None with GPUs, and with an integer it cuts tables across
        # units. This gives one call a block. tests/test_pipeline.py notices when it goes.
        ClassifyActor,
        fn_constructor_kwargs={
            "checkpoint": task.checkpoint,
            "precision": task.precision,
            "device": workers.device,
            "max_batch_tokens": task.max_batch_tokens,
            "threads": workers.threads,
            "review_below": task.columns.review_below,
            "board": board,
        },
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        compute=ActorPoolStrategy(
            min_size=workers.min_workers,
            max_size=workers.max_workers,
            # While a unit is on the device the next one is fetched.
            max_concurrent_calls_per_actor=2,
        ),
        udf_modifying_row_count=False,
        **place,
    )
