"""Reports, drift and estimates of runs whose rows become several pairs: rows and pairs are counted, each as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_labels
from inline_job import OneThread
from job_runs import WORDS, Outcome, made_up_pairs, manifest_of, report_of, run_inline, run_main, write_pairs

from albert_infer import storage
from albert_infer.config import LabelSettings, NightlySettings
from albert_infer.config.planning import PlanChoices
from albert_infer.job.drift import MAX_LABELS, RunCounts, compared
from albert_infer.job.estimate.planning import forecast
from albert_infer.job.expanded import KEYS, ReportedExpansion, label_shares, most_frequent
from albert_infer.job.run import label_pairs
from albert_infer.operations.nightly import label_each
from albert_infer.output.distribution import (
    MAX_SERIES,
    OTHER,
    ROW_TOKEN_EDGES,
    SCORE_EDGES,
    SIGNED_EDGES,
    Axes,
    Distribution,
    distribution_of,
    label_counts_by,
)
from albert_infer.output.manifest import published_at
from albert_infer.schema import LABEL, FoldRule

ROWS = 40
CANDIDATES = ",".join(WORDS[:4])
RUNS = {
    "topics": ("--candidates", CANDIDATES, "--publish", "both", "--review-below", "0.3"),
    "pairs": ("--candidates", CANDIDATES, "--publish", "pairs"),
    "summac": ("--split-premise", "sentences", "--split-hypothesis", "sentences"),
    "choosing": ("--split-premise", "sentences", "--fold", "any_entailment"),
}


def documents(rows: int, *, seed: int) -> pa.Table:
    """Rows with premises of three sentences and hypotheses of two, and one row without a premise."""
    pairs = made_up_pairs(rows, seed=seed).to_pydict()
    sentence = [f"A{text[1:]}." for text in pairs["premise"]]
    pairs["premise"] = [f"{text} {text[:9]}. {sentence[0]}" for text in sentence]
    pairs["hypothesis"] = [f"A{text[1:]}. {text.upper()}." for text in pairs["hypothesis"]]
    pairs["premise"][3] = None
    return pa.table(pairs)


def run(folder: Path, checkpoint: Path, *flags: object, out: str = "out") -> Outcome:
    locations = ("--input", folder / "in", "--output", folder / out, "--model", checkpoint)
    outcome = run_inline(*locations, *flags)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Callable[[str], Path]:
    """Give the output of a run of RUNS; each run is made once."""
    folder = tmp_path_factory.mktemp("expanded")
    write_pairs(folder / "in" / "a.parquet", documents(ROWS, seed=31))

    def output(name: str) -> Path:
        if not (folder / name).exists():
            outcome = run(folder, checkpoint, *RUNS[name], "--carry", "topic", out=name)
            (folder / f"{name}.txt").write_text(outcome.stdout)
        return folder / name

    return output


def said(output: Path) -> str:
    return output.with_name(f"{output.name}.txt").read_text()


def rows_of(output: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(output / entry["path"]) for entry in manifest_of(output)["files"]])


@pytest.mark.parametrize("name", RUNS)
def test_the_report_has_rows_and_pairs(published: Callable[[str], Path], name: str) -> None:
    output = published(name)
    report, manifest = report_of(output), manifest_of(output)
    assert KEYS - {"axes", "expanded"} <= set(report)
    assert (report["rows"], report["labelled"], report["rejected"]) == (ROWS, ROWS - 1, {"null_text": 1})
    assert report["pairs"] == manifest["pairs"] > ROWS
    assert report["pairs_per_second"] == pytest.approx(report["rows_per_second"] * report["pairs"] / (ROWS - 1))
    assert f"{ROWS - 1} of {ROWS} rows labelled, {report['pairs']:,} pairs" in said(output)
    page = next(output.glob("_runs/*/report.html")).read_text()
    assert f"Published: {ROWS - 1} of {ROWS} rows labelled, {report['pairs']:,} pairs; 1 row rejected." in page
    # The checks read one pair of each row, and the estimate is of all pairs.
    estimate = report["estimate"]["counts"]
    assert (estimate["pairs"], estimate["tokens"]) == (report["pairs"], report["tokens"])
    assert estimate["rejected"] == report["rejected"]
    assert report["preflight"]["sample"]["tokens"] < report["tokens"]


@pytest.mark.parametrize("name", RUNS)
def test_the_plan_counts_the_tokens_of_all_pairs(published: Callable[[str], Path], checkpoint: Path, name: str) -> None:
    output = published(name)
    names = [flag.removeprefix("--").replace("-", "_") for flag in RUNS[name][::2]]
    settings = LabelSettings.model_validate(
        {
            "input": str(output.parent / "in"),
            "output": str(output.parent / f"planned-{name}"),
            "model": str(checkpoint),
            **dict(zip(names, RUNS[name][1::2], strict=True)),
        }
    )
    found, report = forecast(settings), report_of(output)
    assert found.counts.labelled == report["labelled"]
    assert (found.counts.pairs, found.counts.tokens) == (report["pairs"], report["tokens"])
    assert found.counts.truncated == report["truncated"]
    assert sum(count.share for count in found.lengths) == pytest.approx(1)
    text = found.to_text()
    assert f"labelled     {ROWS - 1} rows, {report['pairs']:,} pairs\n" in text
    assert f"{report['tokens'] / report['pairs']:.1f} a pair" in text
    assert json.loads(found.to_json())["expansion"]["fold"] == report["expansion"]["fold"]
    sampled = forecast(settings, PlanChoices(sample_rows=20))
    assert sampled.counts.pairs == pytest.approx(report["pairs"], rel=0.3)


def test_pairs_that_repeat_are_counted_where_they_are_computed_once(tmp_path: Path, checkpoint: Path) -> None:
    texts = {"premise": ["w1 w2", "w1 w2", "w3 w4", "w5"]}
    write_pairs(tmp_path / "in" / "a.parquet", pa.table(texts))
    settings = LabelSettings(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), model=str(checkpoint), candidates=("w7", "w8")
    )
    assert forecast(settings).repeated == pytest.approx(2 / 8)


def binned(values: list[float], edges: tuple[float, ...]) -> list[int]:
    bins = np.clip(np.searchsorted(edges, np.array(values, np.float32), side="right") - 1, 0, len(edges) - 2)
    return [int(count) for count in np.bincount(bins, minlength=len(edges) - 1)]


def test_the_distribution_of_a_ranking_is_that_of_the_best_scores(published: Callable[[str], Path]) -> None:
    output = published("topics")
    counted, rows = report_of(output)["distribution"], rows_of(output).to_pylist()
    assert (counted["rows"], counted["rows_of"], counted["axes"]["result"]) == (ROWS - 1, ROWS - 1, "best")
    assert set(counted["confidence"]) == {*report_of(output)["labels"], OTHER}
    for name, counts in counted["confidence"].items():
        assert counts == binned([row["score"] for row in rows if row["best"] == name], SCORE_EDGES)
    assert sum(counted["tokens"]) == ROWS - 1
    assert counted["axes"]["tokens"] == list(ROW_TOKEN_EDGES)


def test_the_distribution_of_a_score_has_one_series(published: Callable[[str], Path]) -> None:
    output = published("summac")
    counted, rows = report_of(output)["distribution"], rows_of(output).to_pylist()
    assert counted["axes"]["result"] == "score"
    assert counted["confidence"] == {"score": binned([row["score"] for row in rows], SIGNED_EDGES)}
    assert report_of(output)["labels"] == {}
    page = next(output.glob("_runs/*/report.html")).read_text()
    assert "Labelled rows by their score" in page
    assert "<h2>Labels</h2>" not in page


def test_the_distribution_of_published_pairs_counts_pairs(published: Callable[[str], Path]) -> None:
    output = published("pairs")
    report = report_of(output)
    counted = report["distribution"]
    assert (counted["rows"], counted["rows_of"]) == (report["pairs"], report["pairs"])
    assert "axes" not in counted
    assert {name: sum(rows) for name, rows in counted["confidence"].items() if sum(rows)} == report["labels"]
    assert "pairs by label: " in said(output)
    chosen = report_of(published("choosing"))
    assert chosen["distribution"]["axes"]["result"] == LABEL
    assert {name: sum(rows) for name, rows in chosen["distribution"]["confidence"].items() if sum(rows)} == {
        name: rows for name, rows in chosen["labels"].items() if rows
    }


def test_the_report_names_the_questions_and_what_needs_a_review(published: Callable[[str], Path]) -> None:
    output = published("topics")
    report = report_of(output)
    expansion = report["expansion"]
    assert (expansion["fold"], expansion["publish"], expansion["hypotheses"], expansion["top_k"]) == (
        "topics",
        "both",
        4,
        5,
    )
    text = said(output)
    assert "questions    each text with 4 hypotheses; rule topics" in text
    assert expansion["hypotheses_sha256"] in text
    assert f"pairs are in {output}/_pairs/" in text.replace("\n" + " " * 13, " ")
    needing = sum(row["needs_review"] for row in rows_of(output).to_pylist())
    assert report["needs_review"] == needing > 0
    assert f"{needing} rows marked needs_review" in text


def test_columns_of_drift_count_the_best_hypotheses(published: Callable[[str], Path]) -> None:
    for name, result in (("topics", "best"), ("choosing", LABEL)):
        folder = storage.open_folder(str(published(name)))
        manifest = published_at(folder)
        assert manifest is not None
        counts = label_counts_by(manifest.manifest, folder, ("topic",))["topic"]
        rows = rows_of(published(name)).to_pylist()
        assert sum(counts.values()) == len(rows)
        value, label = str(rows[0]["topic"]), rows[0][result]
        assert counts[value, label] == sum(str(row["topic"]) == value and row[result] == label for row in rows)
    folder = storage.open_folder(str(published("summac")))
    manifest = published_at(folder)
    assert manifest is not None
    assert label_counts_by(manifest.manifest, folder, ("topic",)) == {}
    assert distribution_of(manifest.manifest, folder, max_rows=1).rows


@pytest.mark.computes
def test_a_run_is_compared_with_runs_of_the_same_questions_alone(
    published: Callable[[str], Path], tmp_path: Path, checkpoint: Path
) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", documents(ROWS, seed=33))
    references = ("--reference", f"{published('topics')},{published('summac')}")
    outcome = run(tmp_path, checkpoint, *RUNS["topics"], *references, "--carry", "topic", "--drift-columns", "topic")
    drift = report_of(tmp_path / "out")["drift"]
    assert drift["references"] == [str(published("topics"))]
    assert {"labels", "probabilities", "lengths", "rejected rows", "labels by topic"} <= {
        measure["name"] for measure in drift["measures"]
    }
    assert "1 reference left out, because their labels mean something else" in outcome.stderr
    assert "summac_zs" in outcome.stderr
    scores = run(tmp_path, checkpoint, *RUNS["summac"], *references, out="scores")
    measures = {measure["name"] for measure in report_of(tmp_path / "scores")["drift"]["measures"]}
    assert "probabilities" in measures
    assert "labels" not in measures
    assert "1 reference left out" in scores.stderr


def test_a_run_without_a_comparable_reference_is_refused(
    published: Callable[[str], Path], tmp_path: Path, checkpoint: Path
) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", documents(4, seed=34))
    locations = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    for flags in ((), ("--candidates", "w1,w2"), ("--candidates", CANDIDATES, "--fold", "topics_multi")):
        outcome = run_inline(*locations, *flags, "--reference", published("topics"))
        assert outcome.exit_code == 2
        assert "that this run can be compared with" in outcome.errors[-1]


def test_the_page_shows_texts_with_their_best_hypothesis(published: Callable[[str], Path]) -> None:
    for name, shown in (("topics", "This text is about w"), ("summac", "<td>score</td>"), ("choosing", "entailment")):
        output = published(name)
        outcome = run_main(report_labels.main, "--output", output, "--include-texts")
        assert outcome.exit_code == 0, outcome.stderr
        page = next(output.glob("_runs/*/report.html")).read_text()
        assert "<h2>Rows</h2>" in page
        assert shown in page[page.index("<h2>Rows</h2>") :]
    outcome = run_main(report_labels.main, "--output", published("topics").parent, "--index")
    assert outcome.exit_code == 0, outcome.stderr


def test_nights_ask_the_questions_and_are_compared(tmp_path: Path, checkpoint: Path) -> None:
    for day in (1, 2):
        write_pairs(tmp_path / "in" / f"dt=2026-03-0{day}" / "a.parquet", documents(20, seed=day))
    settings = NightlySettings(
        input_root=str(tmp_path / "in"),
        output_root=str(tmp_path / "out"),
        model=str(checkpoint),
        since=date(2026, 3, 1),
        until=date(2026, 3, 2),
        candidates=("w1", "w2", "w3"),
    )
    (tmp_path / "out").mkdir()

    def label(each: LabelSettings) -> Any:
        return label_pairs(each, executor=OneThread())

    nights = label_each(settings, storage.open_folder(str(tmp_path / "out")), label)
    assert nights is not None
    reports = [report_of(tmp_path / "out" / f"dt=2026-03-0{day}") for day in (1, 2)]
    assert [report["pairs"] for report in reports] == [57, 57]
    assert reports[0]["drift"] is None
    assert reports[1]["drift"]["references"] == [f"{tmp_path}/out/dt=2026-03-01"]


EXPANSION = ReportedExpansion(FoldRule.TOPICS, "scores", 4, "ab" * 32, False, False, "", 5)


def test_what_labels_mean_is_the_rule_the_set_and_the_split() -> None:
    for same in (replace(EXPANSION, top_k=9), replace(EXPANSION, publish="both")):
        assert same.counted == EXPANSION.counted
    for other in (
        replace(EXPANSION, publish="pairs"),
        replace(EXPANSION, fold=FoldRule.TOPICS_MULTI),
        replace(EXPANSION, hypotheses_sha256="cd" * 32),
        replace(EXPANSION, split_premise=True),
    ):
        assert other.counted != EXPANSION.counted


def ranking_night(seed: int, names: int, *, shift: int = 0, rows: int = 4_000) -> RunCounts:
    chance = np.random.default_rng(seed)
    shares = np.roll(1 / np.arange(1, names + 1), shift)
    by_name = chance.multinomial(rows, shares / shares.sum())
    labels = {f"t{number}": int(count) for number, count in enumerate(by_name)}
    largest = sorted(labels, key=lambda name: -labels[name])[:MAX_SERIES]
    others = rows - sum(labels[name] for name in largest)
    series = {**{name: labels[name] for name in largest}, OTHER: others}
    confidence = {
        name: tuple(map(int, chance.multinomial(count, [1 / (len(SCORE_EDGES) - 1)] * (len(SCORE_EDGES) - 1))))
        for name, count in series.items()
    }
    axes = Axes("best", SCORE_EDGES, (0, 8))
    return RunCounts(labels, {}, Distribution(rows, rows, confidence, (rows, 0), axes), labelled=rows)


def test_rankings_of_many_hypotheses_drift_only_where_their_shares_change() -> None:
    references = {str(seed): ranking_night(seed, 3 * MAX_LABELS) for seed in range(5)}
    usual, changed = ranking_night(9, 3 * MAX_LABELS), ranking_night(9, 3 * MAX_LABELS, shift=2)
    assert compared(usual, references, max_distance=0.03, draws=500).drifted == ()
    names = {measure.name for measure in compared(changed, references, max_distance=0.03, draws=500).drifted}
    assert names == {"labels", "probabilities"}


def test_the_most_frequent_labels_are_named_and_the_others_are_counted() -> None:
    counts = {f"t{number}": number for number in range(13)}
    assert most_frequent(counts).startswith("t12 12, t11 11, ")
    assert most_frequent(counts).endswith(", t3 3, and 3 more")
    shares = label_shares(counts, by_count=True)
    assert (len(shares), shares[0].name, shares[-1].name, shares[-1].rows) == (11, "t12", "3 others", 3)
    assert sum(share.share for share in shares) == pytest.approx(1)
    assert [share.name for share in label_shares({"b": 1, "a": 2}, by_count=False)] == ["b", "a"]
