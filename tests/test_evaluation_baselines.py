"""The baselines tell a gold set that gives its labels away from one that does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from albert_infer.learning.evaluation.baselines import Baselines, baselines
from albert_infer.learning.evaluation.counting import Sample


def sample(hypothesis_of: Callable[[int], str], rows: int = 1200) -> Sample:
    """Half of the gold labels are neutral; the labels are right in 4 of 5 rows."""
    generator = np.random.default_rng(0)
    gold = generator.choice(3, rows, p=[0.25, 0.5, 0.25])
    labels = np.where(np.arange(rows) % 5 == 0, (gold + 1) % 3, gold)
    halves = np.arange(rows) % 2 == 0
    return Sample(gold, labels, np.eye(3, dtype=np.float32)[labels], [hypothesis_of(each) for each in gold], halves)


def found(sample: Sample) -> Baselines:
    told = baselines(sample)
    assert told is not None
    return told


def test_hypotheses_that_give_labels_away_are_found_out() -> None:
    told = found(sample(lambda gold: ("it is so", "it may be", "it is not")[gold]))
    assert told.hypothesis_only.value == 1.0
    assert told.gap.value == pytest.approx(told.model.value - 1.0)
    assert told.gap.high < 0


def test_hypotheses_that_say_nothing_are_worth_the_most_frequent_label() -> None:
    told = found(sample(lambda gold: "it is so"))
    assert told.hypothesis_only.value == told.majority.value == pytest.approx(0.5, abs=0.05)
    assert told.model.value == pytest.approx(0.8, abs=0.01)
    assert told.gap.low > 0.2
    assert told.learnt_from == told.measured_on == 600


def test_rows_of_one_label_or_of_one_half_teach_nothing() -> None:
    whole = sample(lambda gold: "it is so", 20)
    assert baselines(whole.rows(whole.gold == 1)) is None
    assert baselines(whole.rows(whole.learnt_from)) is None
