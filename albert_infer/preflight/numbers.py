"""Compares the probabilities of a worker's engine with those of fp32 on the CPU. Labels do not decide."""

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

from albert_infer.classify.probabilities import softmax
from albert_infer.common.printable import how_many
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import HYPOTHESIS, PREMISE, DeviceKind, EncodedPairs, Precision

if TYPE_CHECKING:
    from albert_infer.engine.albert import AlbertEngine
    from albert_infer.engine.memory import MicroBatchLogits

# Few, because the job waits for them. One pair of the maximum length is added.
SHORT_PAIRS: Final = 9
# The largest accepted difference from a probability in fp32, pair by pair on the CPU. Another order of sums in fp32
# changes 1e-6; a thousand times that is a fault. bf16 has 8 bits: it may change the label of a close pair, so labels
# are not compared. Probabilities of sound checkpoints change by hundredths.
# fp16 has 11 bits. int8 and fp8 have fewer than bf16.
MAX_DIFFERENCE: Final = {
    Precision.FP32: 1e-3,
    Precision.BF16: 0.1,
    Precision.FP16: 0.05,
    Precision.INT8: 0.3,
    Precision.FP8: 0.3,
}


@dataclass(frozen=True)
class Numbers:
    """The share of equal labels on `pairs` pairs, and the largest difference of a probability."""

    pairs: int
    equal_labels: float
    largest_difference: float

    def to_text(self) -> str:
        """The result as text."""
        equal = f"{round(self.equal_labels * self.pairs)} of {how_many(self.pairs, 'test pair')}"
        return (
            f"{equal} get the same label as in fp32 on a CPU; "
            f"probabilities differ by at most {self.largest_difference:.1g}"
        )


def compare_numbers(
    checkpoint: Checkpoint, engine: AlbertEngine, reference: AlbertEngine, *, max_length: int, device: DeviceKind
) -> Numbers:
    """Compare a micro-batch of `engine`, on `device`, with single pairs of `reference`, in fp32 on the CPU.

    `max_length` is the maximum length of a pair in the run. Raises ModelError for probabilities that are not finite, or
    too different.
    """
    pairs = compared_pairs(checkpoint, max_length)
    rows = np.arange(len(pairs.lengths))
    actual, fitted = _probabilities(engine.micro_batch_logits(pairs, [rows]), len(rows))
    expected, _ = _probabilities(reference.micro_batch_logits(pairs, np.split(rows, len(rows))), len(rows))
    asked = f"model {checkpoint.source} in {engine.precision} on {device}"
    if not fitted.any():
        problem = f"the device has no memory for a pair of {pairs.lengths.min()} tokens"
        raise ModelError(asked, problem, "free the device, or give --gpus-per-worker 0 to label on the CPU")
    # A run rejects a row that does not fit the memory. Such a row says nothing about the checkpoint.
    actual, expected = actual[fitted], expected[fitted]
    _refuse_nonfinite(asked, actual, expected, engine.precision)
    _refuse_disagreement(asked, actual, expected, engine.precision)
    return Numbers(
        pairs=len(actual),
        equal_labels=float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        largest_difference=float(np.abs(actual - expected).max()),
    )


def compared_pairs(checkpoint: Checkpoint, max_length: int) -> EncodedPairs:
    """The shortest pairs of the package, and one truncated to `max_length` tokens. All have tokens."""
    file = resources.files("albert_infer.model") / "builtin" / "pairs.parquet"
    pairs = pq.read_table(pa.BufferReader(file.read_bytes()), columns=[PREMISE, HYPOTHESIS])
    lengths = pc.add(pc.utf8_length(pairs[PREMISE]), pc.utf8_length(pairs[HYPOTHESIS]))
    shortest = pairs.take(pc.sort_indices(lengths)[:SHORT_PAIRS]).to_pydict()
    # With a small `max_length` the run's rule may reject a pair. This rule truncates every pair.
    tokenizer = checkpoint.tokenizer(max_length=max_length, long_premise="longest_first")
    encoded = _encoded(tokenizer, shortest[PREMISE], shortest[HYPOTHESIS])
    # A tokenizer with a small vocabulary may raise for English. Letters work: loading has checked them.
    return encoded if encoded.lengths.all() else _encoded(tokenizer, ["a"], ["b"])


def _encoded(tokenizer: PairTokenizer, premises: list[str], hypotheses: list[str]) -> EncodedPairs:
    """The pairs, and one more of the maximum length. A pair on which the tokenizer raises has no tokens."""
    # A word has one token or more, so this text exceeds the limit.
    long_premise = " ".join([premises[0]] * tokenizer.frame.max_length)
    texts = pa.chunked_array([[*premises, long_premise]]), pa.chunked_array([[*hypotheses, hypotheses[0]]])
    return tokenizer.encode(*texts, np.zeros(len(premises) + 1, dtype=np.bool_)).pairs


def _probabilities(batches: Iterable[MicroBatchLogits], rows: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities (R, labels), NaN if a logit of the row is not finite; and whether each row (R) fitted memory."""
    parts = list(batches)
    order = np.argsort(np.concatenate([part.rows_B for part in parts]))
    logits = np.concatenate([part.logits_BC for part in parts])[order]
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    return (
        np.where(finite, softmax(np.where(finite, logits, 0)), np.nan),
        np.concatenate([part.fitted_B for part in parts])[order],
    )


def _refuse_nonfinite(
    asked: str, actual: NDArray[np.float32], expected: NDArray[np.float32], precision: Precision
) -> None:
    bad = int(np.isnan(actual).any(axis=1).sum())
    if np.isnan(expected).any():
        problem = "its outputs are not finite, also not in fp32 on the CPU"
        raise ModelError(asked, problem, "use another checkpoint: this one is damaged")
    if bad:
        pairs = f"{bad} of {how_many(len(actual), 'pair')}"
        problem = f"its outputs are not finite for {pairs}, but they are in fp32 on the CPU"
        raise ModelError(asked, problem, _remedy(precision))


def _refuse_disagreement(
    asked: str, actual: NDArray[np.float32], expected: NDArray[np.float32], precision: Precision
) -> None:
    difference, most = float(np.abs(actual - expected).max()), MAX_DIFFERENCE[precision]
    if difference > most:
        problem = f"a probability differs by {difference:.2g} from fp32 on the CPU, and at most {most} is sound"
        raise ModelError(asked, problem, _remedy(precision))


def _remedy(precision: Precision) -> str:
    if precision is Precision.FP32:
        return "the device computes wrong results: check it, or give --gpus-per-worker 0 to label on the CPU"
    return "give --precision fp32"
