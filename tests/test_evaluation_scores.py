"""Runs with scores are evaluated against gold ids or answers: the figures are those of scikit-learn on all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pyarrow as pa
import pytest
from job_runs import made_up_pairs, run_main
from many_questions import GOLD, TOPICS, labelled, summaries, texts
from pairs import with_class_names
from sklearn import metrics

from albert_infer import read_labels
from albert_infer.errors import InputError
from albert_infer.learning.evaluation.consistency import ConsistencyCounts, consistency
from albert_infer.learning.evaluation.ranking import RankingCounts, ranking
from albert_infer.learning.evaluation.rows import POSITION
from albert_infer.learning.evaluation.scored_gold import gold_answers, gold_ids

SPLIT = {"split_premise": "sentences", "split_hypothesis": "sentences"}


def evaluated(run: Path, output: Path, *flags: object) -> dict[str, Any]:
    outcome = run_main(evaluate.main, "--run", run, "--output", output, *flags)
    assert outcome.exit_code == 0, outcome.stderr
    document: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return document


def refused(run: Path, output: Path, *flags: object) -> str:
    outcome = run_main(evaluate.main, "--run", run, "--output", output, *flags)
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1), outcome.stderr
    return outcome.stderr


def made_up_ranking(rows: int, hypotheses: int, top_k: int, seed: int) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """Rankings of hypotheses `h0`, `h1` and so on, and gold ids of which about half are first; -1 for none."""
    generator = np.random.default_rng(seed)
    order = generator.permuted(np.tile(np.arange(hypotheses), (rows, 1)), axis=1)[:, :top_k]
    gold = np.where(generator.random(rows) < 0.5, order[:, 0], generator.integers(-1, hypotheses, rows))
    top = [[f"h{code}" for code in row] for row in order.tolist()]
    table = {"best": [row[0] for row in top], "top": top}
    score = pa.array(generator.uniform(0.2, 1, rows), pa.float32())
    return pa.table({POSITION: range(rows), "score": score, **table}), gold


@pytest.mark.computes
def test_a_ranking_has_the_figures_of_scikit_learn() -> None:
    ids = [f"h{code}" for code in range(70)]
    rows, gold = made_up_ranking(3_000, len(ids), 5, seed=1)
    counts = RankingCounts(ids, 5)
    for first in range(0, 3_000, 700):
        counts.add(rows.slice(first, 700), gold[first : first + 700])
    figures = ranking(counts, ids)
    known = gold >= 0
    best = np.array([int(name[1:]) for name in rows["best"].to_pylist()])[known]
    assert figures.rows == counts.with_gold == known.sum()
    assert figures.accuracy.value == pytest.approx(metrics.accuracy_score(gold[known], best))
    assert figures.macro_f1.value == pytest.approx(metrics.f1_score(gold[known], best, average="macro"))
    assert figures.macro_f1.low < figures.macro_f1.value < figures.macro_f1.high
    top = [[int(name[1:]) for name in names] for names in rows["top"].to_pylist()]
    among_three = [code in names[:3] for code, names in zip(gold, top, strict=True) if code >= 0]
    assert figures.accuracy_at["3"].value == pytest.approx(np.mean(among_three))
    assert figures.accuracy_at["1"] == figures.accuracy
    assert list(figures.accuracy_at) == ["1", "2", "3", "4", "5"]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(gold[known], best, labels=range(70))
    assert len(figures.classes) == 50
    for name, of in figures.classes.items():
        code = int(name[1:])
        assert (of.precision.value, of.recall.value, of.f1.value) == pytest.approx(
            (precision[code], recall[code], f1[code])
        )
        assert of.gold_rows == support[code]
        assert of.recall.low <= of.recall.value <= of.recall.high
    assert list(figures.confusion)[-1] == "(other)"
    assert sum(sum(of_gold.values()) for of_gold in figures.confusion.values()) == figures.rows
    assert sum(each.rows for each in figures.calibration.bins) == figures.rows


def test_consistency_has_the_figures_of_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    gold = generator.integers(-1, 2, 900)
    score = np.round(generator.normal(gold * 0.5, 0.6), 1).clip(-1, 1).astype(np.float32)
    counts = ConsistencyCounts()
    table = pa.table({POSITION: range(900), "score": score})
    for first in range(0, 900, 400):
        counts.add(table.slice(first, 400), gold[first : first + 400])
    figures = consistency(counts)
    known = gold >= 0
    assert figures.auc.value == pytest.approx(metrics.roc_auc_score(gold[known], score[known]))
    assert figures.auc.low < figures.auc.value < figures.auc.high
    assert figures.auc.high - figures.auc.low == pytest.approx(0.075, abs=0.02)
    reached = [
        metrics.balanced_accuracy_score(gold[known], score[known] >= threshold) for threshold in np.unique(score[known])
    ]
    assert figures.balanced_accuracy.value == pytest.approx(max(reached))
    above = score[known] >= np.float32(figures.threshold)
    assert metrics.balanced_accuracy_score(gold[known], above) == pytest.approx(max(reached))
    assert figures.balanced_accuracy.low < figures.balanced_accuracy.value < figures.balanced_accuracy.high
    assert (figures.rows, figures.consistent_rows) == (known.sum(), (gold == 1).sum())
    assert [figures.curve[0], figures.curve[-1]] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (pa.array(["music", "-", None, "food"]), (), [1, -1, -1, 2]),
        (pa.array(["music", "food"]).dictionary_encode(), (), [1, 2]),
        (pa.array([2, -1, 0, None]), ("food", "sport", "music"), [1, -1, 2, -1]),
        (pa.array([2.0, float("nan")]), ("food", "sport", "music"), [1, -1]),
        (pa.array([b"sport"], pa.binary()), (), [0]),
        (pa.nulls(2), (), [-1, -1]),
    ],
)
def test_gold_ids_are_ids_of_the_set_or_numbers_of_classes(values: pa.Array, names: Any, codes: list[int]) -> None:
    assert gold_ids(pa.chunked_array([values]), "column `gold`", names, TOPICS).tolist() == codes


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (pa.array(["Consistent", " inconsistent", "-", None]), (), [1, 0, -1, -1]),
        (pa.array([True, False, None]), (), [1, 0, -1]),
        (pa.array([1, 0, -1]), (), [1, 0, -1]),
        (pa.array([1.0, 0.0, float("nan")]), (), [1, 0, -1]),
        (pa.array([0, 1]), ("consistent", "inconsistent"), [1, 0]),
    ],
)
def test_gold_answers_are_binary(values: pa.Array, names: Any, codes: list[int]) -> None:
    assert gold_answers(pa.chunked_array([values]), "column `gold`", names).tolist() == codes


@pytest.mark.parametrize("values", [pa.array(["Sport"]), pa.array([3]), pa.array([1.5]), pa.array([["sport"]])])
def test_a_gold_value_that_is_none_is_named(values: pa.Array) -> None:
    with pytest.raises(InputError, match="column `gold`: "):
        gold_ids(pa.chunked_array([values]), "column `gold`", (), TOPICS)
    with pytest.raises(InputError, match="column `gold`: "):
        gold_answers(pa.chunked_array([values]), "column `gold`", ())


@pytest.mark.computes
def test_a_run_of_topics_is_evaluated_by_its_gold_ids(tmp_path: Path) -> None:
    run = labelled(tmp_path, texts(), candidates=TOPICS, publish="both")
    document = evaluated(run, tmp_path / "evaluation")
    best = read_labels(run)["best"].to_pylist()
    gold = [GOLD[row] for row in (0, 1, 2, 4, 6)]
    assert document["rule"] == "topics"
    assert document["rows"] == {
        "scored": 5,
        "with_gold": 5,
        "without_gold": 0,
        "rejected": {"empty_text": 1, "null_text": 1},
    }
    right = sum(one == other for one, other in zip(best, gold, strict=True))
    assert document["ranking"]["accuracy"]["value"] == right / 5
    assert document["ranking"]["accuracy_at"]["3"]["value"] == 1
    assert document["ranking"]["confusion"]["sport"]["sport"] == 2
    assert document["consistency"] is None
    assert len(document["hardest"]) == 5 - right
    page = (tmp_path / "evaluation" / "evaluation.html").read_text()
    assert "macro-F1" in page
    assert "<script" not in page


@pytest.mark.computes
def test_a_run_of_consistency_is_evaluated_by_binary_answers(tmp_path: Path) -> None:
    run = labelled(tmp_path, summaries(), **SPLIT)
    document = evaluated(run, tmp_path / "evaluation", "--no-texts")
    score = read_labels(run)["score"].to_numpy()
    measures = document["consistency"]
    assert document["rule"] == "summac_zs"
    assert measures["auc"]["value"] == metrics.roc_auc_score([1, 0, 1, 0], score)
    assert measures["consistent_mean_score"] == pytest.approx(score[[0, 2]].mean())
    assert {row["premise"] for row in document["hardest"]} == {None}
    assert {row["gold"] for row in document["hardest"]} == {"consistent", "inconsistent"}
    assert "fitted on these rows" in (tmp_path / "evaluation" / "evaluation.html").read_text()


@pytest.mark.computes
@pytest.mark.parametrize("publish", ["scores", "pairs"])
@pytest.mark.parametrize("rule", ["any_entailment", "entailment_first"])
def test_a_rule_that_chooses_a_pair_is_evaluated_by_its_label(tmp_path: Path, rule: str, publish: str) -> None:
    rows = summaries(["entailment", "contradiction", "-", "contradiction"])
    run = labelled(tmp_path, rows, split_premise="sentences", fold=rule, publish=publish)
    document = evaluated(run, tmp_path / "evaluation")
    labels = read_labels(run)
    assert labels.num_rows == (4 if publish == "scores" else 8)
    assert document["rows"]["labelled"] == labels.num_rows
    judged = [row for row in labels.to_pylist() if row["gold_label"] != "-"]
    right = [row["label"] == row["gold_label"] for row in judged]
    assert document["against_gold"]["quality"]["accuracy"]["value"] == np.mean(right)


@pytest.mark.computes
def test_the_hypothesis_of_a_chosen_pair_is_that_of_its_id(tmp_path: Path, checkpoint: Path) -> None:
    rows = made_up_pairs(40, seed=3).drop_columns(["hypothesis"])
    rows = rows.append_column("gold_label", [["entailment", "neutral"] * 20])
    settings = {"candidates": ("w1", "w2"), "hypothesis_template": "w3 {}", "model": str(checkpoint)}
    run = labelled(tmp_path, rows, fold="any_entailment", **settings)
    document = evaluated(run, tmp_path / "evaluation")
    assert document["rows"]["with_gold"] == 40
    assert {pair["hypothesis"] for pair in document["against_gold"]["hardest"]} <= {"w3 w1", "w3 w2"}
    pairs = labelled(tmp_path / "pairs", rows, fold="any_entailment", publish="pairs", unit_rows=20, **settings)
    assert evaluated(pairs, tmp_path / "evaluation")["rows"]["with_gold"] == 80
    assert "its rows are pairs, and labels of rows are compared" in refused(
        pairs, tmp_path / "evaluation", "--other-run", pairs
    )


@pytest.mark.computes
def test_what_cannot_be_evaluated_is_one_line(tmp_path: Path, checkpoint: Path) -> None:
    settings = {"model": str(checkpoint)}
    topics = labelled(tmp_path / "topics", texts(), candidates=TOPICS, **settings)
    output = tmp_path / "evaluation"
    assert "--other-run with" in refused(topics, output, "--other-run", topics)
    assert "--review-below with" in refused(topics, output, "--review-below", 0.5)
    assert "the rows of a run with the rule topics have scores; leave out --slices" in refused(
        topics, output, "--slices", "gold_label"
    )
    assert "the run has no column `truth`; label with --carry truth" in refused(
        topics, output, "--gold-column", "truth"
    )
    assert "it is an output column" in refused(topics, output, "--gold-column", "best")
    wrong = texts().set_column(2, "gold_label", [["entailment"] * 7])
    run = labelled(tmp_path / "wrong", wrong, candidates=TOPICS, **settings)
    assert "the gold answer `entailment`; carry an id of the set, as `sport`, `music`, `food`" in refused(run, output)
    run = labelled(tmp_path / "labels", summaries(["entailment"] * 4), **SPLIT, **settings)
    assert "the gold answer `entailment`; carry consistent or inconsistent" in refused(run, output)
    run = labelled(tmp_path / "same", summaries([1, 1, 1, 1]), **SPLIT, **settings)
    assert "all its gold answers are the same one; give consistent and inconsistent rows" in refused(run, output)
    run = labelled(tmp_path / "none", summaries(["-"] * 4), **SPLIT, **settings)
    assert "none of its 4 rows with a score has a gold answer" in refused(run, output)


@pytest.mark.computes
def test_gold_topics_beside_pairs_are_refused_with_what_to_do(tmp_path: Path, checkpoint: Path) -> None:
    settings: dict[str, Any] = {"candidates": TOPICS, "publish": "pairs", "model": str(checkpoint)}
    advice = "such as topics, label again with --publish scores or both"
    output = tmp_path / "evaluation"
    numbers = texts().set_column(2, "gold_label", pa.array([0, 1, 2, 0, 1, 2, 0]))
    rows = {"names": texts(), "numbers": with_class_names(numbers, "gold_label", TOPICS)}
    for kind, table in rows.items():
        assert advice in refused(labelled(tmp_path / kind, table, **settings), output)
    # Rows have a label by this rule, and no score, whatever is published.
    run = labelled(tmp_path / "label", texts(), fold="any_entailment", **settings)
    told = refused(run, output)
    assert "the gold label `sport`" in told
    assert advice not in told
