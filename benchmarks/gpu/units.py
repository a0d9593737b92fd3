"""Steps on whole units: the share of the time in which the device waits for the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import Classifier
from albert_infer.prepare import tokenization
from benchmarks.devices import finish
from benchmarks.gpu import texts
from benchmarks.gpu.bench import DRY_PAIRS, UNIT_PAIRS, Bench, seconds_of
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.kernel_times import kernel_times

UNITS: Final = 6
# Calls of a classify actor at a time: the host prepares one unit while the device computes another.
CALLS: Final = 2
MOST_IDLE: Final = 0.03


def unit(bench: Bench) -> Sequence[Figure]:
    """Units of real words through the classify step of a job, without Ray: one at a time, and two at a time."""
    checkpoint = bench.checkpoint("base")
    prepared = texts.prepared(checkpoint, texts.unit_texts(DRY_PAIRS if bench.dry else UNIT_PAIRS))
    classifier = Classifier.load(
        checkpoint, precision=bench.half, device=bench.device, max_batch_tokens=bench.budget(checkpoint.shape)
    )
    computed, source = _computing_seconds(bench, classifier, prepared)
    alone, together = (_unit_seconds(bench, classifier, prepared, calls) for calls in (1, CALLS))
    idle = "share of the time in which the device is idle"
    return [
        Figure(f"the device computes, by {source}", 1e3 * computed, "ms"),
        Figure("a unit, one at a time", 1e3 * alone, "ms"),
        Figure(idle, 1 - computed / alone),
        Figure(f"a unit, {CALLS} at a time as in a job", 1e3 * together, "ms"),
        Figure(idle, 1 - computed / together, most=MOST_IDLE, on_card=True),
        Figure("speed from tokens to labels", prepared.num_rows / together, "pairs/s"),
    ]


def _unit_seconds(bench: Bench, classifier: Classifier, prepared: pa.Table, calls: int) -> float:
    """Seconds of a unit, where `calls` units are classified at a time."""
    with ThreadPoolExecutor(calls) as threads:
        list(threads.map(classifier.classified, [prepared] * calls))
        finish(bench.device)
        began = time.perf_counter()
        list(threads.map(classifier.classified, [prepared] * UNITS))
        return (time.perf_counter() - began) / UNITS


def _computing_seconds(bench: Bench, classifier: Classifier, prepared: pa.Table) -> tuple[float, str]:
    """Seconds of a unit in which the device computes, and what says so.

    Where torch's profiler sees no kernels it is the time of the engine alone, gaps between its kernels included.
    """
    computed = kernel_times(lambda: classifier.classified(prepared), bench.device).total / 1e3
    if computed:
        return computed, "the profiler"
    encoded = tokenization.encoded_pairs(prepared)
    batches = micro_batches(encoded.lengths, bench.budget(bench.checkpoint("base").shape))
    return seconds_of(lambda: classifier.engine.logits(encoded, batches), bench.device, 2), "the engine alone"
