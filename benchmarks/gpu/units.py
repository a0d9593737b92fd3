"""Steps on whole units: the share of the time in which the device waits for the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from albert_infer.classify.classification import Classifier
from benchmarks.devices import finish
from benchmarks.gpu import texts
from benchmarks.gpu.bench import DRY_PAIRS, UNIT_PAIRS, Bench
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.kernel_times import kernel_times

UNITS: Final = 4
MOST_IDLE: Final = 0.03


def unit(bench: Bench) -> Sequence[Figure]:
    """Units of real words through the classify step of a job, one after another, without Ray."""
    checkpoint = bench.checkpoint("base")
    prepared = texts.prepared(checkpoint, texts.unit_texts(DRY_PAIRS if bench.dry else UNIT_PAIRS))
    classifier = Classifier.load(
        checkpoint, precision=bench.half, device=bench.device, max_batch_tokens=bench.budget(checkpoint.shape)
    )
    classifier.classified(prepared)
    finish(bench.device)
    began = time.perf_counter()
    for _ in range(UNITS):
        classifier.classified(prepared)
    seconds = (time.perf_counter() - began) / UNITS
    computed = kernel_times(lambda: classifier.classified(prepared), bench.device).total / 1e3
    return [
        Figure("a unit", 1e3 * seconds, "ms"),
        Figure("the device computes", 1e3 * computed, "ms"),
        Figure("share of the time in which the device is idle", 1 - computed / seconds, most=MOST_IDLE, on_card=True),
        Figure("speed from tokens to labels", prepared.num_rows / seconds, "pairs/s"),
    ]
