"""The agreement sample: which pairs it takes, what it finds of them, and when it ends a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_runs import made_up_pairs
from pairs import PROPERTY

from albert_infer.errors import LimitError
from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.agreement import Agreement, refuse_disagreement, upper_bound
from albert_infer.preflight.checks import Checks, checked
from albert_infer.preflight.sample import SampledUnit, sampled_schema
from albert_infer.preflight.swap import Texts
from albert_infer.prepare.tokenization import append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import DeviceKind, PairColumns, Precision, conformed

PROBABILITIES = ["p_entailment", "p_neutral", "p_contradiction"]


# --- the bound


@PROPERTY
@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_bound_is_where_the_share_that_was_found_is_as_unlikely_as_the_confidence_allows(
    pairs: int, share: float
) -> None:
    equal = int(share * pairs)
    bound = upper_bound(equal, pairs)
    if equal == pairs:
        assert bound == 1
    else:
        found = equal / pairs
        assert found < bound < 1
        deviations = (bound - found) / math.sqrt(bound * (1 - bound) / pairs)
        assert NormalDist().cdf(deviations) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("equal", "pairs", "bound"), [(81, 263, 0.3662), (15, 148, 0.1605), (0, 20, 0.1611), (1, 29, 0.1718)]
)
def test_the_bound_is_that_of_a_textbook(equal: int, pairs: int, bound: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998): intervals at 95 %, so 97.5 % on each side, method 3."""
    assert upper_bound(equal, pairs, 0.975) == pytest.approx(bound, abs=5e-5)


# --- the refusal


def agreement(equal: int, pairs: int) -> Agreement:
    return Agreement(pairs, equal / pairs, upper_bound(equal, pairs), 0.1)


def test_a_run_is_refused_only_where_too_little_agreement_is_sure() -> None:
    refuse_disagreement(None, Precision.INT8, 1.0)
    refuse_disagreement(agreement(1000, 1000), Precision.INT8, 1.0)
    refuse_disagreement(agreement(983, 1000), Precision.INT8, 0.99)
    refuse_disagreement(agreement(39, 40), Precision.INT8, 0.99)
    with pytest.raises(LimitError) as refused:
        refuse_disagreement(agreement(981, 1000), Precision.INT8, 0.99)
    assert refused.value.asked == "--min-agreement 0.99"
    assert "98.10% of 1,000 sampled pairs have fp32's label in int8" in refused.value.problem
    assert "at most 98.88% of all" in refused.value.problem
    assert refused.value.remedy == "give --precision fp32, or lower --min-agreement"


# --- what is found


@pytest.mark.computes
@pytest.mark.usefixtures("one_thread")
def test_what_is_found_is_what_the_labels_of_both_precisions_differ_in(checkpoint: Path) -> None:
    pairs = with_null_premises(made_up_pairs(300, seed=17), [3, 200])
    found = found_of(checkpoint, pairs.slice(0, 100), pairs.slice(100))
    int8, fp32 = (
        Labeler(str(checkpoint), precision=each).label(pairs.select(["premise", "hypothesis"]))
        for each in (Precision.INT8, Precision.FP32)
    )
    labels = zip(int8["label"].to_pylist(), fp32["label"].to_pylist(), strict=True)
    equal = sum(ours == exact for ours, exact in labels if exact is not None)
    difference = max(np.nanmax(np.abs(int8[name].to_numpy() - fp32[name].to_numpy())) for name in PROBABILITIES)
    assert found is not None
    assert found.pairs == 298
    assert 0 < equal < 298
    assert found.equal_labels == pytest.approx(equal / 298)
    assert found.upper_bound == pytest.approx(upper_bound(equal, 298))
    assert found.largest_difference == pytest.approx(difference, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_pairs_without_a_label_say_nothing(checkpoint: Path) -> None:
    assert found_of(checkpoint, with_null_premises(made_up_pairs(3, seed=17), [0, 1, 2])) is None


def with_null_premises(pairs: pa.Table, rows: Sequence[int]) -> pa.Table:
    texts = [None if row in rows else text for row, text in enumerate(pairs["premise"].to_pylist())]
    return pairs.set_column(1, "premise", pa.array(texts, pa.string()))


def found_of(checkpoint: Path, *parts: pa.Table) -> Agreement | None:
    loaded = load_checkpoint(str(checkpoint))
    tokenizer = loaded.tokenizer(max_length=None)
    prepared = [
        conformed(append_tokens(mark_rejected(part), tokenizer), sampled_schema(PairColumns())) for part in parts
    ]
    sample = [SampledUnit(part, Texts()) for part in prepared]
    checks = Checks(tokenizer, Precision.INT8, max_batch_tokens=512, compared=True)
    return checked(loaded, *sample, checks=checks, device=DeviceKind.CPU, threads=1).agreement
