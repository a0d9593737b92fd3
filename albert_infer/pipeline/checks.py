"""The preflight on one worker of the cluster: a task that takes what a classify actor takes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import ray

from albert_infer import preflight
from albert_infer.model import Checkpoint
from albert_infer.pipeline.session import own_error
from albert_infer.preflight import Preflight
from albert_infer.resources import WorkerResources
from albert_infer.schema import Precision


def preflighted(
    checkpoint: ray.ObjectRef[Checkpoint],
    *,
    max_length: int,
    precision: Precision,
    workers: WorkerResources,
    check: Callable[..., Preflight] = preflight.checked,
) -> Preflight:
    """`preflight.checked` where the classify actors will be. Raises AlbertInferError, also for a worker that dies."""
    task = ray.remote(
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        # A worker that held a GPU ends, and gives its memory back; any other may become a classify actor.
        max_calls=1 if workers.num_gpus else 0,
        # A node may go and a message may be lost; what kills three workers would kill the fourth.
        max_retries=2,
    )(_in_a_thread)
    told = {"max_length": max_length, "precision": precision, "device": workers.device, "threads": workers.threads}
    try:
        return ray.get(task.remote(check, checkpoint, told))
    except Exception as error:
        raise own_error(error, "checking the model on one worker") from error


def _in_a_thread(check: Callable[..., Preflight], checkpoint: Checkpoint, told: dict[str, object]) -> Preflight:
    # The thread's OpenMP team ends with it; one that stayed would slow down the actor that this worker may become.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(check, checkpoint, **told).result()
