"""Waiting for a GPU on a cluster that starts its GPU nodes on demand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from albert_infer.common.printable import how_many
from albert_infer.errors import InfrastructureError
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.session import READ_TASK_MEMORY

# What is there already is reserved well within this; only a longer wait is worth a line.
SECONDS_BEFORE_TELLING: Final = 2.0


def wait_for_first_gpu(workers: WorkerResources, minutes: float | None, tell: Callable[[str], None]) -> None:
    """Return once one classify actor and a read task find room, after one line of `tell` if that takes a while.

    Does not wait without `minutes`, and raises InfrastructureError after them.
    """
    if minutes is None:
        return
    # A reservation that cannot be met is what makes an autoscaler start nodes. It is given back at once, because the
    # actors' own demand keeps the node, and a reservation held for the run would end with it if it were lost.
    group = placement_group([{"CPU": 1, "memory": READ_TASK_MEMORY}, {"GPU": workers.num_gpus}])
    since = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
    try:
        if _ready(group.ready(), SECONDS_BEFORE_TELLING):
            return
        tell(f"waiting for the first GPU since {since}, at most {how_many(minutes, 'minute')}")
        if not _ready(group.ready(), minutes * 60 - SECONDS_BEFORE_TELLING):
            found = f"none has come since {since}"
            remedy = "look at what the cluster can start and run it again, or label on CPUs with --gpus-per-worker 0"
            raise InfrastructureError(
                f"{how_many(workers.num_gpus, 'GPU')} within {how_many(minutes, 'minute')}", found, remedy
            )
    finally:
        remove_placement_group(group)


def _ready(reserved: ray.ObjectRef[object], seconds: float) -> bool:
    done, _ = ray.wait([reserved], timeout=max(0.0, seconds))
    return bool(done)
