"""Encoded pairs to labelled pairs.

Arrow in, Arrow out. Knows nothing of files or of Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify.batching import micro_batches
from albert_infer.engine import AlbertShape
from albert_infer.model.calibration import UNCALIBRATED
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare import tokenization
from albert_infer.prepare.windows import MAX_WINDOWS, deciding_windows, first_alike, further_windows
from albert_infer.schema import (
    INPUT_IDS,
    LABEL,
    LONG_PREMISE,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PREMISE_TOKENS,
    PROBABILITIES,
    REJECTION,
    TRUNCATED,
    ComputedBatch,
    DeviceKind,
    EncodedPairs,
    NliLabel,
    Precision,
    Rejection,
)

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine


Listener = Callable[[ComputedBatch], None]


CPU_BATCH_TOKENS: Final = 512
# Enough for products at a card's full rate, and for launches to take a small part of the time.
GPU_BATCH_TOKENS: Final = 32_768
# A small part of any card's memory, because the allocator keeps several passes' worth.
GPU_ACTIVATION_BYTES: Final = 1 << 30


def ignore_progress(batch: ComputedBatch) -> None:
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

        A pair in windows has the probabilities of the one that decides. With `review_below` a column says whether the
        largest probability, as stored, is below it. Every row is kept, in order; a row that has no memory alone, whose
        logits are not finite in fp32 either, or that has too many windows, is rejected here. Micro-batches follow from
        the rows' lengths and the token budget alone; those of first windows are as if there were no others.
        """
        logits, fitted = self._deciding_logits(prepared, on_batch)
        prepared = self._with_rejections(prepared, logits, fitted)
        rejected = prepared[REJECTION].is_valid().to_numpy()
        probabilities = self._probabilities(np.where(rejected[:, np.newaxis], 0, logits))
        best = pa.array(probabilities.argmax(axis=1), pa.int32(), mask=rejected)
        labels = pa.DictionaryArray.from_arrays(best, list(NliLabel))
        added = {LABEL: labels.cast(pa.string())}
        for position, name in enumerate(PROBABILITIES):
            added[name] = pa.array(probabilities[:, position], pa.float32(), mask=rejected)
        added |= {name: prepared[name] for name in (N_TOKENS, TRUNCATED)}
        if self._review_below is not None:
            unsure = probabilities.max(axis=1) < np.float32(self._review_below)
            added[NEEDS_REVIEW] = pa.array(unsure, mask=rejected)
        used = [INPUT_IDS, PREMISE_TOKENS, N_TOKENS, TRUNCATED]
        if LONG_PREMISE in prepared.column_names:
            added[N_WINDOWS] = prepared[N_WINDOWS]
            used += [LONG_PREMISE, N_WINDOWS]
        kept = prepared.drop_columns(used)
        for name, column in added.items():
            kept = kept.append_column(name, column)
        return kept

    def _with_rejections(self, prepared: pa.Table, logits: NDArray[np.float32], fitted: NDArray[np.bool_]) -> pa.Table:
        finite = np.isfinite(logits).all(axis=1)
        for rows, reason, detail in (
            (~fitted, Rejection.DEVICE_OUT_OF_MEMORY, "the device has no memory for this pair alone"),
            (
                fitted & ~finite,
                Rejection.NONFINITE_LOGITS,
                f"logits are not finite in {self._engine.precision}, nor alone in {Precision.FP32}",
            ),
            (
                _windows(prepared) > MAX_WINDOWS,
                Rejection.TOO_MANY_WINDOWS,
                f"beside this hypothesis the premise has more than {MAX_WINDOWS:,} windows",
            ),
        ):
            prepared = tokenization.with_rejection(prepared, rows, reason, detail)
        return prepared

    def _deciding_logits(self, prepared: pa.Table, on_batch: Listener) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits (R, 3) of each pair's deciding window, and the rows (R) that the device had memory for in all of them.

        Logits are zero where a row was rejected before, and not finite where those of any window are not. Pairs that
        are alike are computed once.
        """
        pairs, usable = tokenization.encoded_pairs(prepared), prepared[REJECTION].is_null().to_numpy()
        if LONG_PREMISE not in prepared.column_names:
            return self._logits(pairs, usable.astype(np.int64), usable, on_batch)
        premises = tokenization.long_premises(prepared)
        logits, fitted = self._logits(pairs, usable.astype(np.int64), premises.lengths == 0, on_batch)
        first = first_alike(pairs, premises)
        alike = np.bincount(first, minlength=len(first))
        windows_of, window_logits = [np.arange(len(first))], [logits]
        for windows in further_windows(pairs, premises, np.unique(first)):
            found, had_memory = self._logits(windows.pairs, alike[windows.rows_W], windows.is_last_W, on_batch)
            windows_of.append(windows.rows_W)
            window_logits.append(found)
            fitted[windows.rows_W[~had_memory]] = False
        every = np.concatenate(window_logits)
        every[~np.isfinite(every).all(axis=1)] = np.nan
        deciding = deciding_windows(np.concatenate(windows_of), self._probabilities(every))
        return every[deciding][first], fitted[first]

    def _logits(
        self, pairs: EncodedPairs, stands_for: NDArray[np.int64], is_last: NDArray[np.bool_], on_batch: Listener
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits (R, 3) and the rows (R) that the device had memory for.

        A row `stands_for` so many pairs (R), which `is_last` are done with; for none it is left out, with logits of 0.
        Rows that are alike are computed once. One whose logits are not finite is computed once more, alone and in fp32.
        """
        logits = np.zeros((len(stands_for), len(NliLabel)), dtype=np.float32)
        fitted = np.ones(len(stands_for), dtype=np.bool_)
        first = pairs.first_alike()
        rows = np.flatnonzero((stands_for > 0) & (first == np.arange(len(first))))
        # Whole numbers, which `bincount` adds as floating point.
        alike = np.bincount(first, stands_for, len(first)).astype(np.int64)
        done = np.bincount(first, stands_for * is_last, len(first)).astype(np.int64)
        lengths = pairs.lengths
        batches = [rows[positions] for positions in micro_batches(lengths[rows], self._max_batch_tokens)]
        # While one result is told of, the device works on the next: all the time of this loop is the device's.
        since = time.monotonic()
        for batch in self._engine.micro_batch_logits(pairs, batches):
            logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
            told = np.repeat(lengths[batch.rows_B], alike[batch.rows_B])
            before, since = since, time.monotonic()
            on_batch(ComputedBatch(told, int(done[batch.rows_B].sum()), batch.halved, since - before))
        again = np.flatnonzero(fitted & ~np.isfinite(logits).all(axis=1))
        for batch in self._engine.fp32_micro_batch_logits(pairs, [again[[place]] for place in range(len(again))]):
            logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
        return logits[first], fitted[first]

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (R, labels) in the order of the columns, the first largest that of the row's label.

        The label is that of the plain softmax: a temperature changes none.
        """
        best = softmax(logits)[:, self._columns].argmax(axis=1)
        return with_largest(softmax(logits, self._temperature)[:, self._columns], best)


def _windows(prepared: pa.Table) -> NDArray[np.int64]:
    """The windows that each row has (R), 1 where long premises are truncated."""
    if LONG_PREMISE not in prepared.column_names:
        return np.ones(prepared.num_rows, np.int64)
    return np.asarray(prepared[N_WINDOWS].fill_null(0).to_numpy())


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
