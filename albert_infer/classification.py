"""Encoded pairs to labelled pairs; `Labeler` is the way in without Ray.

Arrow in, Arrow out. Knows nothing of files or of Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer import model, tokenization, validation
from albert_infer.batching import micro_batches
from albert_infer.model import Checkpoint
from albert_infer.schema import (
    DETAIL,
    HYPOTHESIS,
    INPUT_IDS,
    LABEL,
    N_TOKENS,
    PREMISE,
    PREMISE_TOKENS,
    PROBABILITIES,
    REJECTION,
    TRUNCATED,
    DeviceKind,
    EncodedPairs,
    NliLabel,
    Precision,
)

# Tokens of a forward pass by default. On a CPU the activations of so many stay in its cache; a GPU wants to be full.
DEFAULT_BATCH_TOKENS: Final = {DeviceKind.CPU: 1024, DeviceKind.CUDA: 32_768}


Listener = Callable[[NDArray[np.int64]], None]


def ignore_progress(lengths: NDArray[np.int64]) -> None:
    """The listener of a caller who does not want to know."""


class Classifier:
    """A checkpoint on a device: encoded pairs in, labelled pairs out."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: Precision,
        device: DeviceKind,
        max_batch_tokens: int,
        threads: int | None = None,
    ) -> None:
        # Imported here, because the driver and the read tasks have no use for torch and it takes seconds to load.
        from albert_infer.engine.albert import AlbertEngine

        self._engine = AlbertEngine(
            checkpoint.shape, checkpoint.weights, precision=precision, device=device, threads=threads
        )
        self._max_batch_tokens = max_batch_tokens
        # Output columns of the classifier in the order of the probability columns.
        self._columns = [checkpoint.label_order.index(label) for label in NliLabel]

    def classified(self, prepared: pa.Table, on_batch: Listener = ignore_progress) -> pa.Table:
        """`prepared` with label and probabilities in place of the token ids; rejected rows have nulls there.

        Every row is kept, in order. Micro-batches follow from the rows' lengths and the token budget alone.
        `on_batch` is called after each, with the lengths of its rows.
        """
        rejected = prepared[REJECTION].is_valid().to_numpy()
        probabilities = self._probabilities(tokenization.encoded_pairs(prepared), ~rejected, on_batch)
        best = probabilities.argmax(axis=1)
        labels = pa.DictionaryArray.from_arrays(pa.array(best, pa.int32(), mask=rejected), list(NliLabel))
        kept = prepared.drop_columns([INPUT_IDS, PREMISE_TOKENS, N_TOKENS, TRUNCATED])
        kept = kept.append_column(LABEL, labels.cast(pa.string()))
        for position, name in enumerate(PROBABILITIES):
            kept = kept.append_column(name, pa.array(probabilities[:, position], pa.float32(), mask=rejected))
        return kept.append_column(N_TOKENS, prepared[N_TOKENS]).append_column(TRUNCATED, prepared[TRUNCATED])

    def _probabilities(self, pairs: EncodedPairs, usable: NDArray[np.bool_], on_batch: Listener) -> NDArray[np.float32]:
        """Softmax in fp32, columns as `PROBABILITIES` (R, 3); zeros where not `usable` (R)."""
        probabilities = np.zeros((len(usable), len(NliLabel)), dtype=np.float32)
        rows = np.flatnonzero(usable)
        lengths = pairs.lengths
        batches = [rows[positions] for positions in micro_batches(lengths[rows], self._max_batch_tokens)]
        for batch, logits in self._engine.micro_batch_logits(pairs, batches):
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities[batch] = (exponentials / exponentials.sum(axis=1, keepdims=True))[:, self._columns]
            on_batch(lengths[batch])
        return probabilities


class Labeler:
    """Label pairs in this process, without Ray or files: for notebooks, services and tests.

    >>> labeler = Labeler.open()
    >>> labeler.label(["A man plays the guitar."], ["Someone makes music."])["label"].to_pylist()
    ['entailment']
    """

    def __init__(self, tokenizer: tokenization.PairTokenizer, classifier: Classifier) -> None:
        self._tokenizer = tokenizer
        self._classifier = classifier

    @classmethod
    def open(
        cls,
        source: str = "builtin",
        *,
        label_order: Sequence[str] = (),
        max_length: int | None = None,
        truncation: Literal["premise", "longest_first"] = "premise",
        precision: Precision = Precision.FP32,
        device: DeviceKind = DeviceKind.CPU,
        max_batch_tokens: int | None = None,
    ) -> Labeler:
        """Load a checkpoint, as `model.load_checkpoint` does; raises ModelError."""
        checkpoint = model.load_checkpoint(source, label_order=label_order)
        budget = max_batch_tokens or DEFAULT_BATCH_TOKENS[device]
        classifier = Classifier(checkpoint, precision=precision, device=device, max_batch_tokens=budget)
        return cls(checkpoint.tokenizer(max_length=max_length, truncation=truncation), classifier)

    def label(self, premises: Sequence[Any] | pa.Array, hypotheses: Sequence[Any] | pa.Array) -> pa.Table:
        """One row a pair, in order: the texts, label, probabilities, `n_tokens`, `truncated`, `rejection`, `detail`."""
        texts = pa.table({PREMISE: pa.array(premises, pa.string()), HYPOTHESIS: pa.array(hypotheses, pa.string())})
        judged = validation.mark_rejected(texts)
        labelled = self._classifier.classified(tokenization.append_tokens(judged, self._tokenizer))
        verdict = labelled.select([REJECTION, DETAIL])
        labelled = labelled.drop_columns([REJECTION, DETAIL])
        for name in (PREMISE, HYPOTHESIS):
            labelled = labelled.set_column(labelled.column_names.index(name), name, texts[name])
        return labelled.append_column(REJECTION, verdict[REJECTION]).append_column(DETAIL, verdict[DETAIL])
