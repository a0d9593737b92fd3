"""Turns logits into probabilities, and probabilities into columns.

Shapes: R rows of the call.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.model.calibration import UNCALIBRATED
from albert_infer.schema import LABEL, LabelSet, probability_columns


def softmax(logits: NDArray[np.float32], temperature: float = UNCALIBRATED) -> NDArray[np.float32]:
    """Probabilities of each row at `temperature`, in fp32. They are NaN where a logit is not finite."""
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def with_largest(probabilities: NDArray[np.float32], best: NDArray[np.int64]) -> NDArray[np.float32]:
    """`probabilities` (R, labels) with the value at `best` (R) raised where it is not the first largest of its row.

    This happens to labels that are nearly equal: rounding may make them equal at one temperature and different at
    another. A raised value is the next floating-point number above the others.
    """
    rows = np.flatnonzero(probabilities.argmax(axis=1) != best)
    raised = probabilities.copy()
    raised[rows, best[rows]] = np.nextafter(probabilities[rows].max(axis=1), np.float32(np.inf))
    return raised


def label_columns(
    probabilities: NDArray[np.float32], labels: LabelSet, rejected: NDArray[np.bool_] | None = None
) -> dict[str, pa.Array]:
    """The label and the probabilities (R, labels) as columns, null where `rejected` (R)."""
    best = pa.array(probabilities.argmax(axis=1), pa.int32(), mask=rejected)
    columns = {LABEL: pa.DictionaryArray.from_arrays(best, list(labels)).cast(pa.string())}
    for position, name in enumerate(probability_columns(labels)):
        columns[name] = pa.array(probabilities[:, position], pa.float32(), mask=rejected)
    return columns
