"""Asking a worker of the GPU pool what card it has, before a run is planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import ray

from albert_infer.engine.cards import Card
from albert_infer.pipeline.exits import limit_exit
from albert_infer.pipeline.stage_errors import own_errors

# A worker process starts and torch loads well within this. Only a longer wait is worth a line.
SECONDS_BEFORE_LOGGING: Final = 60.0


def card_of_worker(num_gpus: float, log: Callable[[str], None]) -> Card:
    """The card that a worker with `num_gpus` has; one line of `log` if no GPU is free for a while.

    Raises InfrastructureError if the workers that look die.
    """
    # A worker that held a GPU ends, and gives its memory back.
    task = ray.remote(num_cpus=0, num_gpus=num_gpus, max_calls=1, max_retries=2)(_card_here)
    with own_errors("asking a worker about its GPU"):
        asked = task.remote()
        ready, _ = ray.wait([asked], timeout=SECONDS_BEFORE_LOGGING)
        if not ready:
            log("waiting for a GPU that is free")
        card: Card = ray.get(asked)
    return card


def _card_here() -> Card:
    limit_exit()
    # Imported here, because the driver has no use for torch.
    from albert_infer.engine.devices import card_here

    return card_here()
