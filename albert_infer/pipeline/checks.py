"""The checks before bulk work, on one worker of the cluster: a task that takes what a classify actor takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import ray

from albert_infer import agreement, preflight
from albert_infer.agreement import Agreement, ChosenRows
from albert_infer.model import Checkpoint
from albert_infer.pipeline.session import READ_TASK_MEMORY, own_error
from albert_infer.pipeline.stages import UnitReader
from albert_infer.preflight import Preflight
from albert_infer.resources import WorkerResources
from albert_infer.schema import TOKEN_FIELDS, VERDICT_FIELDS, Precision

Found = TypeVar("Found")


def preflighted(
    checkpoint: ray.ObjectRef[Checkpoint],
    *,
    max_length: int,
    precision: Precision,
    workers: WorkerResources,
    check: Callable[..., Preflight] = preflight.checked,
) -> Preflight:
    """`preflight.checked` where the classify actors will be. Raises AlbertInferError, also for a worker that dies."""
    told = {"max_length": max_length, "precision": precision}
    return _on_one_worker("checking the model on one worker", workers, check, checkpoint, told=told)


def agreement_on(
    chosen: Sequence[ChosenRows],
    reader: UnitReader,
    checkpoint: ray.ObjectRef[Checkpoint],
    *,
    precision: Precision,
    max_batch_tokens: int,
    workers: WorkerResources,
) -> Agreement | None:
    """`agreement.measured` on these rows, where the classify actors will be. Raises AlbertInferError.

    A unit that cannot be read, or kills its workers, gives no pair: labelling quarantines it. Each is read by a task of
    its own, and only the tokens of the chosen rows are kept.
    """
    # Without end, because the board counts what a unit kills, here and when it is labelled: at three it is let be.
    reading = ray.remote(num_cpus=1, memory=READ_TASK_MEMORY, max_retries=-1)(_prepared)
    prepared = [reading.remote(reader, rows) for rows in chosen]
    told = {"precision": precision, "max_batch_tokens": max_batch_tokens}
    asked = "comparing the precision with fp32 on one worker"
    return _on_one_worker(asked, workers, agreement.measured, checkpoint, *prepared, told=told)


def _prepared(reader: UnitReader, rows: ChosenRows) -> pa.Table:
    return reader.prepared(rows.unit, rows.rows_R).select([field.name for field in (*VERDICT_FIELDS, *TOKEN_FIELDS)])


def _on_one_worker(
    asked: str,
    workers: WorkerResources,
    work: Callable[..., Found],
    *references: ray.ObjectRef[Any],
    told: dict[str, Any],
) -> Found:
    """`work` with what the references stand for, what is `told`, and the worker's device and threads."""
    task = ray.remote(
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        # A worker that held a GPU ends, and gives its memory back; any other may become a classify actor.
        max_calls=1 if workers.num_gpus else 0,
        # A node may go and a message may be lost; what kills three workers would kill the fourth.
        max_retries=2,
    )(work)
    try:
        found: Found = ray.get(task.remote(*references, **told, device=workers.device, threads=workers.threads))
    except Exception as error:
        raise own_error(error, asked) from error
    return found
