"""Encoded pairs to labelled pairs.

Arrow in, Arrow out. Knows nothing of files or of Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer import tokenization
from albert_infer.batching import micro_batches
from albert_infer.calibration import UNCALIBRATED
from albert_infer.engine import AlbertShape
from albert_infer.model import Checkpoint
from albert_infer.schema import (
    INPUT_IDS,
    LABEL,
    N_TOKENS,
    NEEDS_REVIEW,
    PREMISE_TOKENS,
    PROBABILITIES,
    REJECTION,
    TRUNCATED,
    DeviceKind,
    EncodedPairs,
    NliLabel,
    Precision,
    Rejection,
)

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine

# Told after each micro-batch: the lengths of its rows and of those alike, and whether it was halved for want of memory.
Listener = Callable[[NDArray[np.int64], bool], None]


CPU_BATCH_TOKENS: Final = 512
# Enough for products at a card's full rate, and for launches to take a small part of the time.
GPU_BATCH_TOKENS: Final = 32_768
# A small part of any card's memory, because the allocator keeps several passes' worth.
GPU_ACTIVATION_BYTES: Final = 1 << 30


def ignore_progress(lengths: NDArray[np.int64], halved: bool) -> None:
    """The listener of a caller who does not want to know."""


def default_batch_tokens(device: DeviceKind, shape: AlbertShape) -> int:
    """Tokens of a forward pass: as many as one core's cache holds the activations of, or as fill a GPU.

    On a GPU fewer for wide shapes, whatever its memory, so that the plan does not depend on the card.
    """
    if device is DeviceKind.CPU:
        return CPU_BATCH_TOKENS
    # In bf16: query, key, value, context, residual and a product or two, and two of the feed-forward's width.
    bytes_per_token = 2 * (8 * shape.hidden_size + 2 * shape.intermediate_size)
    return min(GPU_BATCH_TOKENS, GPU_ACTIVATION_BYTES // bytes_per_token)


class Classifier:
    """A checkpoint on a device: encoded pairs in, labelled pairs out. `label_order` names the engine's outputs."""

    def __init__(
        self,
        engine: AlbertEngine,
        label_order: Sequence[NliLabel],
        *,
        max_batch_tokens: int,
        temperature: float = UNCALIBRATED,
        review_below: float | None = None,
    ) -> None:
        self._engine = engine
        self._max_batch_tokens = max_batch_tokens
        self._temperature = temperature
        self._review_below = review_below
        # Output columns of the classifier in the order of the probability columns.
        self._columns = [label_order.index(label) for label in NliLabel]

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        *,
        precision: Precision,
        device: DeviceKind,
        max_batch_tokens: int,
        threads: int | None = None,
        review_below: float | None = None,
    ) -> Classifier:
        """Put the checkpoint on the device; `threads` as for `AlbertEngine`. Raises ModelError."""
        # Imported here, because the driver and the read tasks have no use for torch and it takes seconds to load.
        from albert_infer.engine.albert import AlbertEngine

        engine = AlbertEngine(checkpoint.shape, checkpoint.weights, precision=precision, device=device, threads=threads)
        return cls(
            engine,
            checkpoint.label_order,
            max_batch_tokens=max_batch_tokens,
            temperature=checkpoint.temperature,
            review_below=review_below,
        )

    @property
    def engine(self) -> AlbertEngine:
        """What computes the logits, for checks of what it computes."""
        return self._engine

    def classified(self, prepared: pa.Table, on_batch: Listener = ignore_progress) -> pa.Table:
        """`prepared` with label and probabilities in place of the token ids; rejected rows have nulls there.

        With `review_below` the last column says whether the largest probability, as stored, is below it.
        Every row is kept, in order; a row that has no memory alone, or whose logits are not finite in fp32 either, is
        rejected here. Micro-batches follow from the rows' lengths and the token budget alone.
        """
        usable = prepared[REJECTION].is_null().to_numpy()
        logits, fitted = self._logits(tokenization.encoded_pairs(prepared), usable, on_batch)
        finite = np.isfinite(logits).all(axis=1)
        for rows, reason, detail in (
            (~fitted, Rejection.DEVICE_OUT_OF_MEMORY, "the device has no memory for this pair alone"),
            (
                fitted & ~finite,
                Rejection.NONFINITE_LOGITS,
                f"logits are not finite in {self._engine.precision}, nor alone in {Precision.FP32}",
            ),
        ):
            prepared = tokenization.with_rejection(prepared, rows, reason, detail)
        rejected = prepared[REJECTION].is_valid().to_numpy()
        logits = np.where(rejected[:, np.newaxis], 0, logits)
        # Of the plain softmax: a temperature changes no label.
        best = softmax(logits)[:, self._columns].argmax(axis=1)
        probabilities = with_largest(softmax(logits, self._temperature)[:, self._columns], best)
        labels = pa.DictionaryArray.from_arrays(pa.array(best, pa.int32(), mask=rejected), list(NliLabel))
        kept = prepared.drop_columns([INPUT_IDS, PREMISE_TOKENS, N_TOKENS, TRUNCATED])
        kept = kept.append_column(LABEL, labels.cast(pa.string()))
        for position, name in enumerate(PROBABILITIES):
            kept = kept.append_column(name, pa.array(probabilities[:, position], pa.float32(), mask=rejected))
        kept = kept.append_column(N_TOKENS, prepared[N_TOKENS]).append_column(TRUNCATED, prepared[TRUNCATED])
        if self._review_below is None:
            return kept
        unsure = probabilities.max(axis=1) < np.float32(self._review_below)
        return kept.append_column(NEEDS_REVIEW, pa.array(unsure, mask=rejected))

    def _logits(
        self, pairs: EncodedPairs, usable: NDArray[np.bool_], on_batch: Listener
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits (R, 3), zero where not `usable` (R), and the rows (R) that the device had memory for.

        Rows that are alike are computed once. One whose logits are not finite is computed once more, alone and in fp32.
        """
        logits = np.zeros((len(usable), len(NliLabel)), dtype=np.float32)
        fitted = np.ones(len(usable), dtype=np.bool_)
        first = pairs.first_alike()
        rows = np.flatnonzero(usable & (first == np.arange(len(first))))
        alike, lengths = np.bincount(first, minlength=len(first)), pairs.lengths
        batches = [rows[positions] for positions in micro_batches(lengths[rows], self._max_batch_tokens)]
        for batch in self._engine.micro_batch_logits(pairs, batches):
            logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
            on_batch(np.repeat(lengths[batch.rows_B], alike[batch.rows_B]), batch.halved)
        again = np.flatnonzero(fitted & ~np.isfinite(logits).all(axis=1))
        for batch in self._engine.fp32_micro_batch_logits(pairs, [again[[place]] for place in range(len(again))]):
            logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
        return logits[first], fitted[first]


def softmax(logits: NDArray[np.float32], temperature: float = UNCALIBRATED) -> NDArray[np.float32]:
    """Probabilities of each row at `temperature`, in fp32; NaN where a logit is not finite."""
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def with_largest(probabilities: NDArray[np.float32], best: NDArray[np.int64]) -> NDArray[np.float32]:
    """`probabilities` (R, labels) whose first largest of each row is the one at `best` (R), raised where it was not.

    For labels that were nearly equal: rounding may tie them at one temperature and part them at another. What is
    raised lies above the others by the last digit.
    """
    rows = np.flatnonzero(probabilities.argmax(axis=1) != best)
    raised = probabilities.copy()
    raised[rows, best[rows]] = np.nextafter(probabilities[rows].max(axis=1), np.float32(np.inf))
    return raised
