"""The run's board: a small Ray actor. Workers report their progress to it, and each unit that they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from albert_infer import storage
from albert_infer.engine.kernel_use import KernelUse
from albert_infer.pipeline.attempts import AttemptCounts
from albert_infer.pipeline.exits import limit_exit
from albert_infer.pipeline.progress import ProgressCounts, RunProgress, UnitProgress
from albert_infer.schema import DeviceKind

SECONDS_FOR_LAST_WORDS: Final = 5.0


def started(counts: type) -> Any:
    """Start an actor of the class `counts` on the driver's node. It reserves no CPU, so readers get the last one."""
    on_driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(counts)
    # Ray repeats a call whose reply is lost, and restarts a dead board with empty counts. Neither ends the run.
    retries = {"max_restarts": -1, "max_task_retries": -1}
    return actor.options(num_cpus=0, scheduling_strategy=on_driver_node, **retries).remote()


@dataclass(frozen=True)
class RunBoard:
    """A handle of the board, for any process. The board lives as long as one start of a run."""

    actor: Any

    @classmethod
    def start(cls) -> RunBoard:
        """A new, empty board."""
        return cls(started(_board_class()))

    def report_progress(self, unit_id: str, progress: UnitProgress, actor: str) -> None:
        """Report the progress of a unit, and its actor. Does not wait."""
        self.actor.report_progress.remote(unit_id, progress, actor)

    def report_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """Report that a unit is durable, and its rejected rows by reason. Does not wait."""
        self.actor.report_committed.remote(unit_id, dict(rejected))

    def report_device(self, device: DeviceKind, kernels: KernelUse) -> None:
        """Report the device of a worker, and its kernels. Does not wait."""
        self.actor.report_device.remote(device, kernels)

    def report_lost_device(self, line: str) -> None:
        """Report a worker that ends because its GPU is lost. Waits a moment, because its process ends next."""
        ray.wait([self.actor.report_lost_device.remote(line)], timeout=SECONDS_FOR_LAST_WORDS)

    def so_far(self) -> RunProgress:
        """The progress that workers reported so far."""
        progress: RunProgress = ray.get(self.actor.so_far.remote())
        return progress

    def is_suspected(self, step: str, unit_id: str) -> bool:
        """Whether the unit may have taken a worker with it in this `step`."""
        suspected: bool = ray.get(self.actor.is_suspected.remote(f"{step} {unit_id}"))
        return suspected

    @contextmanager
    def attempt(self, step: str, unit_id: str) -> Iterator[bool]:
        """Count the block as one attempt at a unit. Yields False if the unit kills workers in `step`: skip it then.

        Waits for the board before the block runs, so an attempt is counted even if the worker dies at once.
        """
        work, attempt_id, s3_retries = f"{step} {unit_id}", uuid4().hex, storage.s3_retries()
        limit_exit()
        node_id = ray.get_runtime_context().get_node_id()
        healthy: bool = ray.get(self.actor.begin.remote(work, attempt_id, node_id))
        try:
            yield healthy
        finally:
            # A process that sends requests works on one unit at a time, so all S3 retries since the start are of this
            # attempt.
            if retries := storage.s3_retries() - s3_retries:
                self.actor.report_s3_retries.remote(attempt_id, retries)
            if healthy:
                ray.get(self.actor.end.remote(work, attempt_id))


def _board_class() -> type:
    """The actor class of the board. A class that is defined in a function is sent by value.

    If Ray sent its name, the board's process would import this package and Ray Data: half a second, and 80 MB.
    """

    class _Board(ProgressCounts, AttemptCounts):
        """Both counts in one process, to save memory."""

        def __init__(self) -> None:
            limit_exit()
            ProgressCounts.__init__(self)
            AttemptCounts.__init__(self, alive_nodes)

    def alive_nodes() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    return _Board
