"""Whole jobs with the built-in checkpoint: what they say before bulk work, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import run_forked
from job_runs import (
    INLINE_JOB,
    labelled_rows,
    report_of,
    run_inline,
    staged_units,
    state_of,
    visible_files,
    write_pairs,
)

import albert_infer
from albert_infer.common.failpoints import VARIABLE

PACKAGED = pq.read_table(Path(albert_infer.__file__).parent / "model" / "builtin" / "pairs.parquet")


@pytest.mark.process
def test_columns_that_look_exchanged_are_told_at_once_and_in_the_report_and_label_all_the_same(tmp_path: Path) -> None:
    turned = pa.table({"premise": PACKAGED["hypothesis"], "hypothesis": PACKAGED["premise"]})
    source, output = write_pairs(tmp_path / "in.parquet", turned), tmp_path / "out"
    flags = ("--input", source, "--output", output, "--precision", "fp32", "--unit-rows", 100)

    told = run_inline(*flags)

    assert told.exit_code == 0, told.stderr
    (warning,) = told.errors
    assert warning.startswith("warning: premise and hypothesis look exchanged: ")
    assert warning in told.stdout.replace("columns      ", "")
    assert report_of(output)["preflight"]["swap"]["suspected"]
    assert report_of(output)["labelled"] == PACKAGED.num_rows

    mended = run_inline(*flags, "--premise-column", "hypothesis", "--hypothesis-column", "premise", "--replace")

    assert (mended.exit_code, mended.errors) == (0, []), mended.stderr
    assert "columns " not in mended.stdout
    swap = report_of(output)["preflight"]["swap"]
    assert (swap["texts"]["pairs"], swap["one_way"], swap["suspected"]) == (PACKAGED.num_rows, 0, False)


@pytest.mark.process
def test_a_run_below_its_gold_floor_labels_nothing_and_above_it_says_how_far(tmp_path: Path) -> None:
    source, gold = write_pairs(tmp_path / "in.parquet", PACKAGED), write_pairs(tmp_path / "gold.parquet", PACKAGED)
    output = tmp_path / "out"
    flags = ("--input", source, "--output", output, "--precision", "fp32")

    refused = run_inline(*flags, "--gold", gold, "--min-accuracy", 0.9)

    assert (refused.exit_code, len(refused.errors)) == (3, 1), refused.stderr
    assert f"--min-accuracy 0.9 on --gold {gold}: " in refused.errors[0]
    assert "of 306 pairs get their gold label" in refused.errors[0]
    assert (visible_files(output), staged_units(output)) == ([], [])
    report = report_of(output)
    found = report["preflight"]["gold"]
    assert (report["exit_code"], report["labelled"], found["accuracy"]["pairs"]) == (3, 0, 306)

    accepted = run_inline(*flags, "--gold", gold, "--min-accuracy", found["accuracy"]["share"])

    assert accepted.exit_code == 0, accepted.stderr
    assert report_of(output)["plan_id"] == report["plan_id"], "the gold set decides no label"
    assert report_of(output)["preflight"]["gold"] == found, "the same labels"
    assert f"gold         {found['accuracy']['share']:.1%} of 306 pairs get their gold label" in accepted.stdout
    labels = zip(labelled_rows(output)["label"].to_pylist(), PACKAGED["gold_label"].to_pylist(), strict=True)
    assert found["accuracy"]["right"] == sum(ours == theirs for ours, theirs in labels), "as the run labels"

    published = state_of(output)
    again = run_inline(*flags, "--gold", tmp_path / "missing", "--min-accuracy", 1)
    assert again.exit_code == 0, "a run that is published does nothing"
    assert state_of(output) == published


@pytest.mark.process
def test_units_that_a_start_without_a_gold_set_has_labelled_are_held_against_it_before_they_are_published(
    tmp_path: Path,
) -> None:
    source, output = write_pairs(tmp_path / "in.parquet", PACKAGED), tmp_path / "out"
    flags = ("--input", source, "--output", output, "--precision", "fp32")
    faults = tmp_path / "faults"
    faults.mkdir()
    armed = {VARIABLE: f"labelled:kill:1:{faults}"}
    assert run_forked(INLINE_JOB, *flags, env=armed).exit_code != 0
    assert len(staged_units(output)) == 1

    refused = run_inline(*flags, "--gold", source, "--min-accuracy", 0.9)

    assert refused.exit_code == 3, refused.stderr
    assert visible_files(output) == []


@pytest.mark.computes
def test_a_gold_set_that_is_missing_or_has_no_gold_label_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source, output = write_pairs(tmp_path / "in.parquet", PACKAGED), tmp_path / "out"
    unlabelled = PACKAGED.drop_columns(["gold_label"]).append_column("gold_label", pa.array(["-"] * 306))
    flags = ("--input", source, "--output", output, "--precision", "fp32", "--gold")
    for gold, told in (
        (write_pairs(tmp_path / "gold.parquet", unlabelled), "none of its 306 rows has a gold label"),
        (tmp_path / "missing", str(tmp_path / "missing")),
    ):
        refused = run_inline(*flags, gold)
        assert (refused.exit_code, len(refused.errors)) == (2, 1), refused.stderr
        assert told in refused.errors[0]
        assert not output.exists()
