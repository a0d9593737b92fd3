"""What the built-in checkpoint learns from: nothing that measures it, and no pair twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel
from recipes.builtin.gold import GOLD, gold_codes, gold_pairs, premise_percent
from recipes.builtin.lexicon import Lexicon, Word
from recipes.builtin.unlabelled import MNLI_AMOUNTS, SNLI_AMOUNTS, KeptOut, normal, pairs_of, unlabelled_pairs

PREMISES = 200
LEXICON = Lexicon(
    {
        "noun": {"dog": Word(("animal",), (), ("cat", "fox")), "guitar": Word(("instrument",), (), ("piano",))},
        "verb": {"walk": Word(("travel",), ("ride",), ("run",))},
        "adj": {"old": Word((), ("young",), ())},
        "adv": {},
    },
    ("The dog was walking along the river.", "The old mill has three floors.", "He sold his guitar in Paris."),
)


def table(rows: Sequence[tuple[str, str, str]]) -> pa.Table:
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate((PREMISE, HYPOTHESIS, GOLD))})


def corpus(name: str) -> pa.Table:
    """Three pairs for each premise."""
    return table(
        [
            (f"{name} man {number} is walking with {number} old dogs.", f"Man {number} {text} in {name}.", str(label))
            for number in range(PREMISES)
            for label, text in zip(NliLabel, ("is outside", "has a guitar", "sleeps"), strict=True)
        ]
    )


def encoder(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors that depend on the letters."""
    counts = np.asarray([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)
    normed: NDArray[np.float32] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return normed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("snli_dev", "mnli_dev_a"):
        pq.write_table(corpus(name), tmp_path / f"{name}.parquet")
    return tmp_path


def test_no_premise_is_on_two_sides_and_no_pair_is_lost(folder: Path) -> None:
    gold = gold_pairs(folder)
    parts = (gold.train, gold.calibration, gold.mnli_report)
    premises = [set(part[PREMISE].to_pylist()) for part in parts]
    assert sum(map(len, premises)) == len(set.union(*premises)) == 2 * PREMISES
    assert sum(map(len, parts)) == 2 * 3 * PREMISES
    assert all("mnli" in premise for premise in premises[2])
    assert {premise.split()[0] for premise in premises[1]} == {"snli_dev", "mnli_dev_a"}


def test_the_parts_have_about_the_size_that_they_should_have(folder: Path) -> None:
    gold = gold_pairs(folder)
    assert 0.85 < len(gold.snli_train) / (3 * PREMISES) < 0.95
    assert 0.80 < len(gold.mnli_train) / (3 * PREMISES) < 0.90
    assert 0.05 < len(gold.mnli_report) / (3 * PREMISES) < 0.15


def test_the_side_of_a_premise_never_changes() -> None:
    assert premise_percent("A man is sleeping on a bench.") == 82


def test_gold_labels_have_the_codes_of_the_probability_columns() -> None:
    rows = [("p", "h", str(label)) for label in reversed(NliLabel)]
    assert gold_codes(table(rows)).tolist() == [2, 1, 0]


@pytest.mark.computes
def test_what_measures_is_in_no_made_pair(folder: Path) -> None:
    gold = gold_pairs(folder)
    # A sentence of the training pairs, in other letters, and one of their pairs the other way round.
    measured = table([("the OLD mill has three floors", "A mill.", "neutral"), ("x", "y", "neutral")])
    first, second = gold.snli_train[HYPOTHESIS].to_pylist()[:2]
    kept_out = KeptOut.of([gold.calibration, gold.mnli_report, measured])
    kept_out = KeptOut(kept_out.sentences, kept_out.pairs | {frozenset((normal(first), normal(second)))})
    made = list(pairs_of(made_pairs(gold.snli_train, gold.mnli_train, kept_out)))
    sentences = {normal(text) for pair in made for text in pair}
    assert sentences.isdisjoint(map(normal, gold.mnli_report[PREMISE].to_pylist()))
    assert sentences.isdisjoint(map(normal, gold.calibration[PREMISE].to_pylist()))
    assert "the old mill has three floors" not in sentences
    assert not {(first, second), (second, first)} & set(made)


@pytest.mark.computes
def test_made_pairs_are_new_and_come_once(folder: Path) -> None:
    gold = gold_pairs(folder)
    made = list(pairs_of(made_pairs(gold.snli_train, gold.mnli_train, KeptOut.of([]))))
    assert len(set(made)) == len(made) > 20 * PREMISES
    assert not set(made) & set(pairs_of(gold.train))
    assert all(normal(premise) != normal(hypothesis) for premise, hypothesis in made)


@pytest.mark.computes
def test_each_way_of_making_pairs_makes_some(folder: Path) -> None:
    gold = gold_pairs(folder)
    kinds = set(made_pairs(gold.snli_train, gold.mnli_train, KeptOut.of([]))["kind"].to_pylist())
    assert kinds == {
        "recombined",
        "neighbours",
        "edited_hypotheses",
        "edited_premises",
        "edited_sentences",
        "longer_premises",
        "edited_examples",
        "neighbouring_examples",
    }


@pytest.mark.computes
def test_the_same_pairs_are_made_again(folder: Path) -> None:
    gold = gold_pairs(folder)
    once, twice = (made_pairs(gold.snli_train, gold.mnli_train, KeptOut.of([])) for _ in range(2))
    assert once.equals(twice)


def made_pairs(snli: pa.Table, mnli: pa.Table, kept_out: KeptOut) -> pa.Table:
    return unlabelled_pairs([(snli, SNLI_AMOUNTS), (mnli, MNLI_AMOUNTS)], LEXICON, encoder, kept_out, seed=0)
