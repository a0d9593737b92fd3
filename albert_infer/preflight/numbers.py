"""Whether a checkpoint computes on the worker what the fp32 path computes: numbers are judged, never what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from albert_infer.classify.classification import softmax
from albert_infer.common.printable import how_many
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import HYPOTHESIS, PREMISE, DeviceKind, EncodedPairs, Precision

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine
    from albert_infer.engine.memory import MicroBatchLogits

# Few, because a start of the job waits for them; beside them one pair of the greatest length.
SHORT_PAIRS: Final = 9
# How far a probability may be from fp32's, pair by pair on the CPU. fp32 sums in another order, which was seen to
# change 1e-6; a thousand times that is a fault. bf16 keeps 8 bits: where two labels are close it may turn the label,
# so labels are no measure; probabilities of sound checkpoints move by hundredths.
MAX_DIFFERENCE: Final = {Precision.FP32: 1e-3, Precision.BF16: 0.1, Precision.INT8: 0.3}


@dataclass(frozen=True)
class Numbers:
    """What was found on `pairs` pairs: the share of equal labels, and the largest difference of a probability."""

    pairs: int
    equal_labels: float
    largest_difference: float

    def to_text(self) -> str:
        """For a person."""
        equal = f"{round(self.equal_labels * self.pairs)} of {how_many(self.pairs, 'test pair')}"
        return (
            f"{equal} get the same label as in fp32 on a CPU; "
            f"probabilities differ by at most {self.largest_difference:.1g}"
        )


def measured(
    checkpoint: Checkpoint, engine: AlbertEngine, reference: AlbertEngine, *, max_length: int, device: DeviceKind
) -> Numbers:
    """Compare a micro-batch of `engine`, on `device`, with what `reference`, in fp32 on the CPU, makes of each pair.

    `max_length` is the longest pair that the run may have. Raises ModelError for probabilities that are not finite, or
    too far apart.
    """
    pairs = compared_pairs(checkpoint, max_length)
    rows = np.arange(len(pairs.lengths))
    found, fitted = _probabilities(engine.micro_batch_logits(pairs, [rows]), len(rows))
    expected, _ = _probabilities(reference.micro_batch_logits(pairs, np.split(rows, len(rows))), len(rows))
    asked = f"model {checkpoint.source} in {engine.precision} on {device}"
    if not fitted.any():
        told = f"the device has no memory for a pair of {pairs.lengths.min()} tokens"
        raise ModelError(asked, told, "free the device, or give --gpus-per-worker 0 to label on the CPU")
    # A row without memory is rejected when the run meets it, and says nothing of the checkpoint.
    found, expected = found[fitted], expected[fitted]
    _refuse_nonfinite(asked, found, expected, engine.precision)
    _refuse_disagreement(asked, found, expected, engine.precision)
    return Numbers(
        pairs=len(found),
        equal_labels=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        largest_difference=float(np.abs(found - expected).max()),
    )


def compared_pairs(checkpoint: Checkpoint, max_length: int) -> EncodedPairs:
    """The shortest pairs that ship in the package, and one that is cut to `max_length` tokens; all have tokens."""
    file = resources.files("albert_infer.model") / "builtin" / "pairs.parquet"
    pairs = pq.read_table(pa.BufferReader(file.read_bytes()), columns=[PREMISE, HYPOTHESIS])
    lengths = pc.add(pc.utf8_length(pairs[PREMISE]), pc.utf8_length(pairs[HYPOTHESIS]))
    shortest = pairs.take(pc.sort_indices(lengths)[:SHORT_PAIRS]).to_pydict()
    # The run's own rule may reject a pair where `max_length` is small; this one cuts every pair to fit.
    tokenizer = checkpoint.tokenizer(max_length=max_length, long_premise="longest_first")
    encoded = _encoded(tokenizer, shortest[PREMISE], shortest[HYPOTHESIS])
    # A tokenizer of few words may raise for English; letters, with which it was checked when it was loaded, it takes.
    return encoded if encoded.lengths.all() else _encoded(tokenizer, ["a"], ["b"])


def _encoded(tokenizer: PairTokenizer, premises: list[str], hypotheses: list[str]) -> EncodedPairs:
    """The pairs, and one more of the greatest length; a pair that the tokenizer raises for has no tokens."""
    # A word is one token or more, so this is too long for any limit.
    long_premise = " ".join([premises[0]] * tokenizer.max_length)
    texts = pa.chunked_array([[*premises, long_premise]]), pa.chunked_array([[*hypotheses, hypotheses[0]]])
    return tokenizer.encode(*texts, np.zeros(len(premises) + 1, dtype=np.bool_)).pairs


def _probabilities(batches: Iterable[MicroBatchLogits], rows: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities (R, labels), NaN where a logit is not finite, and which rows (R) had memory."""
    parts = list(batches)
    order = np.argsort(np.concatenate([part.rows_B for part in parts]))
    logits = np.concatenate([part.logits_BC for part in parts])[order]
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    return (
        np.where(finite, softmax(np.where(finite, logits, 0)), np.nan),
        np.concatenate([part.fitted_B for part in parts])[order],
    )


def _refuse_nonfinite(
    asked: str, found: NDArray[np.float32], expected: NDArray[np.float32], precision: Precision
) -> None:
    bad = int(np.isnan(found).any(axis=1).sum())
    if np.isnan(expected).any():
        told = "its outputs are not finite, in fp32 on the CPU neither"
        raise ModelError(asked, told, "use another checkpoint: this one is damaged")
    if bad:
        told = f"its outputs are not finite for {bad} of {how_many(len(found), 'pair')}, in fp32 on the CPU they are"
        raise ModelError(asked, told, _remedy(precision))


def _refuse_disagreement(
    asked: str, found: NDArray[np.float32], expected: NDArray[np.float32], precision: Precision
) -> None:
    difference, most = float(np.abs(found - expected).max()), MAX_DIFFERENCE[precision]
    if difference > most:
        told = f"a probability is {difference:.2g} away from fp32's on the CPU, where at most {most} is sound"
        raise ModelError(asked, told, _remedy(precision))


def _remedy(precision: Precision) -> str:
    if precision is Precision.FP32:
        return "the device computes wrongly: look at it, or give --gpus-per-worker 0 to label on the CPU"
    return "give --precision fp32"
