"""What runs the units of a run: `RayExecutor` of `labelling`, or `InlineExecutor` of `inline`. Imports no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from albert_infer.pipeline.metrics import Declared, Record
from albert_infer.pipeline.progress import RunProgress
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.unit import LabelTask
from albert_infer.preflight.checks import Checks, Preflight
from albert_infer.preflight.sample import ChosenRows
from albert_infer.read.planning import Unit


class Labelling(Protocol):
    """The workers of one task. Each method may raise AlbertInferError."""

    def wait_for_gpu(self, minutes: float | None) -> None:
        """Return once there is a GPU, if the task needs one; do not wait without `minutes`."""

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """Run the checks where the units will be classified, on the chosen rows and on pairs of the package."""

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit. Units that were committed before an error stay committed."""

    def so_far(self) -> RunProgress:
        """How far the units are."""


class Executor(Protocol):
    """Where units are read, classified and committed."""

    def session(self, *, debug: bool) -> AbstractContextManager[Sequence[Node]]:
        """Open until the last task is done; the machines there. Raises InfrastructureError."""

    def recorder(self, declared: Declared) -> Record:
        """What exports the values of a metric."""

    def begin(self, task: LabelTask, workers: WorkerResources) -> Labelling:
        """Begin a task. Nothing is read or classified yet."""


def on_ray() -> Executor:
    """The executor of the jobs. Ray is imported here, because that takes seconds and a start may be refused before."""
    from albert_infer.pipeline.labelling import RayExecutor

    return RayExecutor()
