"""The agreement sample: whether the run's precision gives the labels of fp32, on pairs of the run, before bulk work.

Which pairs, the comparison, its bound and the refusal. Knows nothing of files or of Ray; needs torch when called.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classification import Classifier
from albert_infer.errors import LimitError
from albert_infer.model import Checkpoint
from albert_infer.planning import Unit
from albert_infer.schema import LABEL, PROBABILITIES, REJECTION, DeviceKind, Precision

# Enough for the pairs to come from all over the input, few enough for reading them to take seconds.
LEAST_UNITS: Final = 16
CONFIDENCE: Final = 0.99


@dataclass(frozen=True)
class ChosenRows:
    """Rows of one unit, by their places in it (R, int64), in order."""

    unit: Unit
    rows_R: NDArray[np.int64]  # noqa: N815  (its shape)


@dataclass(frozen=True)
class Agreement:
    """What was found on `pairs` pairs that have a label: the share of equal labels, the largest probability difference.

    `upper_bound` is how large the share of equal labels may be among all pairs, at CONFIDENCE.
    """

    pairs: int
    equal_labels: float
    upper_bound: float
    largest_difference: float
    precision: Precision
    device: DeviceKind


def chosen_rows(units: Sequence[Unit], pairs: int) -> list[ChosenRows]:
    """`pairs` rows of the plan, or all that it has; the same ones for a plan, whatever the workers or what is done.

    Unit ids are hashes, so the units of the smallest ids are spread over the input. As many of them as hold `pairs`
    rows, and LEAST_UNITS if there are so many, are to be read, no others; of their rows those with the smallest hash of
    unit id and row are taken.
    """
    ordered = sorted(units, key=lambda unit: unit.unit_id)
    rows_held = np.cumsum([unit.range.rows for unit in ordered])
    enough = int(np.searchsorted(rows_held, pairs)) + 1
    hashes = {unit: _row_hashes(unit) for unit in ordered[: max(enough, LEAST_UNITS)]}
    smallest = np.sort(np.concatenate(list(hashes.values())))[:pairs]
    chosen = (ChosenRows(unit, np.flatnonzero(found <= smallest[-1])) for unit, found in hashes.items())
    return [rows for rows in chosen if len(rows.rows_R)]


def measured(
    checkpoint: Checkpoint,
    *prepared: pa.Table,
    precision: Precision,
    device: DeviceKind,
    threads: int | None,
    max_batch_tokens: int,
) -> Agreement | None:
    """Label the pairs of `prepared` in `precision` and in fp32, on the same device; None if no pair has a label."""
    # Imported here, because the driver has no use for torch and it takes seconds to load.
    from albert_infer.engine.devices import usable_device

    device = usable_device(device)
    pairs = pa.concat_tables(prepared)
    found, expected = (
        Classifier.load(
            checkpoint, precision=each, device=device, threads=threads, max_batch_tokens=max_batch_tokens
        ).classified(pairs)
        for each in (precision, Precision.FP32)
    )
    labelled = found[REJECTION].is_null().to_numpy() & expected[REJECTION].is_null().to_numpy()
    count = int(labelled.sum())
    if not count:
        return None
    equal = int((_labels(found) == _labels(expected))[labelled].sum())
    return Agreement(
        pairs=count,
        equal_labels=equal / count,
        upper_bound=upper_bound(equal, count),
        largest_difference=float(np.abs(_probabilities(found) - _probabilities(expected))[labelled].max()),
        precision=precision,
        device=device,
    )


def upper_bound(equal: int, pairs: int, confidence: float = CONFIDENCE) -> float:
    """The largest share of equal labels that `equal` of `pairs` leaves likely, one-sided.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22 (1927). It takes the pairs as drawn one by one; those of a unit may be
    more alike than that.
    """
    if equal == pairs:
        return 1.0  # as the formula has it, but for rounding
    z = NormalDist().inv_cdf(confidence)
    margin = z * math.sqrt(equal * (pairs - equal) / pairs + z * z / 4)
    return (equal + z * z / 2 + margin) / (pairs + z * z)


def refuse_disagreement(found: Agreement | None, min_agreement: float) -> None:
    """Raises LimitError if even the upper bound is below `min_agreement`."""
    if found is not None and found.upper_bound < min_agreement:
        told = f"{found.equal_labels:.2%} of {found.pairs:,} sampled pairs have the label of fp32 in {found.precision}"
        likely = f"so at most {found.upper_bound:.2%} of all do ({CONFIDENCE:.0%} confidence)"
        remedy = "give --precision fp32, or lower --min-agreement"
        raise LimitError(f"--min-agreement {min_agreement}", f"{told}, {likely}", remedy)


def _row_hashes(unit: Unit) -> NDArray[np.uint64]:
    """A hash of unit id and row for each row of the unit: splitmix64, from a state that the id gives."""
    state = np.frombuffer(hashlib.sha256(unit.unit_id.encode()).digest()[:8], "<u8")
    mixed = state + np.arange(1, unit.range.rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashes


def _labels(labelled: pa.Table) -> NDArray[np.object_]:
    return np.asarray(labelled[LABEL].to_numpy())


def _probabilities(labelled: pa.Table) -> NDArray[np.float32]:
    return np.stack([labelled[name].to_numpy() for name in PROBABILITIES], axis=1)
