"""The units of a run in three Ray stages: read and prepare, classify, commit.

One unit is one Ray block is one committed object. Ray owns placement, queues and retries; what happens to a unit is in
`unit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.util import metrics as ray_metrics

from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.checks import preflighted, sampled
from albert_infer.pipeline.metrics import PREFIX, Declared, Record
from albert_infer.pipeline.progress import RunProgress, tell_waiting
from albert_infer.pipeline.resources import Node, WorkerResources, commits_at_once
from albert_infer.pipeline.session import READ_TASK_MEMORY, connected, own_error, reserved, session_settings, shared
from albert_infer.pipeline.stages import ClassifyActor, UnitReader, UnitSink, UnitSource
from albert_infer.pipeline.unit import LabelTask, source_of
from albert_infer.pipeline.waiting import wait_for_first_gpu
from albert_infer.preflight.checks import Checks, Preflight
from albert_infer.preflight.sample import ChosenRows
from albert_infer.read.planning import Unit


class RayExecutor:
    """Runs a task on the Ray session that is open, else on the cluster of RAY_ADDRESS, else on this machine."""

    def session(self, *, debug: bool) -> AbstractContextManager[Sequence[Node]]:
        """A Ray session, as `connected`."""
        return connected(debug=debug)

    def recorder(self, declared: Declared) -> Record:
        """What adds to a counter of Ray's, or sets a gauge, in this process."""
        name, tags = PREFIX + declared.name, ("plan_id", *declared.tags)
        if declared.kind == "counter":
            add: Record = ray_metrics.Counter(name, declared.help, tags).inc
            return add
        replace: Record = ray_metrics.Gauge(name, declared.help, tags).set
        return replace

    def begin(self, task: LabelTask, workers: WorkerResources) -> RayLabelling:
        """Start the board of a task."""
        return RayLabelling(task, workers)


class RayLabelling:
    """One task on the workers of a cluster. Checkpoint and tokenizer travel to each node once."""

    def __init__(self, task: LabelTask, workers: WorkerResources) -> None:
        self._task = task
        self._workers = workers
        self.board = RunBoard.start()
        self._checkpoint = shared(task.checkpoint)
        self._reader = UnitReader(task.source, task.columns, shared(task.tokenizer), self.board)

    def wait_for_gpu(self, minutes: float | None) -> None:
        """Wait for the first GPU of a cluster that grows, with a line in the log."""
        wait_for_first_gpu(self._workers, minutes, tell_waiting)

    def so_far(self) -> RunProgress:
        """What the workers have told the board."""
        return self.board.so_far()

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """Run the checks on one worker."""
        sample = sampled(chosen, self._reader)
        return preflighted(self._checkpoint, sample, checks=checks, workers=self._workers)

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit, or raise AlbertInferError. What was committed before stays."""
        sources = {unit.unit_id: source_of(unit, self._task.source) for unit in units}
        try:
            with session_settings(), reserved(self._workers) as place:
                labelled = self.labelled(units, place, max_batch_tokens)
                labelled.write_datasink(
                    UnitSink(shared(sources), self._task.output, self._task.columns, self.board),
                    # No logical CPU: reading, which is always ahead, takes the last one, and labelled units would wait
                    # until half of the object store is full. So their number is bounded.
                    ray_remote_args={"num_cpus": 0, **place},
                    # Ray warns of more than there are blocks.
                    concurrency=min(
                        commits_at_once(self._workers, ray.cluster_resources().get("CPU", 0.0)), len(units)
                    ),
                )
        except Exception as error:
            raise own_error(error, "labelling the units") from error

    def labelled(self, units: Sequence[Unit], place: Mapping[str, Any], max_batch_tokens: int) -> Dataset:
        """The labelled units as a dataset, one block each; `place` is what `reserved` gives."""
        workers = self._workers
        read: Dataset = ray.data.read_datasource(
            UnitSource(units, self._reader),
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
                "checkpoint": self._checkpoint,
                "precision": self._task.precision,
                "device": workers.device,
                "max_batch_tokens": max_batch_tokens,
                "threads": workers.threads,
                "review_below": self._task.columns.review_below,
                "board": self.board,
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
