"""The evaluation job: a run and a checkpoint with pairs, from the command line to the files; what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluate import main
from evaluated_rows import NAMES, gold_names, made_up_rows, published_run
from job_runs import made_up_pairs, write_pairs
from pairs import numbered_pairs, with_class_names

import albert_infer
from albert_infer.model.calibration import CALIBRATION, calibration_json
from albert_infer.model.checkpoint import load_checkpoint

BUILTIN = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
REAL_PAIRS = os.environ.get("NLI_TEST_PAIRS", "")
ROWS = made_up_rows(300, seed=1)


def told(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return found


def gold_pairs(rows: int) -> pa.Table:
    pairs = made_up_pairs(rows, seed=1)
    return pairs.append_column("gold_label", [[NAMES[row % 3] for row in range(rows)]])


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Give two runs of one input; the second turned some labels and rejected a row."""
    pairs = numbered_pairs(300).append_column("gold_label", [gold_names(ROWS)])
    one = published_run(tmp_path / "one", pairs, ROWS)
    other = published_run(tmp_path / "other", pairs, made_up_rows(300, seed=1, right=0.4), rejected=[7], unit_rows=64)
    return one, other


@pytest.mark.computes
def test_a_run_is_evaluated_and_compared(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--run", runs[0], "--other-run", runs[1], "--output", tmp_path / "page", "--review-below", "0.6"]
    assert main([*map(str, argv)]) == 0
    found = told(tmp_path / "page")
    right = float((ROWS.labels == ROWS.gold).mean())
    assert found["against_gold"]["quality"]["accuracy"]["value"] == pytest.approx(right)
    assert found["against_gold"]["review"]["rows_below"] == (ROWS.probabilities.max(axis=1) < 0.6).sum()
    assert (found["churn"]["rows"], found["churn"]["only_in_this"]) == (299, 1)
    assert f"{right:.1%}" in (tmp_path / "page" / "evaluation.html").read_text()
    assert f"{right:.1%}" in capsys.readouterr().out


@pytest.mark.computes
def test_gold_labels_that_are_numbers_with_names_are_read_by_name(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, pairs = ["contradiction", "entailment", "neutral"], gold_pairs(240)
    numbers = pa.array([names.index(name) for name in pairs["gold_label"].to_pylist()])
    named = with_class_names(pairs.set_column(pairs.num_columns - 1, "gold_label", numbers), "gold_label", names)
    found = []
    for name, table in (("text", pairs), ("numbers", named)):
        write_pairs(tmp_path / name / "a.parquet", table)
        argv = [
            "--pairs",
            tmp_path / name,
            "--model",
            checkpoint,
            "--output",
            tmp_path / f"{name} page",
            "--threads",
            "1",
        ]
        assert main([*map(str, argv)]) == 0
        found.append(told(tmp_path / f"{name} page")["against_gold"]["quality"])
    assert found[0] == found[1]
    write_pairs(tmp_path / "two" / "a.parquet", with_class_names(named, "gold_label", ["no", "yes"]))
    assert main(["--pairs", str(tmp_path / "two"), "--model", str(checkpoint), "--output", str(tmp_path / "page")]) == 2
    assert "column `gold_label`: numbers of 2 classes: no, yes; give each pair" in capsys.readouterr().err


@pytest.mark.computes
def test_a_review_below_0_is_told_of_as_any_other(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for asked in ("0", "0.5"):
        assert main(["--run", str(runs[0]), "--review-below", asked, "--output", str(tmp_path / "page")]) == 0
        review = told(tmp_path / "page")["against_gold"]["review"]
        assert review["rows_below"] == (ROWS.probabilities.max(axis=1) < float(asked)).sum()
    assert main(["--run", str(runs[0]), "--output", str(tmp_path / "page")]) == 0
    assert told(tmp_path / "page")["against_gold"]["review"] is None


def test_runs_without_gold_labels_are_still_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    argv = ["--run", runs[0], "--other-run", runs[1], "--output", tmp_path / "page", "--gold-column", "truth"]
    assert main([*map(str, argv)]) == 0
    found = told(tmp_path / "page")
    assert (found["against_gold"], found["churn"]["judged"]) == (None, None)
    assert found["churn"]["agreement"]["value"] < 1


@pytest.mark.computes
def test_an_evaluation_replaces_an_older_one(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for run in runs:
        assert main(["--run", str(run), "--output", str(tmp_path / "page"), "--no-texts"]) == 0
    assert told(tmp_path / "page")["source"]["run"] == str(runs[1])


@pytest.mark.computes
def test_a_checkpoint_is_evaluated_and_calibrated(checkpoint: Path, tmp_path: Path) -> None:
    pairs = gold_pairs(240)
    texts = pairs["hypothesis"].to_pylist()
    pairs = pairs.set_column(2, "hypothesis", pa.array([None, *texts[1:]], pa.string()))
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    argv = ["--pairs", tmp_path / "in", "--model", checkpoint, "--other-model", checkpoint, "--slices", "topic"]
    argv += ["--fit-temperature", tmp_path / "fitted", "--output", tmp_path / "page", "--threads", "1"]
    assert main([*map(str, argv)]) == 0
    found = told(tmp_path / "page")
    assert found["rows"]["rejected"] == {"null_text": 1}
    assert (found["rows"]["labelled"], found["churn"]["agreement"]["value"]) == (239, 1.0)
    assert {each["value"] for each in found["against_gold"]["slices"]["topic"]} == {str(topic) for topic in range(7)}
    written = json.loads((tmp_path / "fitted" / CALIBRATION).read_text())
    for name in ("temperature", "nll_before", "nll_after", "ece_before", "ece_after"):
        assert written[name] == found["fit"][name]
    assert written["fitted_on"]["gold_column"] == "gold_label"
    assert written["fitted_on"]["pairs"] == 239


@pytest.mark.computes
def test_a_long_premise_is_evaluated_in_windows_too(checkpoint: Path, tmp_path: Path) -> None:
    pairs = gold_pairs(30)
    texts = pairs["premise"].to_pylist()
    write_pairs(
        tmp_path / "a.parquet", pairs.set_column(1, "premise", pa.array([texts[0] * 40, *texts[1:]], pa.string()))
    )
    given = ["--pairs", str(tmp_path / "a.parquet"), "--model", str(checkpoint), "--max-length", "16", "--threads", "1"]
    found = {}
    for rule in ("truncate", "window"):
        assert main([*given, "--long-premise", rule, "--output", str(tmp_path / rule)]) == 0
        found[rule] = told(tmp_path / rule)
    assert [found[rule]["rows"]["labelled"] for rule in found] == [30, 30]
    cut = {
        rule: {each["value"] for each in page["against_gold"]["slices"]["truncated"]} for rule, page in found.items()
    }
    assert cut == {"truncate": {"whole", "truncated"}, "window": {"whole"}}


@pytest.mark.computes
def test_the_calibrated_copy_is_the_checkpoint_byte_for_byte(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", gold_pairs(240))
    argv = ["--pairs", tmp_path / "a.parquet", "--model", checkpoint, "--output", tmp_path / "page", "--threads", "1"]
    assert main([*map(str, argv), "--fit-temperature", str(tmp_path / "fitted")]) == 0
    for name in load_checkpoint(str(checkpoint)).digests:
        assert (tmp_path / "fitted" / name).read_bytes() == (checkpoint / name).read_bytes()
    assert main([*map(str, argv), "--fit-temperature", str(tmp_path / "fitted")]) == 2


@pytest.mark.computes
def test_a_calibrated_copy_is_loaded_and_there_is_nothing_left_to_calibrate(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", gold_pairs(240))
    fits = []
    for model, copy in ((checkpoint, tmp_path / "one"), (tmp_path / "one", tmp_path / "two")):
        argv = ["--pairs", tmp_path / "a.parquet", "--model", model, "--fit-temperature", copy]
        assert main([*map(str, argv), "--output", str(tmp_path / "page"), "--threads", "1"]) == 0
        fits.append(told(tmp_path / "page")["fit"])
        assert load_checkpoint(str(copy)).temperature == fits[-1]["temperature"]
    first, second = fits
    assert abs(first["temperature"] - 1) > 0.05
    # No temperature that was fitted without a pair is better for it than the one that was fitted with it.
    assert second["nll_before"] <= min(first["nll_before"], first["nll_after"])
    assert second["temperature"] == pytest.approx(first["temperature"], rel=1e-2)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ((), "give either --run (a published run) or --pairs"),
        (("--run", "a", "--pairs", "b"), "give either --run (a published run) or --pairs"),
        (("--run", "a", "--other-model", "b"), "--other-model needs --pairs"),
        (("--run", "a", "--fit-temperature", "b"), "--fit-temperature needs --pairs"),
        (("--pairs", "a", "--other-run", "b"), "--other-run needs --run"),
        (("--pairs", "a", "--slices", "x,x"), "expected each column once"),
        (("--pairs", "a", "--device", "cuda", "--precision", "int8"), "int8 is for CPUs"),
        (("--run", "nowhere"), "there is no _SUCCESS"),
        (("--pairs", "nowhere"), "nothing is there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    argv: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--output", str(tmp_path / "page")]) == 2
    stderr = capsys.readouterr().err
    assert line in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "page").exists()


def test_pairs_without_any_gold_label_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = made_up_pairs(5, seed=1).append_column("gold_label", [["-"] * 5])
    write_pairs(tmp_path / "a.parquet", unknown)
    argv = ["--pairs", str(tmp_path / "a.parquet"), "--model", str(checkpoint), "--output", str(tmp_path / "page")]
    assert main(argv) == 2
    assert "none of its 5 labelled rows has a gold label" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.skipif(not REAL_PAIRS, reason="NLI_TEST_PAIRS does not name a folder with snli_test_a.parquet")
def test_the_built_in_checkpoint_is_above_what_hypotheses_give_away(tmp_path: Path) -> None:
    # Enough that every interval is clear of its limit.
    pairs = pq.read_table(Path(REAL_PAIRS) / "snli_test_a.parquet").slice(0, 1500)
    source = write_pairs(tmp_path / "in" / "a.parquet", pairs)
    unsure = shutil.copytree(BUILTIN, tmp_path / "unsure")
    (unsure / CALIBRATION).write_bytes(calibration_json(2.5, {}))
    argv = ["--pairs", source, "--model", unsure, "--output", tmp_path, "--fit-temperature", tmp_path / "fitted"]
    assert main([*map(str, argv)]) == 0
    found = told(tmp_path)
    gold = found["against_gold"]
    assert gold["quality"]["accuracy"]["low"] > 0.70
    assert gold["baselines"]["gap"]["low"] > 0.15
    assert found["fit"]["nll_after"] < 0.95 * found["fit"]["nll_before"]
    assert found["fit"]["temperature"] == pytest.approx(load_checkpoint("builtin").temperature, rel=0.2)
