"""The share of the time in which the device computes, for whole units as a labelling actor has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from albert_infer.classify.classification import Classifier, default_batch_tokens
from albert_infer.engine.devices import card_of
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.prepare.tokenization import append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import ComputedBatch, DeviceKind, Precision
from benchmarks.devices import obstacle

# Enough that the first preparation and the last finish, which overlap with nothing, are a small part.
UNITS: Final = 6
# The calls that an actor runs at the same time.
AT_ONCE: Final = 2
# What `auto` prefers, by the device.
PREFERRED: Final = (Precision.BF16, Precision.FP16, Precision.FP32)


@dataclass(frozen=True)
class Busy:
    """Units of one shape, classified as an actor does; `device_busy_share` of the time the device computed."""

    shape: str
    precision: str
    units: int
    pairs: int
    pairs_per_second: float
    device_busy_share: float

    def to_text(self) -> str:
        """One line."""
        return (
            f"{self.units} whole units of {self.pairs:,} pairs, {self.shape}, {self.precision}: "
            f"{self.pairs_per_second:,.0f} pairs/s, the device computes {self.device_busy_share:.1%} of the time"
        )


def measured(model: Path, pairs: pa.Table, device: DeviceKind, units: int = UNITS) -> Busy:
    """Classify the pairs as `units` units, of which two are in the works at the same time."""
    precision = next(each for each in PREFERRED if not obstacle(device, each))
    checkpoint = load_checkpoint(str(model))
    budget = default_batch_tokens(device, checkpoint.shape, card_of(device))
    classifier = Classifier.load(checkpoint, precision=precision, device=device, max_batch_tokens=budget)
    unit = append_tokens(mark_rejected(pairs), checkpoint.tokenizer(max_length=None))
    classifier.classified(unit.slice(0, 1024))  # the first passes load code
    seconds, device_seconds = _timed(classifier, [unit] * units)
    return Busy(
        shape=model.name,
        precision=precision,
        units=units,
        pairs=unit.num_rows,
        pairs_per_second=units * unit.num_rows / seconds,
        device_busy_share=min(1.0, device_seconds / seconds),
    )


def _timed(classifier: Classifier, units: Sequence[pa.Table]) -> tuple[float, float]:
    """The seconds of all units, and those in which the device computed."""
    parts: list[float] = []

    def listen(batch: ComputedBatch) -> None:
        parts.append(batch.seconds)

    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda unit: classifier.classified(unit, listen), units):
            pass
    return time.monotonic() - begun, sum(parts)
