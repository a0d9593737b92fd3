"""One unit is prepared and another finished while the device computes a third, and no byte of a label changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pairs import numbered_pairs

from albert_infer.classify import classification
from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import Classifier
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.memory import MicroBatchLogits
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.prepare.tokenization import append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import DeviceKind, EncodedPairs, NliLabel, Precision

pytestmark = pytest.mark.usefixtures("one_thread")


def units(count: int, *, long_premise: str = "truncate") -> list[pa.Table]:
    """Prepared units of the built-in checkpoint, each with texts of its own."""
    tokenizer = load_checkpoint("builtin").tokenizer(max_length=24, long_premise=long_premise)  # type: ignore[arg-type]
    return [
        append_tokens(mark_rejected(numbered_pairs(20 + number, start=100 * number)), tokenizer)
        for number in range(count)
    ]


@pytest.mark.computes
@pytest.mark.parametrize("long_premise", ["truncate", "window"])
def test_units_at_the_same_time_have_the_bytes_of_units_one_after_the_other(long_premise: str) -> None:
    classifier = Classifier.load(
        load_checkpoint("builtin"), precision=Precision.FP32, device=DeviceKind.CPU, max_batch_tokens=100
    )
    prepared = units(9, long_premise=long_premise)
    expected = [classifier.classified(unit) for unit in prepared]
    with ThreadPoolExecutor(3) as pool:
        for labelled, alone in zip(pool.map(classifier.classified, prepared), expected, strict=True):
            assert labelled.equals(alone)


class SlowEngine:
    """Computes for one unit at a time, and for the first only once another unit is prepared."""

    precision = Precision.FP32

    def __init__(self, prepared: Event) -> None:
        self._prepared = prepared
        self._busy = Lock()

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """Zeros."""
        del pairs
        assert self._busy.acquire(blocking=False), "two units are on the device"
        assert self._prepared.wait(10), "no other unit was prepared meanwhile"
        for rows in batches:
            yield MicroBatchLogits(rows, np.zeros((len(rows), 3), np.float32), np.ones(len(rows), np.bool_), False)
        self._busy.release()

    def fp32_micro_batch_logits(self, *_: object) -> Iterator[MicroBatchLogits]:
        """Nothing: all logits are finite."""
        return iter(())


def test_the_next_unit_is_prepared_while_the_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    second, calls = Event(), []

    def counted_micro_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
        calls.append(len(lengths))
        if len(calls) == 2:
            second.set()
        return micro_batches(lengths, budget)

    monkeypatch.setattr(classification, "micro_batches", counted_micro_batches)
    engine: AlbertEngine = SlowEngine(second)  # type: ignore[assignment]
    classifier = Classifier(engine, list(NliLabel), max_batch_tokens=50)
    with ThreadPoolExecutor(2) as pool:
        labelled = list(pool.map(classifier.classified, units(2)))
    assert [table.num_rows for table in labelled] == [20, 21]
