"""A run on Ray: the session, the metrics, the checks on one worker, and the stages of `stages`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ray.util import metrics as ray_metrics

from albert_infer.engine.cards import Card
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.cards import card_of_worker
from albert_infer.pipeline.checks import preflighted, sampled
from albert_infer.pipeline.connecting import connected
from albert_infer.pipeline.metrics import PREFIX, Declared, Record
from albert_infer.pipeline.progress import RunProgress, log_waiting
from albert_infer.pipeline.reader import UnitReader
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.session import shared
from albert_infer.pipeline.unit import LabelTask
from albert_infer.pipeline.waiting import wait_for_first_gpu
from albert_infer.preflight.checks import Checks, Preflight
from albert_infer.preflight.sample import ChosenRows
from albert_infer.read.planning import Unit
from albert_infer.schema import ExecutorKind

if TYPE_CHECKING:
    from albert_infer.pipeline.stages import Stages


class RayExecutor:
    """Runs a task in the open Ray session, else on the cluster of RAY_ADDRESS, else on this machine."""

    kind = ExecutorKind.RAY
    first_step = "starting workers"

    def __init__(self) -> None:
        self._card: Card | None = None

    def session(self, *, debug: bool) -> AbstractContextManager[Sequence[Node]]:
        """A Ray session, from `connected`."""
        return connected(debug=debug)

    def recorder(self, declared: Declared) -> Record:
        """A function that adds to a Ray counter, or sets a Ray gauge, in this process."""
        name, tags = PREFIX + declared.name, ("plan_id", *declared.tags)
        if declared.kind == "counter":
            add: Record = ray_metrics.Counter(name, declared.help, tags).inc
            return add
        replace: Record = ray_metrics.Gauge(name, declared.help, tags).set
        return replace

    def card(self, workers: WorkerResources, gpu_wait_minutes: float | None) -> Card:
        """The card of a worker, which Ray starts for this. Waits for the first GPU of a cluster that grows.

        All runs of this executor have the same card. So nights in one session start one worker for it.
        """
        if self._card is None:
            wait_for_first_gpu(workers, gpu_wait_minutes, log_waiting)
            self._card = card_of_worker(workers.num_gpus, log_waiting)
        return self._card

    def begin(self, task: LabelTask, workers: WorkerResources) -> RayLabelling:
        """Start the board of a task."""
        return RayLabelling(task, workers)


class RayLabelling:
    """One task on the workers of a cluster. Ray copies the checkpoint and the tokenizer to each node once."""

    def __init__(self, task: LabelTask, workers: WorkerResources) -> None:
        self._task = task
        self._workers = workers
        self.board = RunBoard.start()
        self._checkpoint = shared(task.checkpoint)
        self._reader = UnitReader(task.source, task.columns, shared(task.tokenizer), self.board)

    def wait_for_gpu(self, minutes: float | None) -> None:
        """Wait for the first GPU of a cluster that starts GPU nodes on demand. Logs one line."""
        wait_for_first_gpu(self._workers, minutes, log_waiting)

    def so_far(self) -> RunProgress:
        """The progress that workers reported to the board."""
        return self.board.so_far()

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """Run the checks on one worker."""
        sample = sampled(chosen, self._reader)
        self.stages()  # imports Ray Data while a worker reads the sample
        return preflighted(self._checkpoint, sample, checks=checks, workers=self._workers)

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit. Units that were committed before an error stay committed."""
        self.stages().label(units, max_batch_tokens=max_batch_tokens)

    def stages(self) -> Stages:
        """The stages of this task."""
        # Imported here, because Ray Data takes a second to load.
        from albert_infer.pipeline.stages import Stages

        task = self._task
        return Stages(self._reader, self._checkpoint, task.precision, task.output, self._workers, task.tokenizer.frame)
