"""Pairs go to a person and come back as a gold set that evaluation and the gate read."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import evaluate
import pyarrow.parquet as pq
import pytest
import review_labels
from job_runs import Outcome, made_up_pairs, run_inline, run_main, write_pairs

from albert_infer.operations.review_files import LABEL_STUDIO_INTERFACE, ReviewPair, read, written
from albert_infer.schema import PROBABILITIES, NliLabel

PAIRS = [
    ReviewPair("7", 'A "quoted", text\nof two lines', "Ünïcode <b>", "neutral", 0.5, None),
    ReviewPair(None, "A dog sleeps.", "An animal sleeps.", "entailment", 0.25, "contradiction"),
]


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run that marks pairs for a review."""
    folder = tmp_path_factory.mktemp("review")
    write_pairs(folder / "in" / "a.parquet", made_up_pairs(90, seed=95))
    flags = ("--input", folder / "in", "--output", folder / "out", "--model", checkpoint, "--unit-rows", 32)
    outcome = run_inline(*flags, "--review-below", 0.4)
    assert outcome.exit_code == 0, outcome.stderr
    return folder / "out"


def review(*argv: object) -> Outcome:
    return run_main(review_labels.main, *argv)


def pair_ids(tasks: Path) -> list[str]:
    return [task["data"]["pair_id"] for task in json.loads(tasks.read_text())]


def test_marked_pairs_go_first_and_each_is_a_task_of_label_studio(run: Path, tmp_path: Path) -> None:
    outcome = review("--run", run, "--file", tmp_path / "tasks.json", "--rows", 1_000)
    assert outcome.exit_code == 0, outcome.stderr
    labels = pq.read_table(run).to_pylist()
    marked = {str(row["pair_id"]): row for row in labels if row["needs_review"]}
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert 0 < len(marked) < 90
    assert {task["data"]["pair_id"] for task in tasks} == marked.keys()
    for task in tasks:
        row = marked[task["data"]["pair_id"]]
        assert {"premise": row["premise"], "hypothesis": row["hypothesis"]}.items() <= task["data"].items()
        (result,) = task["predictions"][0]["result"]
        assert result["value"] == {"choices": [row["label"]]}
        assert f'name="{result["from_name"]}" toName="{result["to_name"]}"' in LABEL_STUDIO_INTERFACE
    assert (tmp_path / "label-studio.xml").read_text() == LABEL_STUDIO_INTERFACE


def test_the_least_certain_pairs_are_those_of_the_least_probability(run: Path, tmp_path: Path) -> None:
    review("--run", run, "--file", tmp_path / "tasks.json", "--rows", 10, "--select", "least_certain")
    rows = sorted(pq.read_table(run).to_pylist(), key=lambda row: max(row[name] for name in PROBABILITIES))
    assert pair_ids(tmp_path / "tasks.json") == [str(row["pair_id"]) for row in rows[:10]]


def test_as_many_pairs_of_each_label_are_drawn_and_the_same_each_time(run: Path, tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        review("--run", run, "--file", tmp_path / name, "--rows", 6, "--select", "stratified")
    with (tmp_path / "one.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    there = Counter(pq.read_table(run)["label"].to_pylist())
    assert len(rows) == 6
    assert {count for label, count in Counter(row["label"] for row in rows).items() if there[label] > 3} <= {2, 3}
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_a_file_gives_back_what_was_written(kind: str) -> None:
    pairs = PAIRS if kind != "json" else [PAIRS[0]]
    assert read(written(pairs, f"a.{kind}"), f"a.{kind}") == pairs


def annotated(*labels: str | None, **task: object) -> dict[str, object]:
    """A task as Label Studio exports it; None is a task that an annotator skipped."""
    choices = [{"from_name": "label", "type": "choices", "value": {"choices": [label]}} for label in labels]
    annotations = [
        {"id": 1, "completed_by": 1, "was_cancelled": label is None, "result": [] if label is None else [choice]}
        for label, choice in zip(labels, choices, strict=True)
    ]
    return {"id": 3, "project": 1, "data": {"premise": "p", "hypothesis": "h"}, "annotations": annotations, **task}


@pytest.mark.parametrize(
    ("labels", "answer"),
    [
        (("neutral",), "neutral"),
        (("neutral", "entailment", "neutral"), "neutral"),
        (("neutral", "entailment"), "-"),
        ((None,), None),
        ((None, "contradiction"), "contradiction"),
        ((), None),
    ],
)
def test_an_export_of_label_studio_has_the_label_that_most_annotators_gave(
    labels: tuple[str | None, ...], answer: str | None
) -> None:
    (pair,) = read(json.dumps([annotated(*labels)]).encode(), "export.json")
    assert pair.answer == answer


@pytest.mark.computes
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_answers_are_a_gold_set_for_evaluation_and_for_the_gate(
    run: Path, checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / f"review.{kind}"
    review("--run", run, "--file", file, "--rows", 30, "--select", "least_certain")
    answers = [str(label) for label in NliLabel] * 10
    if kind == "json":
        tasks = json.loads(file.read_text())
        export = [
            {**annotated(answer), "data": task["data"]} for answer, task in zip(answers, tasks[:29], strict=False)
        ]
        file.write_text(json.dumps([*export, annotated()]))
    else:
        with file.open(newline="") as source:
            rows = list(csv.DictReader(source))
        with file.open("w", newline="") as sink:
            table = csv.DictWriter(sink, rows[0].keys())
            table.writeheader()
            table.writerows(
                {**row, "gold_label": answer.upper() if number < 29 else ""}
                for number, (row, answer) in enumerate(zip(rows, answers, strict=True))
            )
    outcome = review("--file", file, "--gold-output", tmp_path / "gold")
    assert outcome.exit_code == 0, outcome.stderr
    assert "29 pairs in" in outcome.stdout
    assert "1 pair without an answer" in outcome.stdout
    gold = pq.read_table(tmp_path / "gold")
    assert gold["gold_label"].to_pylist() == answers[:29]
    assert gold["pair_id"].type == "string"
    flags = ("--pairs", tmp_path / "gold", "--model", checkpoint, "--output", tmp_path / "evaluation")
    assert run_main(evaluate.main, *flags).exit_code == 0
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["rows"]["with_gold"] == 29


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("--file", "a.json"), 2, "give --run to write pairs"),
        (("--file", "a.json", "--run", "r", "--gold-output", "g"), 2, "give --run to write pairs"),
        (("--file", "a.txt", "--run", "r"), 2, ".json (Label Studio), .csv or .parquet"),
        (("--file", "a.json", "--run", "nowhere"), 2, "nothing is published there"),
        (("--file", "missing.json", "--gold-output", "g"), 2, "missing.json"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = review(*argv)
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (code, 1), outcome.stderr
    assert told in outcome.stderr


@pytest.mark.parametrize("text", ["{}", '[{"data": {"premise": 1}}]', "[" * 10_000, "", '[{"annotations": 3}]'])
def test_a_file_of_another_form_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    outcome = review("--file", tmp_path / "a.json", "--gold-output", tmp_path / "gold")
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1), outcome.stderr
    assert "a.json: it is no review file" in outcome.stderr


def test_another_file_of_the_name_is_never_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text("[]")
    outcome = review("--run", run, "--file", tmp_path / "tasks.json")
    assert outcome.exit_code == 2
    assert (tmp_path / "tasks.json").read_text() == "[]"
