"""The run's board: one small Ray actor that the workers tell how far they are, and which unit they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from albert_infer import storage
from albert_infer.pipeline.attempts import AttemptCounts
from albert_infer.pipeline.progress import ProgressCounts, RunProgress, UnitProgress
from albert_infer.schema import DeviceKind


def started(counts: type) -> Any:
    """An actor of the class `counts`. It takes no CPU, or it could take the last one; it lives on the driver's node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(counts)
    # A call whose reply is lost is made again, and a board that dies starts empty: neither ends a night.
    lasting = {"max_restarts": -1, "max_task_retries": -1}
    return actor.options(num_cpus=0, scheduling_strategy=here, **lasting).remote()


@dataclass(frozen=True)
class RunBoard:
    """A handle of the board that may travel to any process; the board lives as long as one start of a run."""

    actor: Any

    @classmethod
    def start(cls) -> RunBoard:
        """A new, empty board."""
        return cls(started(_told()))

    def tell(self, unit_id: str, done: UnitProgress, actor: str) -> None:
        """Say how far a unit is, and with which actor; does not wait."""
        self.actor.tell.remote(unit_id, done, actor)

    def tell_committed(self, unit_id: str, rejected: Mapping[str, int]) -> None:
        """Say that a unit is durable, and which of its rows have no label; does not wait."""
        self.actor.tell_committed.remote(unit_id, dict(rejected))

    def tell_device(self, device: DeviceKind) -> None:
        """Say which device a worker uses; does not wait."""
        self.actor.tell_device.remote(device)

    def so_far(self) -> RunProgress:
        """What was told until now."""
        told: RunProgress = ray.get(self.actor.so_far.remote())
        return told

    @contextmanager
    def attempt(self, step: str, unit_id: str) -> Iterator[bool]:
        """Work on a unit inside this; False says that the unit is poison for `step` and must not be touched.

        Waits for the board, so that a worker that dies in the next moment has been counted.
        """
        attempted, attempt_id, s3_retries = f"{step} {unit_id}", uuid4().hex, storage.s3_retries()
        node_id = ray.get_runtime_context().get_node_id()
        healthy: bool = ray.get(self.actor.begin.remote(attempted, attempt_id, node_id))
        try:
            yield healthy
        finally:
            # A process works on one unit at a time: what was sent again meanwhile was for this one.
            if more := storage.s3_retries() - s3_retries:
                self.actor.tell_s3_retries.remote(attempt_id, more)
            if healthy:
                ray.get(self.actor.end.remote(attempted, attempt_id))


def _told() -> type:
    """The class of what the board's process holds; made in here, so that Ray sends it by value.

    By its name that process would import this package, and with it Ray Data: half a second and 80 MB, for some counts.
    """

    class _Told(ProgressCounts, AttemptCounts):
        """Both counts, since a process of its own for each would cost memory."""

        def __init__(self) -> None:
            ProgressCounts.__init__(self)
            AttemptCounts.__init__(self, alive_nodes)

    def alive_nodes() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    return _Told
