"""Pairs with gold labels, labelled in this process by a checkpoint: a source of rows without a run.

Without Ray, because gold sets are small and a cluster takes longer to start than they take to label; whoever wants one
labels with the job, carries the gold labels and evaluates the run.
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
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.learning.evaluation.rows import COLUMNS, PLACE, file_and_row, places
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.pipeline import progress
from albert_infer.pipeline.progress import ProgressCounts, UnitProgress
from albert_infer.preflight.gold import GoldSet, GoldSlice, read_slice
from albert_infer.prepare import tokenization
from albert_infer.schema import REJECTION, ComputedBatch, DeviceKind


class LabelledHere:
    """The pairs of a gold set as `checkpoint` labels them, by the steps of the labelling job. Raises ModelError."""

    def __init__(
        self, gold: GoldSet, checkpoint: Checkpoint, slices: tuple[str, ...], settings: EvaluateSettings
    ) -> None:
        self.checkpoint = checkpoint
        self.gold = gold
        self._slices = slices
        self._tokenizer = checkpoint.tokenizer(max_length=settings.max_length, long_premise=settings.long_premise)
        self._device = _device(settings)
        self._precision = resolved_precision(settings.precision, self._device, cpu_flags())
        self._classifier = Classifier.load(
            checkpoint,
            precision=self._precision,
            device=self._device,
            max_batch_tokens=settings.max_batch_tokens or default_batch_tokens(self._device, checkpoint.shape),
            threads=settings.threads,
        )
        self._files = {pin: place for place, pin in enumerate(dict.fromkeys(piece.pin for piece in gold.slices))}
        self._rejected: Counter[str] = Counter()
        self._progress = ProgressCounts()

    @property
    def rows(self) -> int:
        """All rows of the gold set."""
        return self.gold.rows

    @property
    def has_gold(self) -> bool:
        """A gold set has a column of gold labels."""
        return True

    @property
    def rejected(self) -> Mapping[str, int]:
        """Rows that could not be labelled, so far."""
        return self._rejected

    def told(self) -> Mapping[str, object]:
        """Which pairs, and what labelled them."""
        return {
            "pairs": self.gold.uri,
            "gold_column": self.gold.gold_column,
            "model": self.checkpoint.source,
            "model_digest": self.checkpoint.digest,
            "precision": self._precision,
        }

    def place_of(self, place: int) -> tuple[str, int]:
        """The file and the row there."""
        file, row = file_and_row(place)
        return self.gold.folder.uri_of(list(self._files)[file].name), row

    def shown(self) -> AbstractContextManager[object]:
        """Show how far the labelling is, while the block goes on."""
        return progress.shown(self.gold.rows, 0, self._progress.so_far, self._device)

    def batches(self) -> Iterator[pa.Table]:
        """Label slice after slice."""
        for piece in self.gold.slices:
            labelled = self._labelled(piece)
            rejected = labelled[REJECTION]
            self._rejected.update(reason for reason in rejected.to_pylist() if reason is not None)
            rows = np.arange(piece.range.first_row, piece.range.first_row + piece.range.rows, dtype=np.int64)
            labelled = labelled.append_column(PLACE, pa.array(places(self._files[piece.pin], rows)))
            kept = labelled.filter(pc.is_null(rejected))
            if kept.num_rows:
                yield kept.select([*COLUMNS, *self._slices])

    def _labelled(self, piece: GoldSlice) -> pa.Table:
        name, so_far = f"{piece.pin.name}:{piece.range.first_row}", UnitProgress()

        def tell(batch: ComputedBatch) -> None:
            nonlocal so_far
            so_far = so_far.after(batch)
            self._progress.tell(name, so_far)

        return self._classifier.classified(
            tokenization.append_tokens(read_slice(self.gold, piece), self._tokenizer), tell
        )


def _device(settings: EvaluateSettings) -> DeviceKind:
    # Imported here: it loads torch, which a run that is only read has no use for.
    from albert_infer.engine.devices import asked_device

    return asked_device(settings.device, settings.precision, flag="--device cuda")
