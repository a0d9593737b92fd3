"""Rows with a score go to a person, and come back as a gold set that a run of the same kind is evaluated by."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import evaluate
import pyarrow.parquet as pq
import pytest
import review_labels
from job_runs import Outcome, run_main
from many_questions import TEXTS, TOPICS, labelled, summaries, texts

from albert_infer import read_labels

SPLIT = {"split_premise": "sentences", "split_hypothesis": "sentences"}
ODD = ("sport", 'a "b" & <c>', "food")


def review(*argv: object) -> Outcome:
    outcome = run_main(review_labels.main, *argv)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("topics"), texts(), candidates=TOPICS, review_below=0.55)


@pytest.fixture(scope="module")
def consistency(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("consistency"), summaries(), model=str(checkpoint), **SPLIT)


def test_the_rows_with_the_lowest_scores_are_tasks_with_the_ids_of_the_set(topics: Path, tmp_path: Path) -> None:
    outcome = review("--run", topics, "--file", tmp_path / "tasks.json", "--rows", 2, "--select", "least_certain")
    assert "2 rows in" in outcome.stdout
    rows = sorted(read_labels(topics).to_pylist(), key=lambda row: row["score"])
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["pair_id"] for task in tasks] == [row["pair_id"] for row in rows[:2]]
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": [rows[0]["best"]]}
    assert "hypothesis" not in tasks[0]["data"]
    interface = (tmp_path / "label-studio.xml").read_text()
    assert all(f'<Choice value="{topic}"/>' for topic in TOPICS)
    assert 'toName="premise"' in interface


def test_marked_rows_go_first_and_some_of_each_topic_may_be_drawn(topics: Path, tmp_path: Path) -> None:
    rows = read_labels(topics).to_pylist()
    marked = {row["pair_id"] for row in rows if row["needs_review"]}
    assert 0 < len(marked) < 5
    review("--run", topics, "--file", tmp_path / "marked.parquet")
    assert set(pq.read_table(tmp_path / "marked.parquet")["pair_id"].to_pylist()) == marked
    review("--run", topics, "--file", tmp_path / "each.parquet", "--select", "stratified", "--rows", 3)
    assert pq.read_table(tmp_path / "each.parquet").column_names == [
        "pair_id",
        "premise",
        "best",
        "score",
        "gold_label",
    ]


def test_ids_are_escaped_in_the_interface(checkpoint: Path, tmp_path: Path) -> None:
    run = labelled(tmp_path, texts(), candidates=ODD, model=str(checkpoint))
    review("--run", run, "--file", tmp_path / "tasks.json")
    assert "<Choice value='a \"b\" &amp; &lt;c&gt;'/>" in (tmp_path / "label-studio.xml").read_text()


@pytest.mark.computes
@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_answers_are_a_gold_set_that_a_run_of_topics_is_evaluated_by(
    topics: Path, checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / f"review.{kind}"
    review("--run", topics, "--file", file, "--select", "least_certain")
    answer(file, ["sport", "food", "-", "music"])
    outcome = review("--file", file, "--gold-output", tmp_path / "gold")
    assert "4 rows in" in outcome.stdout
    assert "1 row without an answer" in outcome.stdout
    gold = pq.read_table(tmp_path / "gold" / "gold.parquet")
    assert gold.column_names == ["pair_id", "premise", "gold_label"]
    assert gold["gold_label"].to_pylist() == ["sport", "food", "-", "music"]
    run = labelled(tmp_path / "again", gold, candidates=TOPICS, model=str(checkpoint))
    assert run_main(evaluate.main, "--run", run, "--output", tmp_path / "evaluation").exit_code == 0
    document = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert (document["rows"]["with_gold"], document["ranking"]["rows"]) == (3, 3)


@pytest.mark.computes
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_answers_of_consistency_are_a_gold_set(consistency: Path, checkpoint: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"review.{kind}"
    review("--run", consistency, "--file", file)
    answer(file, ["Consistent", "inconsistent", "consistent", "inconsistent"])
    review("--file", file, "--gold-output", tmp_path / "gold")
    gold = pq.read_table(tmp_path / "gold" / "gold.parquet")
    assert gold.column_names == ["pair_id", "premise", "hypothesis", "gold_label"]
    assert gold["gold_label"].to_pylist()[:2] == ["consistent", "inconsistent"]
    run = labelled(tmp_path / "again", gold, model=str(checkpoint), **SPLIT)
    assert run_main(evaluate.main, "--run", run, "--output", tmp_path / "evaluation").exit_code == 0


def answer(file: Path, answers: list[str]) -> None:
    """Give the first rows of a review file these answers."""
    if file.suffix == ".json":
        tasks = json.loads(file.read_text())
        for task, each in zip(tasks, answers, strict=False):
            result = [{"from_name": "gold_label", "type": "choices", "value": {"choices": [each]}}]
            task["annotations"] = [{"id": 1, "was_cancelled": False, "result": result}]
        file.write_text(json.dumps(tasks))
    elif file.suffix == ".csv":
        with file.open(newline="") as source:
            rows = list(csv.DictReader(source))
        for row, each in zip(rows, answers, strict=False):
            row["gold_label"] = each
        with file.open("w", newline="") as sink:
            table = csv.DictWriter(sink, rows[0].keys())
            table.writeheader()
            table.writerows(rows)
    else:
        table = pq.read_table(file)
        column = [*answers, *[None] * (table.num_rows - len(answers))]
        pq.write_table(table.set_column(table.column_names.index("gold_label"), "gold_label", [column]), file)


def test_the_pairs_of_a_rule_that_chooses_one_have_its_hypothesis(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"candidates": TOPICS, "fold": "any_entailment", "model": str(checkpoint)}
    run = labelled(tmp_path, texts(), **settings)
    review("--run", run, "--file", tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(newline="") as file:
        rows = {row["premise"]: row["hypothesis"] for row in csv.DictReader(file)}
    chosen = {row["premise"]: f"This text is about {row['hypothesis_id']}." for row in read_labels(run).to_pylist()}
    assert rows == chosen
    assert rows.keys() == {text for text in TEXTS if text and text.strip()}
    pairs = labelled(tmp_path / "pairs", texts(), publish="pairs", **settings)
    assert "15 pairs in" in review("--run", pairs, "--file", tmp_path / "pairs.csv").stdout


def test_what_has_no_meaning_is_one_line(consistency: Path, tmp_path: Path) -> None:
    for argv, code, problem in (
        (
            ("--run", consistency, "--file", tmp_path / "a.csv", "--select", "stratified"),
            2,
            "have no labels; give --sel",
        ),
        (
            ("--run", consistency, "--file", tmp_path / "a.csv", "--select", "needs_review"),
            3,
            "there are none; label wi",
        ),
    ):
        outcome = run_main(review_labels.main, *argv)
        assert (outcome.exit_code, outcome.stderr.count("\n")) == (code, 1), outcome.stderr
        assert problem in outcome.stderr
    nothing = labelled(tmp_path / "nothing", texts().slice(0, 0), candidates=TOPICS)
    outcome = run_main(review_labels.main, "--run", nothing, "--file", tmp_path / "a.csv")
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (3, 1)
    assert "it has no labelled row" in outcome.stderr
    review("--run", consistency, "--file", tmp_path / "b.csv")
    outcome = run_main(review_labels.main, "--file", tmp_path / "b.csv", "--gold-output", tmp_path / "gold")
    assert "it has no answer; fill in gold_label" in outcome.stderr
    answer(tmp_path / "b.csv", ["neutral"])
    outcome = run_main(review_labels.main, "--file", tmp_path / "b.csv", "--gold-output", tmp_path / "gold")
    assert "the answer `neutral` is none of consistent, inconsistent, -" in outcome.stderr
