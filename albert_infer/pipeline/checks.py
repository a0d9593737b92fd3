"""The checks before bulk work, as a task on one worker. The task reserves the same resources as a classify actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray

from albert_infer.model.checkpoint import Checkpoint
from albert_infer.pipeline.exits import limit_exit
from albert_infer.pipeline.reader import UnitReader
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.session import READ_TASK_MEMORY
from albert_infer.pipeline.stage_errors import own_errors
from albert_infer.preflight.checks import Checks, Preflight, checked
from albert_infer.preflight.sample import ChosenRows, SampledUnit


def sampled(chosen: Sequence[ChosenRows], reader: UnitReader) -> list[ray.ObjectRef[SampledUnit]]:
    """Read the chosen rows. Each unit has its own task; the order is that of `chosen`."""
    # Ray retries without a limit. The board counts the dead workers of a unit, and the unit is skipped after three.
    reading = ray.remote(num_cpus=1, memory=READ_TASK_MEMORY, max_retries=-1)(UnitReader.sampled)
    # Workers read fastest in the order of the files.
    indices = sorted(range(len(chosen)), key=lambda index: _position_in_input(chosen[index]))
    tasks = {index: reading.remote(reader, chosen[index]) for index in indices}
    return [tasks[index] for index in range(len(chosen))]


def _position_in_input(rows: ChosenRows) -> tuple[str, int]:
    return rows.unit.pin.name, rows.unit.range.first_row


def preflighted(
    checkpoint: ray.ObjectRef[Checkpoint],
    sample: Sequence[ray.ObjectRef[SampledUnit]],
    *,
    checks: Checks,
    workers: WorkerResources,
    check: Callable[..., Preflight] = checked,
) -> Preflight:
    """Run `preflight.checked` on a worker. Raises AlbertInferError, also if the worker dies."""
    task = ray.remote(
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        # A worker with a GPU ends after the task, to free GPU memory. Another worker may become a classify actor.
        max_calls=1 if workers.num_gpus else 0,
        # Nodes and messages may be lost. But checks that killed three workers would kill a fourth.
        max_retries=2,
    )(_checked_on_worker)
    with own_errors("checking the model on one worker"):
        preflight: Preflight = ray.get(
            # Ray starts the task when its arguments exist. A task that waits for its sample could hold the last CPU.
            task.remote(
                check,
                checkpoint,
                *sample,
                checks=checks,
                device=workers.device,
                threads=workers.threads,
                allow_cpu=workers.allow_cpu,
            )
        )
    return preflight


def _checked_on_worker(check: Callable[..., Preflight], *arguments: object, **how: object) -> Preflight:
    limit_exit()
    return check(*arguments, **how)
