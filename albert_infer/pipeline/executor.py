"""The interface that runs units: `labelling` has `RayExecutor`, `inline` has `InlineExecutor`. Imports no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from albert_infer.engine.cards import Card
from albert_infer.pipeline.metrics import Declared, Record
from albert_infer.pipeline.progress import RunProgress
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.unit import LabelTask
from albert_infer.preflight.checks import Checks, Preflight
from albert_infer.preflight.sample import ChosenRows
from albert_infer.read.planning import Unit
from albert_infer.schema import ExecutorKind


class Labelling(Protocol):
    """The workers of one task. Each method may raise AlbertInferError."""

    def wait_for_gpu(self, minutes: float | None) -> None:
        """Return when a GPU is available, or at once if the task needs none or `minutes` is None."""

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """Run the checks on a worker, with the chosen rows and with pairs of the package."""

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit. Units that were committed before an error stay committed."""

    def so_far(self) -> RunProgress:
        """The progress of the units."""


class Executor(Protocol):
    """Where units are read, classified and committed.

    `first_step` is what it does between the checks and the first label, for the progress line.
    """

    kind: ExecutorKind
    first_step: str

    def session(self, *, debug: bool) -> AbstractContextManager[Sequence[Node]]:
        """Open a session for all tasks of a start. Yields its machines. Raises InfrastructureError."""

    def recorder(self, declared: Declared) -> Record:
        """A function that exports values of a metric."""

    def card(self, workers: WorkerResources, gpu_wait_minutes: float | None) -> Card:
        """The card of a worker of the GPU pool; waits as `Labelling.wait_for_gpu`. Raises InfrastructureError."""

    def begin(self, task: LabelTask, workers: WorkerResources) -> Labelling:
        """Begin a task. Reads and classifies nothing yet."""
