"""Chooses the executor of a start: Ray, or the job's own process for a small run. Imports Ray only if needed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from albert_infer.config import LabelSettings, ray_address
from albert_infer.engine.processor import cpus_here
from albert_infer.output.inspection import has_dead_run
from albert_infer.pipeline.executor import Executor
from albert_infer.pipeline.inline import InlineExecutor, mark_of
from albert_infer.pipeline.resources import MAX_DEFAULT_CPUS_PER_WORKER
from albert_infer.read.planning import fits_one_unit, has_one_unit
from albert_infer.read.survey import Survey
from albert_infer.storage import Folder

# With more CPUs, Ray starts a second worker.
MOST_CPUS_OF_ONE_WORKER: Final = 2 * MAX_DEFAULT_CPUS_PER_WORKER


def executor_for(settings: LabelSettings, survey: Survey, output: Folder) -> Executor:
    """The executor of a start with this input: this process if it `needs_no_ray`, else Ray.

    The mark of a process that was killed counts until this call.
    """
    if needs_no_ray(settings, survey, output):
        return InlineExecutor()
    with suppress(OSError):
        mark_of(output).unlink()
    return on_ray()


def needs_no_ray(settings: LabelSettings, survey: Survey, output: Folder, cpus: int | None = None) -> bool:
    """Whether Ray would give the whole input to one worker, so that this process labels it sooner.

    The input is one unit, or it has no more pairs than one unit and this machine is small. False if someone asks for
    Ray: by the number or the CPUs of the workers, by `gpu_wait_minutes`, by an open session, by RAY_ADDRESS, or by a
    cluster that runs on this machine. And if a process was killed here: a unit may kill its process again, and Ray
    gives up a unit that kills three workers. `cpus` are those of this machine.
    """
    if not has_one_unit(survey, settings):
        is_shared = settings.cpus_per_worker is not None or (cpus or cpus_here()) > MOST_CPUS_OF_ONE_WORKER
        if is_shared or not fits_one_unit(survey, settings):
            return False
    if settings.workers is not None or settings.gpu_wait_minutes is not None:
        return False
    return not (_is_ray_offered() or mark_of(output).exists() or has_dead_run(output))


def _is_ray_offered() -> bool:
    # A process that has not imported Ray has no session.
    ray = sys.modules.get("ray")
    return (ray is not None and ray.is_initialized()) or ray_address() is not None or cluster_file().exists()


def cluster_file() -> Path:
    """The file that `ray start` writes. `ray._common.utils.get_ray_address_file` says the same, and imports Ray."""
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108  (as Ray has it)
    return Path(folder, "ray", "ray_current_cluster")


def on_ray() -> Executor:
    """The executor on Ray. Imports Ray only here: the import takes seconds, and many errors are found before."""
    from albert_infer.pipeline.labelling import RayExecutor

    return RayExecutor()
