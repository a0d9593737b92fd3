"""Waits for a GPU on a cluster that starts GPU nodes on demand."""

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

# A GPU that exists is reserved within this time. Only a longer wait is logged.
SECONDS_BEFORE_LOGGING: Final = 2.0


def wait_for_first_gpu(workers: WorkerResources, minutes: float | None, log: Callable[[str], None]) -> None:
    """Return when the cluster has room for one classify actor and a read task. Logs one line if this takes a while.

    Does not wait if `minutes` is None. Raises InfrastructureError after `minutes`.
    """
    if minutes is None:
        return
    # An autoscaler starts nodes for a reservation that does not fit. The reservation is removed when it fits: then the
    # demand of the actors keeps the node, and a lost node does not break a reservation of the run.
    group = placement_group([{"CPU": 1, "memory": READ_TASK_MEMORY}, {"GPU": workers.num_gpus}])
    since = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
    try:
        if _ready(group.ready(), SECONDS_BEFORE_LOGGING):
            return
        log(f"waiting for the first GPU since {since}, at most {how_many(minutes, 'minute')}")
        if not _ready(group.ready(), minutes * 60 - SECONDS_BEFORE_LOGGING):
            remedy = (
                "check which nodes the cluster can start and run it again, or label on CPUs with --gpus-per-worker 0"
            )
            raise InfrastructureError(
                f"{how_many(workers.num_gpus, 'GPU')} within {how_many(minutes, 'minute')}",
                f"no GPU became available since {since}",
                remedy,
            )
    finally:
        remove_placement_group(group)


def _ready(reserved: ray.ObjectRef[object], seconds: float) -> bool:
    ready, _ = ray.wait([reserved], timeout=max(0.0, seconds))
    return bool(ready)
