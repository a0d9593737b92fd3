"""Each fold rule gives what a plain loop over one row gives, and what the rule's source gives.

Sources: Hugging Face's `ZeroShotClassificationPipeline` for `topics` and `topics_multi`, called here; SummaC-ZS
(Laban et al. 2022, "SummaC: Re-Visiting NLI-based Models for Inconsistency Detection in Summarization", TACL;
github.com/tingofurro/summac) for `summac_zs`. The loops are plain Python for one row.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import PROPERTY

from albert_infer.classify.folds import chosen_pairs, consistency, pair_scores, ranked
from albert_infer.classify.probabilities import softmax
from albert_infer.schema import MAX_PAIRS, FoldRule, NliLabel, RowPairs

THREE: Final = tuple(NliLabel)
TWO: Final = ("entailment", "not_entailment")
# The label of a row, if one of its pairs has it, in this order.
ENTAILMENT_FIRST: Final = ("entailment", "contradiction", "not_entailment", "neutral")

# Premise and hypothesis parts of each row.
SHAPES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), max_size=6)
LABELS = st.sampled_from([THREE, THREE[::-1], TWO, TWO[::-1]])
SEEDS = st.integers(0, 2**32 - 1)
CHOOSING: Final = [rule for rule in FoldRule if rule.chooses_pair]
RANKING: Final = (FoldRule.TOPICS, FoldRule.TOPICS_MULTI)


def row_pairs(shapes: Sequence[tuple[int, int]]) -> RowPairs:
    parts = np.array(shapes, np.int64).reshape(-1, 2)
    return RowPairs(parts[:, 0], parts[:, 1])


def made_up(pairs: int, labels: Sequence[str], seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and their probabilities. There are few different logits, so that many pairs are equal."""
    generator = np.random.default_rng(seed)
    logits_PL = generator.choice(np.array([-9, -2.5, 0, 0.75, 3], np.float32), (pairs, len(labels)))
    return logits_PL, softmax(logits_PL)


def rows_of(pairs: RowPairs) -> Iterator[tuple[int, int]]:
    """Where the pairs of each row begin and end."""
    return pairwise(pairs.offsets.tolist())


@PROPERTY
@given(shapes=SHAPES)
def test_the_pairs_of_a_row_are_all_premise_parts_with_one_hypothesis_after_another(
    shapes: list[tuple[int, int]],
) -> None:
    pairs = row_pairs(shapes)
    expected = [
        (row, hypothesis, premise)
        for row, (premises, hypotheses) in enumerate(shapes)
        for hypothesis in range(hypotheses)
        for premise in range(premises)
    ]
    assert list(zip(pairs.rows_P, pairs.hypothesis_P, pairs.premise_P, strict=True)) == expected
    assert np.diff(pairs.offsets).tolist() == pairs.counts_R.tolist() == [x * y for x, y in shapes]


# Scores of pairs.


def plain_scores(rule: FoldRule, logits: NDArray[Any], labels: Sequence[str]) -> list[float]:
    """The scores of one row's pairs, from the definition."""
    row = [dict(zip(labels, map(float, pair), strict=True)) for pair in logits]
    if rule is FoldRule.TOPICS:
        total = sum(math.exp(pair["entailment"]) for pair in row)
        return [math.exp(pair["entailment"]) / total for pair in row]
    scores = []
    for pair in row:
        powers = {label: math.exp(logit) for label, logit in pair.items()}
        p = {label: power / sum(powers.values()) for label, power in powers.items()}
        if "contradiction" not in p:
            scores.append(p["entailment"])
        else:
            scores.append(p["entailment"] / (p["entailment"] + p["contradiction"]))
    return scores


@pytest.mark.parametrize("rule", RANKING)
@PROPERTY
@given(shapes=SHAPES, labels=LABELS, seed=SEEDS)
def test_scores_are_those_of_their_definition(
    rule: FoldRule, shapes: list[tuple[int, int]], labels: tuple[str, ...], seed: int
) -> None:
    pairs = row_pairs(shapes)
    logits, probabilities = made_up(int(pairs.counts_R.sum()), labels, seed)
    scores = pair_scores(rule, pairs, logits, probabilities, labels)
    assert scores.dtype == np.float32
    for first, last in rows_of(pairs):
        assert scores[first:last] == pytest.approx(plain_scores(rule, logits[first:last], labels), abs=1e-6)


def test_with_two_labels_the_score_of_a_pair_is_its_entailment_column() -> None:
    logits, probabilities = made_up(9, TWO, 1)
    scores = pair_scores(FoldRule.TOPICS_MULTI, row_pairs([(1, 9)]), logits, probabilities, TWO)
    assert scores.tobytes() == probabilities[:, 0].tobytes()


def test_scores_are_finite_for_logits_whose_exponentials_are_not() -> None:
    logits = np.array([[900, 0, 890], [-900, 2000, -900], [0, 900, -900]], np.float32)
    pairs, probabilities = row_pairs([(1, 3)]), softmax(logits)
    assert pair_scores(FoldRule.TOPICS, pairs, logits, probabilities, THREE).tolist() == [1, 0, 0]
    multi = pair_scores(FoldRule.TOPICS_MULTI, pairs, logits, probabilities, THREE)
    assert multi == pytest.approx([1 / (1 + math.exp(-10)), 0.5, 1])


# Rankings of the hypotheses of a set.


def zero_shot(logits: NDArray[np.float32], labels: Sequence[str], *, multi_label: bool) -> dict[str, Any]:
    """The answer of Hugging Face's own code to these outputs of a model, whose candidates are numbered."""
    from transformers import ZeroShotClassificationPipeline

    outputs = [
        {"candidate_label": number, "sequence": "a text", "logits": torch.from_numpy(pair[np.newaxis])}
        for number, pair in enumerate(logits)
    ]
    pipeline = SimpleNamespace(entailment_id=labels.index("entailment"))
    postprocess: Any = ZeroShotClassificationPipeline.postprocess
    answer: dict[str, Any] = postprocess(pipeline, outputs, multi_label=multi_label)
    return answer


# With one candidate Hugging Face computes `topics_multi`.
@pytest.mark.parametrize(
    ("rule", "candidates"),
    [*((FoldRule.TOPICS, count) for count in (2, 7, 300)), *((FoldRule.TOPICS_MULTI, count) for count in (1, 2, 300))],
)
@pytest.mark.parametrize("labels", [THREE, THREE[::-1], TWO, TWO[::-1]], ids="-".join)
def test_topics_are_those_of_hugging_face(rule: FoldRule, candidates: int, labels: tuple[str, ...]) -> None:
    generator = np.random.default_rng(candidates)
    logits = generator.normal(0, 3, (3 * candidates, len(labels))).astype(np.float32)
    pairs = row_pairs([(1, candidates)] * 3)
    ranking = ranked(pairs, pair_scores(rule, pairs, logits, softmax(logits), labels), candidates)
    for row in range(3):
        theirs = zero_shot(logits[pairs.rows_P == row], labels, multi_label=rule is FoldRule.TOPICS_MULTI)
        ours = slice(ranking.offsets[row], ranking.offsets[row + 1])
        assert ranking.hypotheses_T[ours].tolist() == theirs["labels"]
        assert ranking.scores_T[ours] == pytest.approx(theirs["scores"], abs=1e-6)


def test_one_hypothesis_has_the_whole_share() -> None:
    logits, probabilities = made_up(2, THREE, 3)
    assert pair_scores(FoldRule.TOPICS, row_pairs([(1, 1)] * 2), logits, probabilities, THREE).tolist() == [1, 1]


@PROPERTY
@given(hypotheses=st.lists(st.integers(1, 9), max_size=6), top_k=st.integers(1, 7), seed=SEEDS)
def test_a_ranking_has_the_best_first_and_of_equals_the_first(hypotheses: list[int], top_k: int, seed: int) -> None:
    pairs = row_pairs([(1, count) for count in hypotheses])
    scores = np.random.default_rng(seed).choice(np.array([-1, 0, -0.0, 0.5], np.float32), sum(hypotheses))
    ranking = ranked(pairs, scores, top_k)
    expected = []
    for first, last in rows_of(pairs):
        negative = [-score for score in scores[first:last].tolist()]
        expected.append(sorted(range(last - first), key=negative.__getitem__)[:top_k])
    assert [ranking.hypotheses_T[first:last].tolist() for first, last in pairwise(ranking.offsets)] == expected
    assert (
        ranking.scores_T.tobytes()
        == scores[
            [first + hypothesis for first, each in zip(pairs.offsets, expected, strict=False) for hypothesis in each]
        ]
        .astype(np.float32)
        .tobytes()
    )
    assert ranking.best_R.tolist() == [each[0] for each in expected]
    assert ranking.score_R.tolist() == [scores[first:last].max() for first, last in rows_of(pairs)]


# SummaC.


def summac_zs(image: NDArray[Any]) -> float:
    """The score of one row by SummaC's code, `SummaCZS.image2score` with `op1="max"`, `op2="mean"`, `use_ent=True`.

    `use_con` is True if there is a contradiction. `image` (labels, premise parts, hypotheses) has entailment first,
    then contradiction if there is one.
    """
    scores = np.max(image[0], axis=0)
    if len(image) > 1:
        scores = scores - np.max(image[1], axis=0)
    return float(np.mean(scores.astype(np.float64)))


def plain_decision(image: NDArray[Any]) -> tuple[int, int]:
    """The hypothesis with the smallest score, and the premise part with its largest probability, of one row."""
    entailment, contradiction = image[0].T.tolist(), (image[1] if len(image) > 1 else 0 * image[0]).T.tolist()
    scores = [np.float32(max(e)) - np.float32(max(c)) for e, c in zip(entailment, contradiction, strict=True)]
    hypothesis = scores.index(min(scores))
    supports, denies = entailment[hypothesis], contradiction[hypothesis]
    largest = max(max(supports), max(denies))
    return hypothesis, (supports if max(denies) <= max(supports) else denies).index(largest)


def image_of(probabilities: NDArray[np.float32], shape: tuple[int, int], labels: Sequence[str]) -> NDArray[np.float32]:
    """SummaC's image of one row with `shape` (premise parts, hypotheses): labels, premise parts, hypotheses."""
    columns = [labels.index(label) for label in ("entailment", "contradiction") if label in labels]
    return np.stack([probabilities[:, column].reshape(shape[::-1]).T for column in columns])


@PROPERTY
@given(shapes=SHAPES, labels=LABELS, seed=SEEDS)
def test_consistency_is_the_score_of_summac(shapes: list[tuple[int, int]], labels: tuple[str, ...], seed: int) -> None:
    pairs = row_pairs(shapes)
    _, probabilities = made_up(int(pairs.counts_R.sum()), labels, seed)
    score_R, pair_R = consistency(pairs, probabilities, labels)
    assert score_R.dtype == np.float32
    assert len(score_R) == len(pair_R) == len(shapes)
    for row, (first, last) in enumerate(rows_of(pairs)):
        image = image_of(probabilities[first:last], shapes[row], labels)
        assert score_R[row] == pytest.approx(summac_zs(image), abs=1e-6)
        decided = (pairs.rows_P[pair_R[row]], pairs.hypothesis_P[pair_R[row]], pairs.premise_P[pair_R[row]])
        assert decided == (row, *plain_decision(image))


@pytest.mark.parametrize(
    ("entailment", "contradiction", "expected"),
    [
        ([[0.5]], [[0.25]], (0.25, 0)),
        ([[0.5, 0.5], [0.25, 0.25]], [[0, 0], [0, 0]], (0.375, 2)),
        ([[0.25, 0.5], [0.5, 0.5]], [[0, 0], [0, 0]], (0.5, 1)),
        ([[0.5, 0.25], [0.125, 0.125]], [[0, 0.5], [0.25, 0.75]], (-0.3125, 3)),
        ([[0.25, 0.5]], [[0.5, 0.25]], (0, 1)),
    ],
    ids=["one pair", "the first of equal parts", "the first of equal hypotheses", "contradicted", "both alike"],
)
def test_the_least_supported_hypothesis_decides(
    entailment: list[list[float]], contradiction: list[list[float]], expected: tuple[float, int]
) -> None:
    columns = [np.array(column, np.float32).ravel() for column in (entailment, contradiction)]
    probabilities = np.stack([columns[0], 1 - columns[0] - columns[1], columns[1]], axis=1)
    score_R, pair_R = consistency(row_pairs([(len(entailment[0]), len(entailment))]), probabilities, THREE)
    assert (score_R.tolist(), pair_R.tolist()) == ([expected[0]], [expected[1]])


# Rules that choose a pair.


def plain_choice(rule: FoldRule, probabilities: NDArray[Any], labels: Sequence[str]) -> int:
    """The pair of one row that decides, from the definition."""
    labelled = [labels[pair.index(max(pair))] for pair in probabilities.tolist()]
    if rule is FoldRule.ENTAILMENT_FIRST:
        wanted = next(label for label in ENTAILMENT_FIRST if label in labelled)
    else:
        wanted = rule.removeprefix("any_")
    column: list[float] = probabilities[:, labels.index(wanted)].tolist()
    among = [pair for pair, label in enumerate(labelled) if label == wanted] or range(len(column))
    return max(among, key=column.__getitem__)


@pytest.mark.parametrize("rule", CHOOSING)
@PROPERTY
@given(shapes=SHAPES, labels=LABELS, seed=SEEDS, shuffled=st.booleans())
def test_the_chosen_pair_is_that_of_the_definition(
    rule: FoldRule, shapes: list[tuple[int, int]], labels: tuple[str, ...], seed: int, shuffled: bool
) -> None:
    labels = THREE if rule is FoldRule.ANY_CONTRADICTION else labels
    rows = row_pairs(shapes).rows_P
    rows = np.random.default_rng(seed).permutation(rows) if shuffled else rows
    _, probabilities = made_up(len(rows), labels, seed)
    chosen = chosen_pairs(rule, rows, probabilities, labels).tolist()
    expected = []
    for row in range(len(shapes)):
        ours = np.flatnonzero(rows == row)
        expected.append(ours[plain_choice(rule, probabilities[ours], labels)])
    assert chosen == expected


E, N, C = ((0.5, 0.3, 0.2), (0.1, 0.7, 0.2), (0.2, 0.1, 0.7))
UNKNOWN = (float("nan"),) * 3


@pytest.mark.parametrize(
    ("rule", "row", "chosen"),
    [
        ("entailment_first", [N], 0),
        ("entailment_first", [N, C, E], 2),
        ("entailment_first", [C, E, (0.9, 0.1, 0.0), E], 2),
        ("entailment_first", [N, C, N], 1),
        ("entailment_first", [C, (0.0, 0.1, 0.9), N], 1),
        ("entailment_first", [N, (0.0, 0.9, 0.1), N], 1),
        ("entailment_first", [C, E, N, E], 1),
        ("entailment_first", [(0.4, 0.2, 0.4), (0.0, 0.0, 1.0)], 0),
        ("entailment_first", [E, UNKNOWN, (1.0, 0.0, 0.0)], 1),
        ("any_entailment", [C, N], 0),
        ("any_entailment", [(0.45, 0.05, 0.5), (0.4, 0.3, 0.3), C], 1),
        ("any_entailment", [(0.45, 0.05, 0.5), C, N], 0),
        ("any_entailment", [N, E, E], 1),
        ("any_contradiction", [E, N], 0),
        ("any_contradiction", [(0.5, 0.05, 0.45), (0.3, 0.3, 0.4), C], 2),
        ("any_contradiction", [(0.5, 0.05, 0.45), E, N], 0),
    ],
    ids=[
        "one pair", "any entails", "the most entailing", "any contradicts", "the most contradicting",
        "the most neutral", "the first of equals", "a tie is the first label", "what is not known",
        "equals without an entailment", "a labelled pair before a larger probability", "no pair is labelled",
        "the first of equal entailments", "equals without a contradiction", "the largest contradiction",
        "no contradiction",
    ],
)  # fmt: skip
def test_examples_of_the_chosen_pair(rule: str, row: list[tuple[float, float, float]], chosen: int) -> None:
    probabilities = np.array(row, np.float32)
    assert chosen_pairs(FoldRule(rule), np.zeros(len(row), np.int64), probabilities, THREE).tolist() == [chosen]


def deciding_windows(rows_W: NDArray[np.int64], probabilities_WL: NDArray[np.float32]) -> NDArray[np.int64]:
    """The function that chose the deciding windows of releases without fold rules."""
    precedence = (NliLabel.ENTAILMENT, NliLabel.CONTRADICTION, NliLabel.NEUTRAL)
    rank_of_label = np.array([precedence.index(label) for label in NliLabel])
    known_W = np.isfinite(probabilities_WL).all(axis=1)
    rank_W = np.where(known_W, rank_of_label[probabilities_WL.argmax(axis=1)], -1)
    order_W = np.lexsort((-probabilities_WL.max(axis=1), rank_W, rows_W))
    _, first_R = np.unique(rows_W[order_W], return_index=True)
    return order_W[first_R]


@PROPERTY
@given(rows=st.lists(st.integers(0, 4), max_size=30), seed=SEEDS, unknown=st.sets(st.integers(0, 29), max_size=4))
def test_windows_are_folded_as_before_there_were_fold_rules(rows: list[int], seed: int, unknown: set[int]) -> None:
    _, probabilities = made_up(len(rows), THREE, seed)
    bad = [window for window in unknown if window < len(rows)]
    probabilities[bad, seed % 3] = np.nan if seed % 2 else np.inf
    windows = np.array(rows, np.int64)
    chosen = chosen_pairs(FoldRule.ENTAILMENT_FIRST, windows, probabilities, THREE)
    assert chosen.tobytes() == deciding_windows(windows, probabilities).tobytes()


# All rules.


def folded(rule: FoldRule, pairs: RowPairs, logits: NDArray[np.float32], labels: Sequence[str]) -> list[bytes]:
    """The bytes of each row's result. Pairs are counted from the row's first."""
    probabilities = softmax(logits)
    if rule.chooses_pair:
        return [row.tobytes() for row in chosen_pairs(rule, pairs.rows_P, probabilities, labels) - pairs.offsets[:-1]]
    if rule.ranks_hypotheses:
        scores = pair_scores(rule, pairs, logits, probabilities, labels)
        shares = [scores[first:last].tobytes() for first, last in rows_of(pairs)]
        ranking = ranked(pairs, scores, 3)
        tops = [ranking.hypotheses_T[first:last].tobytes() for first, last in pairwise(ranking.offsets)]
        return [share + top for share, top in zip(shares, tops, strict=True)]
    score_R, pair_R = consistency(pairs, probabilities, labels)
    return [score.tobytes() + pair.tobytes() for score, pair in zip(score_R, pair_R - pairs.offsets[:-1], strict=True)]


@pytest.mark.parametrize("rule", FoldRule)
def test_a_row_has_the_same_bytes_in_any_batch(rule: FoldRule) -> None:
    generator = np.random.default_rng(7)
    # Sums of more than 8,192 numbers are cut into buffers by some functions of numpy.
    hypotheses = [1, 9_001, *generator.integers(1, 60, 80).tolist(), 20_000, 3, 130]
    shapes = [(1 if rule.ranks_hypotheses else int(generator.integers(1, 4)), count) for count in hypotheses]
    pairs = row_pairs(shapes)
    logits = generator.normal(0, 3, (int(pairs.offsets[-1]), 3)).astype(np.float32)
    together = folded(rule, pairs, logits, THREE)
    for size in (1, 13):
        apart = []
        for first in range(0, len(shapes), size):
            some = shapes[first : first + size]
            taken = slice(pairs.offsets[first], pairs.offsets[first + len(some)])
            apart += folded(rule, row_pairs(some), logits[taken], THREE)
        assert apart == together, size


@pytest.mark.parametrize("rule", FoldRule)
def test_no_rows_have_no_results(rule: FoldRule) -> None:
    pairs, logits = row_pairs([]), np.zeros((0, 3), np.float32)
    if rule.chooses_pair:
        assert chosen_pairs(rule, pairs.rows_P, logits, THREE).tolist() == []
        return
    if rule is FoldRule.SUMMAC_ZS:
        assert [each.tolist() for each in consistency(pairs, logits, THREE)] == [[], []]
        return
    scores = pair_scores(rule, pairs, logits, logits, THREE)
    ranking = ranked(pairs, scores, 5)
    assert (scores.tolist(), ranking.hypotheses_T.tolist(), ranking.offsets.tolist()) == ([], [], [0])


def test_any_contradiction_needs_a_contradiction_label() -> None:
    with pytest.raises(ValueError, match="needs the label contradiction, and the labels are entailment, not_ent"):
        chosen_pairs(FoldRule.ANY_CONTRADICTION, np.zeros(1, np.int64), np.ones((1, 2), np.float32), TWO)


@pytest.mark.computes
@pytest.mark.parametrize("rule", FoldRule)
def test_a_row_may_have_the_most_pairs(rule: FoldRule) -> None:
    shape = (1, MAX_PAIRS) if rule.ranks_hypotheses else (300, MAX_PAIRS // 300)
    pairs = row_pairs([(1, 1), shape, (1, 1)])
    logits = np.random.default_rng(5).normal(0, 3, (MAX_PAIRS + 2, 3)).astype(np.float32)
    probabilities, row = softmax(logits), slice(1, MAX_PAIRS + 1)
    if rule.chooses_pair:
        chosen = chosen_pairs(rule, pairs.rows_P, probabilities, THREE)
        assert chosen[1] - 1 == plain_choice(rule, probabilities[row], THREE)
        return
    if rule is FoldRule.SUMMAC_ZS:
        score_R, pair_R = consistency(pairs, probabilities, THREE)
        image = image_of(probabilities[row], shape, THREE)
        hypothesis, premise = plain_decision(image)
        assert score_R[1] == pytest.approx(summac_zs(image), abs=1e-6)
        assert pair_R[1] - 1 == hypothesis * shape[0] + premise
        return
    scores = pair_scores(rule, pairs, logits, probabilities, THREE)
    assert scores[row] == pytest.approx(np.array(plain_scores(rule, logits[row], THREE)), abs=1e-6)
    assert ranked(pairs, scores, 5).hypotheses_T[1:6].tolist() == np.argsort(-scores[row], kind="stable")[:5].tolist()


@pytest.mark.parametrize("rule", FoldRule)
def test_a_rule_is_not_taken_for_one_of_the_other_kind(rule: FoldRule) -> None:
    logits, probabilities = made_up(1, THREE, 0)
    pairs = row_pairs([(1, 1)])
    if not rule.ranks_hypotheses:
        with pytest.raises(ValueError, match=f"{rule} ranks no hypotheses"):
            pair_scores(rule, pairs, logits, probabilities, THREE)
    if not rule.chooses_pair:
        with pytest.raises(ValueError, match=f"{rule} chooses no pair"):
            chosen_pairs(rule, pairs.rows_P, probabilities, THREE)
