"""Runs units in this process, one after another, without Ray. For small runs, the Python API and tests.

Writes objects with the same bytes as `RayExecutor`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from albert_infer.engine.cards import Card
from albert_infer.engine.processor import cpus_here
from albert_infer.errors import InfrastructureError
from albert_infer.output.commit import commit_unit
from albert_infer.pipeline.loading import classifier_of_worker
from albert_infer.pipeline.metrics import Declared, Record
from albert_infer.pipeline.progress import ProgressCounts, log_step
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.pipeline.stage_errors import own_errors
from albert_infer.pipeline.unit import LabelTask, classified_unit, prepared_unit, sampled_unit, source_of
from albert_infer.preflight.checks import Checks, Preflight, checked
from albert_infer.preflight.sample import ChosenRows
from albert_infer.read.decoding import PairReader
from albert_infer.read.planning import Unit
from albert_infer.schema import ExecutorKind
from albert_infer.storage import Folder


class InlineExecutor:
    """Runs a task in this process, on its first GPU or on its processor."""

    kind = ExecutorKind.PROCESS
    first_step = "loading the model"

    @contextmanager
    def session(self, *, debug: bool) -> Iterator[Sequence[Node]]:
        """Yield this machine alone; `debug` changes nothing."""
        del debug
        from albert_infer.engine.devices import gpus_here

        yield [Node(cpus=cpus_here(), gpus=gpus_here())]

    def recorder(self, declared: Declared) -> Record:
        """A function that does nothing: metrics are exported through Ray only."""
        del declared
        return lambda value, tags: None

    def card(self, workers: WorkerResources, gpu_wait_minutes: float | None) -> Card:
        """The card of this process. Raises InfrastructureError where a GPU is waited for: none comes to a process."""
        from albert_infer.engine.devices import card_here

        _refuse_waiting(workers, gpu_wait_minutes)
        return card_here()

    def begin(self, task: LabelTask, workers: WorkerResources) -> InlineLabelling:
        """Begin a task. This process is its only worker."""
        log_step("in this process, without Ray")
        return InlineLabelling(task, workers)


class InlineLabelling:
    """One task, in this process."""

    def __init__(self, task: LabelTask, workers: WorkerResources) -> None:
        self._task = task
        self._workers = workers
        self._reader = PairReader(task.source, task.columns)
        self._board = ProgressCounts()
        self.so_far = self._board.so_far

    def wait_for_gpu(self, minutes: float | None) -> None:
        """Return at once. Raises InfrastructureError if the task needs a GPU and this machine has none."""
        _refuse_waiting(self._workers, minutes)

    def preflight(self, chosen: Sequence[ChosenRows], checks: Checks) -> Preflight:
        """Run the checks in this process."""
        workers = self._workers
        with own_errors("checking the model"), marked(self._task.output):
            sample = [sampled_unit(rows, self._reader, self._task.tokenizer) for rows in chosen]
            return checked(
                self._task.checkpoint,
                *sample,
                checks=checks,
                device=workers.device,
                threads=workers.threads,
                allow_cpu=workers.allow_cpu,
            )

    def label(self, units: Sequence[Unit], *, max_batch_tokens: int) -> None:
        """Label and commit every unit, in order."""
        with own_errors("labelling the units"), marked(self._task.output):
            self._label(units, max_batch_tokens)

    def _label(self, units: Sequence[Unit], max_batch_tokens: int) -> None:
        task = self._task
        classifier, device = classifier_of_worker(
            task.checkpoint,
            task.precision,
            self._workers,
            max_batch_tokens=max_batch_tokens,
            columns=task.columns,
            frame=task.tokenizer.frame,
        )
        self._board.report_device(device, classifier.engine.kernels)
        for unit in units:
            prepared = prepared_unit(unit, self._reader, task.tokenizer)
            labelled = classified_unit(prepared, classifier, self._board)
            summary = commit_unit(task.output, unit.unit_id, source_of(unit, task.source), labelled, task.columns)
            self._board.report_committed(unit.unit_id, summary.rejected if summary else {})


def mark_of(output: Folder) -> Path:
    """The file that a process leaves behind which was killed while it checked or labelled for this output.

    It is on this machine, because a run whose checks refuse it writes nothing to its output.
    """
    digest = hashlib.sha256(output.uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"albert-infer-{os.geteuid()}-{digest}.checking")


@contextmanager
def marked(output: Folder) -> Iterator[None]:
    """Keep the mark during the block. Where no file can be made, the block runs without one."""
    mark = mark_of(output)
    with suppress(OSError):
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _refuse_waiting(workers: WorkerResources, minutes: float | None) -> None:
    # Imported here, because torch takes seconds to load.
    from albert_infer.engine.devices import gpus_here

    if minutes is not None and workers.num_gpus and not gpus_here():
        remedy = "label on Ray, whose clusters may grow, or on the CPU with --gpus-per-worker 0"
        raise InfrastructureError("a GPU in this process", "torch finds no CUDA device here", remedy)
