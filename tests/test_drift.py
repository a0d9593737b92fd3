"""Labels are compared with those of earlier runs: chance and ordinary variation are no drift, a fault is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from job_runs import made_up_pairs, report_of, run_inline, visible_files, write_pairs
from numpy.typing import NDArray

from albert_infer import storage
from albert_infer.config import NightlySettings
from albert_infer.job.drift import MAX_P_VALUE, RunCounts, compared, jensen_shannon
from albert_infer.job.report import Report
from albert_infer.operations.nightly import label_each, night_settings
from albert_infer.output.distribution import CONFIDENCE_EDGES, TOKEN_EDGES, Distribution
from albert_infer.preflight.sample import SampleCounts
from albert_infer.schema import NliLabel

BINS = len(CONFIDENCE_EDGES) - 1
USUAL = np.array([0.34, 0.33, 0.33])
LENGTHS = np.array([0, 0.1, 0.4, 0.3, 0.15, 0.05, *[0.0] * 7])


def night(
    seed: int, rows: int = 2_000, labels: NDArray[np.float64] = USUAL, lengths: NDArray[np.float64] = LENGTHS
) -> RunCounts:
    """The counts of a night whose rows are drawn with these shares."""
    chance = np.random.default_rng(seed)
    by_label = chance.multinomial(rows, labels / labels.sum())
    shape = np.linspace(1, 3, BINS)
    confidence = {
        str(label): tuple(map(int, chance.multinomial(count, shape / shape.sum())))
        for label, count in zip(NliLabel, by_label, strict=True)
    }
    tokens = tuple(map(int, chance.multinomial(rows, lengths / lengths.sum())))
    counts = {str(label): int(count) for label, count in zip(NliLabel, by_label, strict=True)}
    rejected = {"null_text": int(chance.binomial(rows, 0.01))}
    return RunCounts(counts, rejected, Distribution(rows, rows, confidence, tokens))


def drifted(run: RunCounts, references: list[RunCounts], max_distance: float = 0.03) -> list[str]:
    named = {f"out/{number}": each for number, each in enumerate(references)}
    return [measure.name for measure in compared(run, named, max_distance=max_distance, draws=2_000).drifted]


@pytest.mark.computes
def test_fewer_than_one_ordinary_night_in_a_hundred_is_reported() -> None:
    assert len(TOKEN_EDGES) == len(LENGTHS)
    references = [night(seed) for seed in range(7)]
    reported = [drifted(night(seed), references, max_distance=0) for seed in range(100, 300)]
    assert sum(map(bool, reported)) <= 200 * 4 * MAX_P_VALUE + 2


@pytest.mark.computes
def test_an_ordinary_night_after_a_single_one_is_not_reported() -> None:
    assert [seed for seed in range(100) if drifted(night(1_000 + seed), [night(2_000 + seed)])] == []


@pytest.mark.parametrize(
    ("changed", "measures"),
    [
        (night(7, labels=np.array([0.24, 0.43, 0.33])), {"labels", "probabilities"}),
        (night(8, lengths=np.roll(LENGTHS, 1)), {"lengths"}),
    ],
    ids=["labels", "lengths"],
)
def test_a_fault_is_reported_by_the_measure_that_it_changes(changed: RunCounts, measures: set[str]) -> None:
    assert set(drifted(changed, [night(seed) for seed in range(10, 17)])) == measures


@pytest.mark.computes
def test_nights_that_always_differ_make_a_difference_ordinary() -> None:
    chance = np.random.default_rng(5)

    def restless(seed: int) -> RunCounts:
        return night(seed, rows=20_000, labels=USUAL + chance.normal(0, 0.02, 3))

    references = [restless(seed) for seed in range(7)]
    nights = [restless(seed) for seed in range(50, 110)]
    alone = sum(bool(drifted(each, references[:1], max_distance=0)) for each in nights)
    known = sum(bool(drifted(each, references, max_distance=0)) for each in nights)
    assert alone > 30, "by chance alone most of them differ"
    assert known <= 6


def with_columns(run: RunCounts, seed: int, shares: dict[str, NDArray[np.float64]]) -> RunCounts:
    chance = np.random.default_rng(seed)
    counts = {
        (value, str(label)): int(rows)
        for value, of_labels in shares.items()
        for label, rows in zip(NliLabel, chance.multinomial(400, of_labels), strict=True)
    }
    return replace(run, columns={"genre": counts})


def test_a_source_whose_labels_change_is_seen_where_the_whole_is_as_before() -> None:
    usual = {"news": np.array([0.5, 0.3, 0.2]), "fiction": np.array([0.2, 0.3, 0.5])}
    exchanged = {"news": usual["fiction"], "fiction": usual["news"]}
    references = [with_columns(night(seed), seed, usual) for seed in range(7)]
    assert drifted(with_columns(night(20), 20, usual), references) == []
    assert drifted(with_columns(night(20), 20, exchanged), references) == ["labels by genre"]
    many = {f"source {number}": USUAL for number in range(200)}
    assert drifted(with_columns(night(21), 21, many), [with_columns(night(22), 22, many)]) == []
    assert drifted(night(20), references) == [], "a run without the column has no such measure"


def test_words_that_the_vocabulary_does_not_have_are_drift() -> None:
    known = [replace(night(seed), sample=SampleCounts(tokens=28_000, unknown=seed)) for seed in range(7)]
    assert drifted(replace(night(30), sample=SampleCounts(tokens=28_000, unknown=5)), known) == []
    assert drifted(replace(night(30), sample=SampleCounts(tokens=28_000, unknown=2_000)), known) == ["unknown words"]
    assert drifted(night(30), known) == []


def test_a_huge_run_may_differ_by_less_than_the_limit() -> None:
    slightly = night(3, rows=4_000_000, labels=USUAL + np.array([0.005, -0.005, 0]))
    assert "labels" in drifted(slightly, [night(4, rows=4_000_000)], max_distance=0)
    assert drifted(slightly, [night(4, rows=4_000_000)]) == []


def test_the_distance_is_that_of_jensen_and_shannon() -> None:
    assert jensen_shannon(np.array([5.0, 5.0]), np.array([50.0, 50.0])) == 0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 9.0])) == pytest.approx(1)
    # scipy.spatial.distance.jensenshannon([0.1, 0.9], [0.5, 0.5], base=2)
    assert jensen_shannon(np.array([1.0, 9.0]), np.array([5.0, 5.0])) == pytest.approx(0.383136, abs=1e-6)


@pytest.fixture(scope="module")
def earlier(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run."""
    folder = tmp_path_factory.mktemp("earlier")
    write_pairs(folder / "in" / "a.parquet", made_up_pairs(400, seed=91))
    flags = ("--input", folder / "in", "--output", folder / "out", "--model", checkpoint)
    assert run_inline(*flags).exit_code == 0
    return folder / "out"


@pytest.mark.computes
@pytest.mark.parametrize("drift", ["warn", "fail", "off"])
def test_a_run_that_differs_is_reported_or_refused(earlier: Path, checkpoint: Path, tmp_path: Path, drift: str) -> None:
    pairs = made_up_pairs(400, seed=92).to_pydict()
    pairs["hypothesis"] = [f"{text} {text} {text}" for text in pairs["hypothesis"]]
    write_pairs(tmp_path / "in" / "a.parquet", pa.table(pairs))
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    outcome = run_inline(*flags, "--reference", earlier, "--drift", drift)
    report = report_of(tmp_path / "out")
    told = "differs from 1 earlier run in "
    if drift == "fail":
        assert (outcome.exit_code, visible_files(tmp_path / "out")) == (3, [])
        assert told in outcome.errors[0]
        assert "--drift warn" in outcome.errors[0]
        assert run_inline(*flags, "--reference", earlier, "--drift", "warn").exit_code == 0
    else:
        assert outcome.exit_code == 0, outcome.stderr
        assert (told in outcome.stderr) == (drift == "warn")
        assert (report["drift"] is not None) == (drift == "warn")
    if drift == "warn":
        page = next((tmp_path / "out").glob("_runs/*/report.html")).read_text()
        assert told in page
        assert json.dumps(report["drift"]["references"]) == json.dumps([str(earlier)])


def test_a_run_like_the_earlier_one_is_published_whatever_the_setting(
    earlier: Path, checkpoint: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(400, seed=93))
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    outcome = run_inline(*flags, "--reference", earlier, "--drift", "fail")
    assert outcome.exit_code == 0, outcome.stderr
    assert "and rejected rows are as in 1 earlier run" in outcome.stdout


def test_a_reference_that_is_not_published_is_refused_before_anything_is_labelled(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(20, seed=94))
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    outcome = run_inline(*flags, "--reference", tmp_path / "nowhere")
    assert outcome.exit_code == 2
    assert "no run is published there" in outcome.errors[0]
    assert not list((tmp_path / "out").glob("_units/*"))


def test_a_night_is_compared_with_the_nights_before_it_and_needs_none(tmp_path: Path) -> None:
    settings = NightlySettings(
        input_root=str(tmp_path / "in"),
        output_root=str(tmp_path / "out"),
        since=date(2026, 3, 1),
        until=date(2026, 3, 2),
    )
    of_night = night_settings(settings, date(2026, 3, 2))
    assert not of_night.requires_reference
    assert of_night.reference[0] == f"{tmp_path}/out/dt=2026-03-01/"
    assert of_night.reference[13] == f"{tmp_path}/out/dt=2026-02-16/"
    labelled = []

    def label(each: object) -> Report:
        labelled.append(each)
        return Report(plan_id="0" * 16)

    (tmp_path / "out").mkdir()
    label_each(settings, storage.open_folder(str(tmp_path / "out")), label)
    assert len(labelled) == 2
