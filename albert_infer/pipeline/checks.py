"""The checks before bulk work, on one worker of the cluster: a task that takes what a classify actor takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray

from albert_infer.model.checkpoint import Checkpoint
from albert_infer.pipeline.reader import UnitReader
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.session import READ_TASK_MEMORY, stage_error
from albert_infer.preflight.checks import Checks, Preflight, checked
from albert_infer.preflight.sample import ChosenRows, SampledUnit


def sampled(chosen: Sequence[ChosenRows], reader: UnitReader) -> list[ray.ObjectRef[SampledUnit]]:
    """The chosen rows, those of each unit by a task of its own."""
    # Without end, because the board counts what a unit kills, here and when it is labelled: at three it is let be.
    reading = ray.remote(num_cpus=1, memory=READ_TASK_MEMORY, max_retries=-1)(UnitReader.sampled)
    # Begun in the order of the files, in which a worker reads fastest.
    places = sorted(range(len(chosen)), key=lambda place: _place_in_input(chosen[place]))
    tasks = {place: reading.remote(reader, chosen[place]) for place in places}
    return [tasks[place] for place in range(len(chosen))]


def _place_in_input(rows: ChosenRows) -> tuple[str, int]:
    return rows.unit.pin.name, rows.unit.range.first_row


def preflighted(
    checkpoint: ray.ObjectRef[Checkpoint],
    sample: Sequence[ray.ObjectRef[SampledUnit]],
    *,
    checks: Checks,
    workers: WorkerResources,
    check: Callable[..., Preflight] = checked,
) -> Preflight:
    """`preflight.checked` where the classify actors will be. Raises AlbertInferError, also for a worker that dies."""
    task = ray.remote(
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        # A worker that held a GPU ends, and gives its memory back; any other may become a classify actor.
        max_calls=1 if workers.num_gpus else 0,
        # A node may go and a message may be lost; what kills three workers would kill the fourth.
        max_retries=2,
    )(check)
    try:
        found: Preflight = ray.get(
            # The sample as arguments: the task begins when they are there. If it waited, it could hold the last CPU.
            task.remote(checkpoint, *sample, checks=checks, device=workers.device, threads=workers.threads)
        )
    except Exception as error:
        raise stage_error(error, "checking the model on one worker") from error
    return found
