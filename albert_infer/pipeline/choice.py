"""Chooses the executor of a start: Ray, or the job's own process for a run of one unit. Imports Ray only if needed."""

from __future__ import annotations

from albert_infer.config import LabelSettings
from albert_infer.output.inspection import has_unfinished_run
from albert_infer.pipeline.executor import Executor
from albert_infer.pipeline.inline import InlineExecutor, mark_of
from albert_infer.storage import Folder


def executor_for(settings: LabelSettings, units: int, output: Folder) -> Executor:
    """The executor of a start with this number of `units`: this process if it `needs_no_ray`, else Ray.

    A process that died during the checks is remembered until this call.
    """
    if needs_no_ray(settings, units, output):
        return InlineExecutor()
    mark_of(output).unlink(missing_ok=True)
    return on_ray()


def needs_no_ray(settings: LabelSettings, units: int, output: Folder) -> bool:
    """Whether this process labels as fast without Ray: it has one unit, and Ray would give that to one worker.

    False if someone asks for Ray: by `workers` or `gpu_wait_minutes`, by an open session, by RAY_ADDRESS, or by a
    cluster that runs on this machine. And if an earlier start at `output` did not end: the unit may end its process
    again, and Ray gives up a unit that ends three.
    """
    asks_for_workers = settings.workers is not None or settings.gpu_wait_minutes is not None
    if units > 1 or asks_for_workers or mark_of(output).exists() or has_unfinished_run(output):
        return False
    # Imported here, because it imports Ray.
    from albert_infer.pipeline.joining import is_ray_offered

    return not is_ray_offered()


def on_ray() -> Executor:
    """The executor on Ray. Imports Ray only here: the import takes seconds, and many errors are found before."""
    from albert_infer.pipeline.labelling import RayExecutor

    return RayExecutor()
