"""Turns encoded pairs into labelled pairs.

Arrow in, Arrow out. Knows nothing of files or Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.card_budget import ACTIVATION_BYTES, USUAL_TOKENS, activation_bytes, card_batch_tokens
from albert_infer.classify.folds import chosen_pairs
from albert_infer.classify.probabilities import label_columns, softmax, with_largest
from albert_infer.engine import AlbertShape
from albert_infer.engine.cards import Card
from albert_infer.model.calibration import UNCALIBRATED
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare import tokenization
from albert_infer.prepare.windows import MAX_WINDOWS, LongPremises, first_alike, further_windows
from albert_infer.schema import (
    INPUT_IDS,
    LABEL_SETS,
    LONG_PREMISE,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PREMISE_TOKENS,
    REJECTION,
    TRUNCATED,
    ComputedBatch,
    DeviceKind,
    EncodedPairs,
    FoldRule,
    Label,
    LabelSet,
    Precision,
    Rejection,
)

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine


Listener = Callable[[ComputedBatch], None]


CPU_BATCH_TOKENS: Final = 512


def ignore_progress(batch: ComputedBatch) -> None:
    """A listener that does nothing."""


def default_batch_tokens(device: DeviceKind, shape: AlbertShape, card: Card | None = None, share: float = 1.0) -> int:
    """The most tokens of a forward pass.

    On a CPU the activations fit into the cache of one core. On a GPU they suit a `share` of the `card`. If the card is
    unknown, they fit into the memory of any card.
    """
    if device is DeviceKind.CPU:
        return CPU_BATCH_TOKENS
    if card is None:
        return min(USUAL_TOKENS, ACTIVATION_BYTES // activation_bytes(shape))
    return card_batch_tokens(shape, card, share)


class Classifier:
    """Labels encoded pairs with a checkpoint on a device. `label_order` names the engine's outputs.

    Several threads may classify at the same time. The device computes for one of them, while the others prepare and
    finish their tables.
    """

    def __init__(
        self,
        engine: AlbertEngine,
        label_order: Sequence[Label],
        *,
        max_batch_tokens: int,
        temperature: float = UNCALIBRATED,
        review_below: float | None = None,
    ) -> None:
        self._engine = engine
        self._max_batch_tokens = max_batch_tokens
        self._temperature = temperature
        # Rows whose largest probability is below this are marked.
        self.review_below = review_below
        # Output columns of the classifier in the order of the probability columns.
        self._labels = LABEL_SETS[len(label_order)]
        self._columns = [label_order.index(label) for label in self._labels]
        self._device = Lock()

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
        """Load the checkpoint on the device. `threads` is as for `AlbertEngine`. Raises ModelError."""
        # Imported here, because torch takes seconds to load, and the driver and the read tasks do not use torch.
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
        """The engine that computes the logits. The preflight checks call it directly."""
        return self._engine

    def classified(self, prepared: pa.Table, on_batch: Listener = ignore_progress) -> pa.Table:
        """`prepared` with a label and probabilities instead of the token ids. They are null in rejected rows.

        A pair in windows gets the probabilities of its deciding window. With `review_below`, a column says whether the
        largest stored probability is below that limit. All rows stay, in order. Rejects a row that does not fit into
        device memory alone, a row whose logits are not finite even in fp32, and a row with too many windows.
        Micro-batches depend on row lengths and the token budget alone. First windows have micro-batches of their own.
        """
        logits, fitted = self._deciding_logits(prepared, on_batch)
        prepared = self._with_rejections(prepared, logits, fitted)
        rejected = prepared[REJECTION].is_valid().to_numpy()
        probabilities = self.probabilities(np.where(rejected[:, np.newaxis], 0, logits))
        added = label_columns(probabilities, self.labels, rejected)
        added |= {name: prepared[name] for name in (N_TOKENS, TRUNCATED)}
        if self.review_below is not None:
            unsure = probabilities.max(axis=1) < np.float32(self.review_below)
            added[NEEDS_REVIEW] = pa.array(unsure, mask=rejected)
        used = [INPUT_IDS, PREMISE_TOKENS, N_TOKENS, TRUNCATED]
        if LONG_PREMISE in prepared.column_names:
            added[N_WINDOWS] = prepared[N_WINDOWS]
            used += [LONG_PREMISE, N_WINDOWS]
        classified = prepared.drop_columns(used)
        for name, column in added.items():
            classified = classified.append_column(name, column)
        return classified

    @property
    def labels(self) -> LabelSet:
        """The labels in the order of the probabilities."""
        return self._labels

    @property
    def nonfinite_detail(self) -> str:
        """The detail of a rejected pair whose logits are not finite."""
        return f"logits are not finite in {self._engine.precision}, nor alone in {Precision.FP32}"

    def _with_rejections(self, prepared: pa.Table, logits: NDArray[np.float32], fitted: NDArray[np.bool_]) -> pa.Table:
        finite = np.isfinite(logits).all(axis=1)
        for rows, reason, detail in (
            (~fitted, Rejection.DEVICE_OUT_OF_MEMORY, "the device has no memory for this pair alone"),
            (
                fitted & ~finite,
                Rejection.NONFINITE_LOGITS,
                self.nonfinite_detail,
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
        """`pair_logits` of the prepared pairs, with zero logits in rows that are rejected already."""
        pairs, usable = tokenization.encoded_pairs(prepared), prepared[REJECTION].is_null().to_numpy()
        premises = tokenization.long_premises(prepared) if LONG_PREMISE in prepared.column_names else None
        return self.pair_logits(pairs, premises, usable, usable, on_batch)

    def pair_logits(
        self,
        pairs: EncodedPairs,
        premises: LongPremises | None,
        usable: NDArray[np.bool_],
        is_last: NDArray[np.bool_],
        on_batch: Listener,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits (P, labels) of each pair, of its deciding window if it has several, and whether it fitted (P).

        `premises` are the whole premises of pairs in windows; None if premises are truncated. Pairs that are not
        `usable` (P) are skipped. A pair that `is_last` (P) is reported as finished, as the last one of its row. Logits
        are NaN in pairs with a window whose logits are not finite. Identical pairs are computed once.
        """
        copies = usable.astype(np.int64)
        if premises is None:
            return self._logits(pairs, copies, copies * is_last, on_batch)
        logits, fitted = self._logits(pairs, copies, copies * (is_last & (premises.lengths == 0)), on_batch)
        first = first_alike(pairs, premises)
        copies = np.bincount(first, minlength=len(first))
        # `bincount` returns its weighted counts as floating point.
        finished = np.bincount(first, is_last, len(first)).astype(np.int64)
        windows_of, window_logits = [np.arange(len(first))], [logits]
        for windows in further_windows(pairs, premises, np.unique(first)):
            further_logits, further_fitted = self._logits(
                windows.pairs, copies[windows.rows_W], finished[windows.rows_W] * windows.is_last_W, on_batch
            )
            windows_of.append(windows.rows_W)
            window_logits.append(further_logits)
            fitted[windows.rows_W[~further_fitted]] = False
        all_logits = np.concatenate(window_logits)
        all_logits[~np.isfinite(all_logits).all(axis=1)] = np.nan
        probabilities = self.probabilities(all_logits)
        deciding = chosen_pairs(FoldRule.ENTAILMENT_FIRST, np.concatenate(windows_of), probabilities, self.labels)
        return all_logits[deciding][first], fitted[first]

    def _logits(
        self, pairs: EncodedPairs, copies: NDArray[np.int64], finishes: NDArray[np.int64], on_batch: Listener
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits (R, labels), and whether each row fitted into device memory (R).

        `copies` (R) has the number of identical pairs that each row represents. Rows with 0 copies are skipped and get
        zero logits. `finishes` (R) has the number of rows of the input that are finished with each row.
        Identical rows are computed once. Rows with logits that are not finite are computed again, alone and in fp32.
        """
        logits = np.zeros((len(copies), len(self.labels)), dtype=np.float32)
        fitted = np.ones(len(copies), dtype=np.bool_)
        first = pairs.first_alike()
        rows = np.flatnonzero((copies > 0) & (first == np.arange(len(first))))
        # `bincount` returns its weighted counts as floating point.
        represented = np.bincount(first, copies, len(first)).astype(np.int64)
        finished = np.bincount(first, finishes, len(first)).astype(np.int64)
        lengths = pairs.lengths
        batches = [rows[positions] for positions in micro_batches(lengths[rows], self._max_batch_tokens)]
        # The rest of a unit's work is outside, so that another thread prepares its unit while the device computes.
        with self._device:
            # The device computes the next batch while the last one is reported: all time of this loop is device time.
            since = time.monotonic()
            for batch in self._engine.micro_batch_logits(pairs, batches):
                logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
                reported_lengths = np.repeat(lengths[batch.rows_B], represented[batch.rows_B])
                before, since = since, time.monotonic()
                on_batch(
                    ComputedBatch(reported_lengths, int(finished[batch.rows_B].sum()), batch.halved, since - before)
                )
            again = np.flatnonzero(fitted & ~np.isfinite(logits).all(axis=1))
            for batch in self._engine.fp32_micro_batch_logits(pairs, [again[[index]] for index in range(len(again))]):
                logits[batch.rows_B], fitted[batch.rows_B] = batch.logits_BC, batch.fitted_B
        return logits[first], fitted[first]

    def scaled(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (R, labels) in the order of the columns, divided by the temperature."""
        scaled: NDArray[np.float32] = logits[:, self._columns] / np.float32(self._temperature)
        return scaled

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (R, labels) in the order of the columns. The first largest is that of the row's label.

        The label is that of the softmax without a temperature, so a temperature changes no label.
        """
        best = softmax(logits)[:, self._columns].argmax(axis=1)
        return with_largest(softmax(logits, self._temperature)[:, self._columns], best)


def _windows(prepared: pa.Table) -> NDArray[np.int64]:
    """The number of windows of each row (R): 1 when long premises are truncated."""
    if LONG_PREMISE not in prepared.column_names:
        return np.ones(prepared.num_rows, np.int64)
    return np.asarray(prepared[N_WINDOWS].fill_null(0).to_numpy())
