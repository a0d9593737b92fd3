"""Labels pairs with gold labels in this process: a source of rows without a run.

It does not use Ray, because a gold set takes less time to label than a cluster takes to start. For a large gold set,
label it with the job, carry the gold labels, and evaluate the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from albert_infer.classify.classification import Classifier, default_batch_tokens
from albert_infer.config import EvaluateSettings
from albert_infer.engine.cards import Card
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.learning.evaluation.rows import POSITION, columns_of, positions, split_position
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.pipeline import progress
from albert_infer.pipeline.progress import ProgressCounts, UnitProgress
from albert_infer.preflight.gold import GoldSet, GoldSlice, read_slice
from albert_infer.prepare import tokenization
from albert_infer.schema import REJECTION, ComputedBatch, DeviceKind, LabelSet


class LabelledHere:
    """The pairs of a gold set, labelled by `checkpoint` with the steps of the labelling job. Raises ModelError."""

    def __init__(
        self, gold: GoldSet, checkpoint: Checkpoint, slices: tuple[str, ...], settings: EvaluateSettings
    ) -> None:
        self.checkpoint = checkpoint
        self.gold = gold
        self._slices = slices
        self._tokenizer = checkpoint.tokenizer(max_length=settings.max_length, long_premise=settings.long_premise)
        self._device = _device(settings)
        card = _card(self._device)
        self._precision = resolved_precision(settings.precision, self._device, cpu_flags(), card)
        self._classifier = Classifier.load(
            checkpoint,
            precision=self._precision,
            device=self._device,
            max_batch_tokens=settings.max_batch_tokens or default_batch_tokens(self._device, checkpoint.shape, card),
            threads=settings.threads,
        )
        self._files = {pin: index for index, pin in enumerate(dict.fromkeys(piece.pin for piece in gold.slices))}
        self._rejected: Counter[str] = Counter()
        self._progress = ProgressCounts()
        self._progress.report_device(self._device, self._classifier.engine.kernels)

    @property
    def labels(self) -> LabelSet:
        """The labels of the checkpoint."""
        return self.checkpoint.labels

    @property
    def rows(self) -> int:
        """The number of rows of the gold set."""
        return self.gold.rows

    @property
    def has_gold(self) -> bool:
        """True: a gold set has gold labels."""
        return True

    @property
    def rejected(self) -> Mapping[str, int]:
        """The rejected rows so far, by reason."""
        return self._rejected

    def description(self) -> Mapping[str, object]:
        """The pairs and the checkpoint, as JSON."""
        return {
            "pairs": self.gold.uri,
            "gold_column": self.gold.gold_column,
            "model": self.checkpoint.source,
            "model_digest": self.checkpoint.digest,
            "precision": self._precision,
        }

    def file_and_row(self, position: int) -> tuple[str, int]:
        """The file, and the row in it, of a position."""
        file, row = split_position(position)
        return self.gold.folder.uri_of(list(self._files)[file].name), row

    def shown(self) -> AbstractContextManager[object]:
        """Show the progress of labelling during the block."""
        return progress.shown(self.gold.rows, 0, self._progress.so_far, self._device)

    def batches(self) -> Iterator[pa.Table]:
        """Label the slices, and yield their labelled rows."""
        for piece in self.gold.slices:
            labelled = self._labelled(piece)
            rejected = labelled[REJECTION]
            self._rejected.update(reason for reason in rejected.to_pylist() if reason is not None)
            rows = np.arange(piece.range.first_row, piece.range.first_row + piece.range.rows, dtype=np.int64)
            labelled = labelled.append_column(POSITION, pa.array(positions(self._files[piece.pin], rows)))
            accepted = labelled.filter(pc.is_null(rejected))
            if accepted.num_rows:
                yield accepted.select([*columns_of(self.labels), *self._slices])

    def _labelled(self, piece: GoldSlice) -> pa.Table:
        name, so_far = f"{piece.pin.name}:{piece.range.first_row}", UnitProgress()

        def report(batch: ComputedBatch) -> None:
            nonlocal so_far
            so_far = so_far.after(batch)
            self._progress.report_progress(name, so_far)

        return self._classifier.classified(
            tokenization.append_tokens(read_slice(self.gold, piece), self._tokenizer), report
        )


def _device(settings: EvaluateSettings) -> DeviceKind:
    # Imported here, because it loads torch, which the evaluation of a run does not need.
    from albert_infer.engine.devices import requested_device

    return requested_device(settings.device, settings.precision, flag="--device cuda")


def _card(device: DeviceKind) -> Card | None:
    from albert_infer.engine.devices import card_of

    return card_of(device)
