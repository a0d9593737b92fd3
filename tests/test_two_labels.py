"""A checkpoint with two labels goes through every step of a run with its own columns; others are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import convert_checkpoint
import evaluate
import numpy as np
import plan_labels
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_labels
import review_labels
import torch
import verify_labels
from checkpoints import BUILTIN, change_weights, two_label_checkpoint
from job_runs import Outcome, labelled_rows, manifest_of, report_of, run_inline, run_main, verify, write_pairs
from pairs import surveyed, with_class_names
from published_runs import PublishedRun
from transformers import AlbertForSequenceClassification, PreTrainedTokenizerFast

from albert_infer import Labeler, read_labels
from albert_infer.classify.folds import chosen_pairs
from albert_infer.config import FinetuneSettings
from albert_infer.errors import InputError, ModelError, SettingsError
from albert_infer.job.planning import with_labels
from albert_infer.learning.training.sources import read_sources
from albert_infer.learning.training.start import starting_model
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.model.checkpoint_files import checkpoint_files
from albert_infer.model.label_order import label_order_of
from albert_infer.preflight.gold import NO_GOLD, gold_codes
from albert_infer.preflight.label_probe import judged, probe_pairs, refuse_wrong_order
from albert_infer.schema import THREE_LABELS, TWO_LABELS, BinaryLabel, Expansion, FoldRule, PairColumns
from albert_infer.storage import DEFAULT_ACCESS

pytestmark = pytest.mark.usefixtures("one_thread")

E, N = TWO_LABELS
# Half of the packaged pairs, with their gold labels of three kinds.
PAIRS = pq.read_table(BUILTIN.parent / "pairs.parquet").slice(0, 60).select(["premise", "hypothesis", "gold_label"])
PROBABILITIES = ["p_entailment", "p_not_entailment"]
ADDED = ["label", *PROBABILITIES, "n_tokens", "truncated"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two labels, with names that say so."""
    return two_label_checkpoint(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, whose names say nothing: transformers leaves them out of config.json."""
    folder = two_label_checkpoint(tmp_path_factory.mktemp("nameless"), ("LABEL_0", "LABEL_1"))
    assert "id2label" not in json.loads((folder / "config.json").read_text())
    return folder


@pytest.fixture(scope="module")
def original(model: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """A published run, with one row rejected, rows to review and rows of several windows."""
    folder = tmp_path_factory.mktemp("run")
    run = PublishedRun(folder / "in", folder / "out")
    premises = PAIRS["premise"].to_pylist()
    premises[4], premises[7] = None, " ".join([premises[7]] * 12)
    write_pairs(run.source / "a.parquet", PAIRS.set_column(0, "premise", pa.array(premises, pa.string())))
    flags = ("--carry", "gold_label", "--review-below", 0.7, "--long-premise", "window", "--max-length", 96)
    outcome = run_inline(*argv(run.source, run.output, model), *flags, "--unit-rows", 32)
    assert outcome.exit_code == 0, outcome.stderr
    return run


@pytest.fixture
def run(original: PublishedRun, tmp_path: Path) -> PublishedRun:
    return original.copied(tmp_path)


def argv(source: Path, output: Path, model: object) -> tuple[object, ...]:
    return ("--input", source, "--output", output, "--model", model, "--max-rejected-share", 1)


def told(job: Any, *words: object) -> Outcome:
    outcome = run_main(job.main, *words)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


# --- the engine and the columns


@pytest.mark.computes
def test_logits_and_labels_are_those_of_transformers(model: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    texts = [PAIRS[name].to_pylist() for name in ("premise", "hypothesis")]
    original = AlbertForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        logits = original(**tokenizer(*texts, padding=True, return_tensors="pt")).logits
    labelled = Labeler(model, precision="fp32").label(PAIRS)
    ours = np.stack([labelled[name].to_numpy() for name in PROBABILITIES], axis=1)
    np.testing.assert_allclose(ours, logits.softmax(dim=1).numpy(), atol=2e-5)
    assert labelled["label"].to_pylist() == [TWO_LABELS[best] for best in logits.argmax(dim=1)]
    assert {*labelled["label"].to_pylist()} == {*TWO_LABELS}


@pytest.mark.computes
def test_a_labeler_adds_the_columns_of_two_labels(model: Path) -> None:
    labeler = Labeler(model, precision="fp32", review_below=0.6)
    assert labeler.added_columns == (*ADDED, "needs_review", "rejection", "detail")
    labelled = labeler.label([("A man plays the guitar.", "Someone makes music."), (None, "x")])
    assert labelled.column_names == ["premise", "hypothesis", *labeler.added_columns]
    assert labelled["label"].to_pylist() == ["entailment", None]


@pytest.mark.computes
def test_a_run_has_the_columns_of_two_labels_and_is_verified(run: PublishedRun) -> None:
    rows = labelled_rows(run.output)
    assert rows.column_names == ["premise", "hypothesis", "gold_label", *ADDED, "needs_review", "n_windows"]
    assert [rows.schema.field(name).type for name in PROBABILITIES] == [pa.float32()] * 2
    counts = manifest_of(run.output)
    assert counts["labels"] == {name: rows["label"].to_pylist().count(name) for name in TWO_LABELS}
    assert (counts["labelled"], counts["rejected"], counts["windowed"]) == (59, {"null_text": 1}, 1)
    assert counts["model"]["label_map"] == [*TWO_LABELS]
    verify(run.output, run.source)


def test_the_report_counts_two_labels(run: PublishedRun) -> None:
    report = report_of(run.output)
    assert report["model"]["label_map"] == report["model"]["own_label_map"] == [*TWO_LABELS]
    probe = report["preflight"]["probe"]
    assert (probe["right"], probe["best_order"]) == (29 / 30, [*TWO_LABELS])
    assert list(report["distribution"]["confidence"]) == [*TWO_LABELS]
    assert report["distribution"]["rows"] == 59
    page = (run.output / "_runs" / report["plan_id"] / "report.html").read_text()
    told(report_labels, "--output", run.output, "--include-texts")
    with_texts = (run.output / "_runs" / report["plan_id"] / "report.html").read_text()
    for html in (page, with_texts):
        assert "not_entailment" in html
        assert "contradiction" not in html.replace("neutral and contradiction count", "")


@pytest.mark.computes
def test_the_printed_report_says_what_the_labels_mean(model: Path, tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "in" / "a.parquet", PAIRS.slice(0, 6))
    two, three = (run_inline(*argv(source, tmp_path / each.name, each)) for each in (model, Path("builtin")))
    assert "neutral and contradiction count as the latter" in two.report
    assert "count as" not in three.report


def test_labels_are_read_with_and_without_rows(run: PublishedRun) -> None:
    labels = read_labels(run.output, columns=["label", *PROBABILITIES])
    assert labels.num_rows == 59
    assert read_labels(run.output, rejected=True).column_names == [
        *("gold_label", "source_file", "source_row", "rejection", "detail"),
    ]
    run.tell(lambda manifest: manifest.update(rejected_files=[], rejected={}))
    assert "p_not_entailment" not in read_labels(run.output, rejected=True).column_names
    run.tell(lambda manifest: manifest.update(files=[], labelled=0))
    assert read_labels(run.output).column_names == ["premise", "hypothesis", *ADDED]


@pytest.mark.computes
def test_a_run_of_three_labels_replaces_one_of_two(run: PublishedRun) -> None:
    again = argv(run.source, run.output, "builtin")
    assert run_inline(*again).exit_code == 6
    assert run_inline(*again, "--replace").exit_code == 0
    rows = labelled_rows(run.output)
    assert rows.column_names == [f.name for f in PairColumns().labelled]
    assert {*manifest_of(run.output)["labels"]} == {"entailment", "neutral", "contradiction"}
    verify(run.output, run.source)


@pytest.mark.computes
def test_a_plan_of_a_run_is_that_of_its_labels(model: Path, run: PublishedRun, tmp_path: Path) -> None:
    before = json.loads(told(plan_labels, *argv(run.source, tmp_path / "planned", model), "--format", "json").stdout)
    outcome = run_inline(*argv(run.source, tmp_path / "planned", model))
    assert outcome.exit_code == 0, outcome.stderr
    assert before["plan"]["plan_id"] == manifest_of(tmp_path / "planned")["plan_id"]


@pytest.mark.computes
def test_a_carried_column_with_the_name_of_a_probability_is_refused(model: Path, tmp_path: Path) -> None:
    pairs = PAIRS.append_column("P_not_entailment", pa.array(np.zeros(60)))
    source = write_pairs(tmp_path / "in" / "a.parquet", pairs)
    flags = ("--carry", "all", "--unit-rows", 60)
    outcome = run_inline(*argv(source, tmp_path / "out", model), *flags)
    assert outcome.exit_code == 2
    assert "the output has its own column `P_not_entailment`, because the checkpoint has 2 labels" in outcome.errors[0]
    assert run_inline(*argv(source, tmp_path / "out", "builtin"), *flags).exit_code == 0
    assert "P_not_entailment" in labelled_rows(tmp_path / "out").column_names
    verify(tmp_path / "out", source)


def test_a_recount_finds_labels_of_another_set(run: PublishedRun) -> None:
    three = ["entailment", "neutral", "contradiction"]
    run.plan(lambda plan: plan["recipe"]["model"].update(label_map=three))
    outcome = run_main(verify_labels.main, "--output", run.output)
    assert outcome.exit_code != 0
    assert "p_neutral, p_contradiction" in outcome.stdout + outcome.stderr


def test_a_rule_of_contradiction_needs_three_labels(tmp_path: Path) -> None:
    survey = surveyed(write_pairs(tmp_path / "a.parquet", PAIRS))
    by_rule = {
        rule: replace(survey, columns=replace(survey.columns, expansion=Expansion(rule, split_premise=True)))
        for rule in (FoldRule.ANY_CONTRADICTION, FoldRule.ANY_ENTAILMENT)
    }
    names = with_labels(by_rule[FoldRule.ANY_ENTAILMENT], TWO_LABELS).columns.labelled.names
    assert names[2:5] == ["label", *PROBABILITIES]
    assert with_labels(by_rule[FoldRule.ANY_CONTRADICTION], THREE_LABELS).columns.labels == THREE_LABELS
    with pytest.raises(SettingsError, match="--fold any_contradiction: the checkpoint has the labels entailment, not"):
        with_labels(by_rule[FoldRule.ANY_CONTRADICTION], TWO_LABELS)


# --- windows


@pytest.mark.parametrize(
    ("windows", "deciding"),
    [
        ([(0.1, 0.9), (0.6, 0.4), (0.9, 0.1)], 2),
        ([(0.3, 0.7), (0.1, 0.9)], 1),
        ([(0.1, 0.9), (0.1, 0.9)], 0),
        ([(0.9, 0.1), (np.nan, np.nan)], 1),
    ],
)
def test_entailment_decides_before_the_rest(windows: list[tuple[float, float]], deciding: int) -> None:
    rows, probabilities = np.zeros(len(windows), np.int64), np.array(windows, np.float32)
    found = chosen_pairs(FoldRule.ENTAILMENT_FIRST, rows, probabilities, TWO_LABELS)
    assert found.tolist() == [deciding]


# --- the label order


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("entailment", "not_entailment"), (E, N)),
        (("not_entailment", "entailment"), (N, E)),
        (("NON-ENTAILMENT", "Entailment"), (N, E)),
        (("no_entailment", "entail"), (N, E)),
        (("unsupported", "supported"), (N, E)),
        (("SUPPORTS", "not supported"), (E, N)),
    ],
)
def test_names_give_the_order(names: Sequence[str], order: tuple[BinaryLabel, ...]) -> None:
    config = {"id2label": {str(number): name for number, name in enumerate(names)}}
    assert label_order_of(config, (), "m") == order
    assert label_order_of(config, ("not_entailment", "entailment"), "m") == (N, E)


@pytest.mark.parametrize(
    "names", [("LABEL_0", "LABEL_1"), ("entailment", "contradiction"), ("entailment", "neutral"), ("0", "1")]
)
def test_names_that_say_nothing_need_an_order(names: Sequence[str]) -> None:
    config = {"id2label": {str(number): name for number, name in enumerate(names)}}
    with pytest.raises(ModelError, match=r"known: entailment,not_entailment .*; not_entailment,entailment") as refused:
        label_order_of(config, (), "m")
    assert refused.value.problem == f"its labels have the names {[*names]}"
    assert label_order_of(config, ("not_entailment", "entailment"), "m") == (N, E)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"id2label": {"0": "LABEL_0"}}, "1 label ['LABEL_0']: its one output is a score"),
        ({"id2label": {"0": "score"}, "problem_type": "regression"}, "its one output is a score"),
        ({"id2label": {str(number): str(number) for number in range(4)}}, "4 labels ['0', '1', '2', '3']"),
    ],
)
@pytest.mark.parametrize("given", [(), ("entailment", "not_entailment"), ("entailment", "neutral", "contradiction")])
def test_other_numbers_of_labels_are_refused(config: Mapping[str, object], found: str, given: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as refused:
        label_order_of(config, given, "m")
    assert (refused.value.asked, found in refused.value.problem) == ("model m", True)
    assert refused.value.remedy == "use a checkpoint with three NLI labels, or with two: entailment and not_entailment"


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_two_outputs_that_are_no_labels_of_one_classifier_are_refused(kind: str) -> None:
    config = {"id2label": {"0": "entailment", "1": "not_entailment"}, "problem_type": kind}
    with pytest.raises(ModelError, match=f"config.json problem_type is '{kind}': its two outputs"):
        label_order_of(config, (), "m")


@pytest.mark.computes
def test_a_checkpoint_with_one_output_or_four_ends_a_job_with_exit_code_2(tmp_path: Path, model: Path) -> None:
    for outputs in (1, 4):
        folder = checkpoint_with(tmp_path / str(outputs), model, outputs)
        outcome = run_inline(*argv(write_pairs(tmp_path / "in" / "a.parquet", PAIRS), tmp_path / "out", folder))
        assert outcome.exit_code == 2
        assert f"{outputs} label" in outcome.errors[0]
        assert "use a checkpoint with three NLI labels, or with two" in outcome.errors[0]


def checkpoint_with(folder: Path, model: Path, outputs: int) -> Path:
    """The checkpoint with this number of outputs."""
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number): f"LABEL_{number}" for number in range(outputs)}
    (folder / "config.json").write_text(json.dumps(config))
    change_weights(folder, partial(_with_outputs, outputs=outputs))
    return folder


def _with_outputs(tensors: dict[str, torch.Tensor], outputs: int) -> None:
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][[0] * outputs].contiguous()


def test_an_order_of_the_other_set_is_refused(nameless: Path) -> None:
    with pytest.raises(ModelError) as refused:
        load_checkpoint(str(nameless), label_order=("entailment", "neutral", "contradiction"))
    assert refused.value.problem == f"it is not an order of the two labels of model {nameless}"
    assert refused.value.remedy == "give each of entailment, not_entailment once"
    with pytest.raises(ModelError) as refused:
        load_checkpoint("builtin", label_order=("entailment", "not_entailment"))
    assert refused.value.problem == "it is not an order of the three labels of model builtin"
    with pytest.raises(SettingsError, match="for a checkpoint with two labels entailment, not_entailment"):
        Labeler(nameless, label_order="entailment,neutral")


# --- the probe


@pytest.mark.computes
def test_a_swapped_order_is_refused_with_the_right_one(nameless: Path, tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "in" / "a.parquet", PAIRS.slice(0, 8))
    refused = run_inline(*argv(source, tmp_path / "out", nameless), "--label-order", "not_entailment,entailment")
    assert refused.exit_code == 2
    assert "1 of 30 easy test pairs get the right label, but 29 of 30" in refused.errors[0]
    assert "give --label-order entailment,not_entailment" in refused.errors[0]
    accepted = run_inline(*argv(source, tmp_path / "out", nameless), "--label-order", "entailment,not_entailment")
    assert accepted.exit_code == 0, accepted.stderr
    assert labelled_rows(tmp_path / "out").column_names == ["premise", "hypothesis", *ADDED]


@pytest.mark.parametrize("label", TWO_LABELS)
@pytest.mark.parametrize("order", [(E, N), (N, E)])
def test_one_label_for_all_pairs_neither_confirms_an_order_nor_refuses_one(
    model: Path, label: BinaryLabel, order: tuple[BinaryLabel, ...]
) -> None:
    pairs = probe_pairs()
    probe = judged(order, pairs.append_column("label", pa.array([label] * pairs.num_rows, pa.string())))
    assert probe.right == (1 / 3 if label == E else 2 / 3)
    assert not probe.confirms_order
    refuse_wrong_order(load_checkpoint(str(model)), probe)


@pytest.mark.computes
def test_a_conversion_finds_the_order_of_two_outputs(nameless: Path, tmp_path: Path) -> None:
    told(convert_checkpoint, "--model", nameless, "--output", tmp_path / "made")
    assert load_checkpoint(str(tmp_path / "made")).named_order == (E, N)


# --- gold labels


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        (["entailment", "neutral", "Contradiction", "-", None], [0, 1, 1, NO_GOLD, NO_GOLD]),
        (["not_entailment", "entailment", ""], [1, 0, NO_GOLD]),
        ([0, 1, 2, -1], [0, 1, 1, NO_GOLD]),
    ],
)
def test_gold_labels_of_two_or_three_kinds_are_read(gold: list[object], expected: list[int]) -> None:
    assert gold_codes(pa.chunked_array([gold]), "here", labels=TWO_LABELS).tolist() == expected


def test_numbers_mean_the_names_of_their_classes() -> None:
    numbers = pa.chunked_array([[0, 1, -1]])
    assert gold_codes(numbers, "here", ("unsupported", "supported"), TWO_LABELS).tolist() == [1, 0, NO_GOLD]
    assert gold_codes(numbers, "here", ("contradiction", "entailment", "neutral"), TWO_LABELS).tolist() == [1, 0, -1]
    with pytest.raises(InputError, match="give each pair one of entailment, not_entailment, neutral, contradiction"):
        gold_codes(numbers, "here", ("no", "yes"), TWO_LABELS)


def test_three_labels_have_no_gold_label_of_two() -> None:
    with pytest.raises(InputError, match="the gold label `not_entailment`"):
        gold_codes(pa.chunked_array([["not_entailment"]]), "here")
    with pytest.raises(InputError, match="numbers of 2 classes: entailment, not_entailment"):
        gold_codes(pa.chunked_array([[0]]), "here", ("entailment", "not_entailment"))


@pytest.mark.computes
def test_a_gold_set_of_three_kinds_gates_a_run(model: Path, tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "in" / "a.parquet", PAIRS.select(["premise", "hypothesis"]))
    gold = write_pairs(tmp_path / "gold" / "a.parquet", PAIRS)
    flags = (*argv(source, tmp_path / "out", model), "--gold", gold)
    refused = run_inline(*flags, "--min-accuracy", 1)
    assert refused.exit_code == 3
    assert "--min-accuracy 1.0 on --gold" in refused.errors[0]
    assert run_inline(*flags, "--min-accuracy", 0.6).exit_code == 0
    counted = report_of(tmp_path / "out")["preflight"]["gold"]["accuracy"]
    truth = ["entailment" if label == "entailment" else "not_entailment" for label in PAIRS["gold_label"].to_pylist()]
    right = sum(np.array(labelled_rows(tmp_path / "out")["label"].to_pylist()) == truth)
    assert (counted["pairs"], counted["right"]) == (60, right)


# --- what reads a published run


@pytest.mark.computes
def test_a_run_is_evaluated_with_two_labels(run: PublishedRun, tmp_path: Path) -> None:
    told(evaluate, "--run", run.output, "--other-run", run.output, "--output", tmp_path / "page")
    found = json.loads((tmp_path / "page" / "evaluation.json").read_text())
    rows = labelled_rows(run.output).to_pylist()
    right = sum((row["label"] == "entailment") == (row["gold_label"] == "entailment") for row in rows)
    quality = found["against_gold"]["quality"]
    assert quality["accuracy"]["value"] == pytest.approx(right / 59)
    assert list(quality["labels"]) == list(quality["confusion"]) == list(found["rows"]["labels"]) == [*TWO_LABELS]
    assert found["churn"]["agreement"]["value"] == 1
    assert [list(each) for each in found["churn"]["became"].values()] == [[*TWO_LABELS]] * 2
    html = (tmp_path / "page" / "evaluation.html").read_text()
    assert "labelled not_entailment" in html
    assert "labelled neutral" not in html


@pytest.mark.computes
def test_a_checkpoint_is_evaluated_and_calibrated_with_two_labels(model: Path, tmp_path: Path) -> None:
    numbers = [0 if label == "entailment" else 1 for label in PAIRS["gold_label"].to_pylist()]
    # Each pair several times, because a fit needs fifty pairs in each half.
    pairs = pa.concat_tables([PAIRS.set_column(2, "gold_label", pa.array(numbers))] * 4)
    source = write_pairs(tmp_path / "a.parquet", with_class_names(pairs, "gold_label", TWO_LABELS))
    flags = ("--pairs", source, "--model", model, "--threads", 1, "--fit-temperature", tmp_path / "fitted")
    told(evaluate, *flags, "--output", tmp_path / "page")
    found = json.loads((tmp_path / "page" / "evaluation.json").read_text())
    assert found["against_gold"]["quality"]["rows"] == 240
    assert found["against_gold"]["quality"]["accuracy"]["value"] > 0.6
    assert load_checkpoint(str(tmp_path / "fitted")).temperature == found["fit"]["temperature"]
    labelled = Labeler(tmp_path / "fitted", precision="fp32").label(PAIRS)
    assert labelled["label"].equals(Labeler(model, precision="fp32").label(PAIRS)["label"])


@pytest.mark.computes
def test_checkpoints_with_other_labels_are_not_compared(model: Path, tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "a.parquet", PAIRS)
    flags = ("--pairs", source, "--model", model, "--other-model", "builtin", "--threads", 1)
    outcome = run_main(evaluate.main, *flags, "--output", tmp_path / "page")
    assert outcome.exit_code == 2
    here = "its labels are entailment, neutral, contradiction; here they are entailment, not_entailment"
    assert f"a comparison with builtin: {here}" in outcome.errors[0]


@pytest.mark.computes
def test_a_run_is_compared_with_earlier_runs_of_two_and_of_three_labels(
    run: PublishedRun, model: Path, tmp_path: Path
) -> None:
    like = run_inline(*argv(run.source, tmp_path / "like", model), "--reference", run.output, "--drift", "warn")
    assert like.exit_code == 0, like.stderr
    measures = {each["name"]: each for each in report_of(tmp_path / "like")["drift"]["measures"]}
    assert measures["labels"]["distance"] < 0.05
    assert measures["probabilities"]["distance"] < 0.3
    three = run_inline(*argv(run.source, tmp_path / "three", "builtin"), "--reference", run.output, "--drift", "fail")
    assert three.exit_code == 3
    assert "labels (distance" in three.errors[0]


@pytest.mark.computes
def test_a_review_offers_two_labels_and_its_answers_are_gold(run: PublishedRun, tmp_path: Path, model: Path) -> None:
    told(review_labels, "--run", run.output, "--file", tmp_path / "tasks.json", "--rows", 8, "--select", "stratified")
    interface = (tmp_path / "label-studio.xml").read_text()
    assert '<Choice value="entailment"/><Choice value="not_entailment"/>\n' in interface
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    (tmp_path / "answered.json").write_text(json.dumps(tasks))
    told(review_labels, "--file", tmp_path / "answered.json", "--gold-output", tmp_path / "gold")
    given = pq.read_table(tmp_path / "gold" / "gold.parquet")["gold_label"].to_pylist()
    assert {*given} == {*TWO_LABELS}
    told(evaluate, "--pairs", tmp_path / "gold", "--model", model, "--threads", 1, "--output", tmp_path / "page")


# --- training


@pytest.mark.computes
def test_a_training_refuses_two_labels(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        starting_model(checkpoint_files(str(model)), dropout=0.0, seed=0, label_order=("entailment", "not_entailment"))
    assert refused.value.problem == "a training has the three labels entailment, neutral, contradiction"
    assert starting_model(checkpoint_files(str(model)), dropout=0.0, seed=0).new_classifier
    source = str(write_pairs(tmp_path / "a.parquet", PAIRS))
    settings = FinetuneSettings(train=source, eval=source, output=str(tmp_path / "out"), teacher=str(model))
    with pytest.raises(ModelError, match="it has two labels, and a training has the three labels of NLI") as refused:
        read_sources(settings, DEFAULT_ACCESS)
    assert refused.value.asked == f"--teacher {model}"


def test_columns_follow_the_labels() -> None:
    columns = replace(PairColumns(review_below=0.5, with_windows=True), labels=TWO_LABELS)
    assert [field.name for field in columns.label_fields] == [*ADDED, "needs_review", "n_windows"]
    assert columns.labelled.names[2:] == [*ADDED, "needs_review", "n_windows"]
