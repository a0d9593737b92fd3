"""Whole jobs in a precision below fp32: what they find of their labels before bulk work, and what that decides."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from job_runs import (
    labelled_rows,
    made_up_pairs,
    manifest_of,
    rejected_rows,
    report_of,
    run_inline,
    staged_units,
    tiny_checkpoint,
    visible_files,
    write_pairs,
)

PAIRS = made_up_pairs(400, seed=18)
INT8 = ("--precision", "int8")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of so many layers that int8 turns one label in nine: each adds to what the last has lost."""
    return tiny_checkpoint(tmp_path_factory.mktemp("deep"), num_hidden_layers=12)


def flags(folder: Path, checkpoint: Path, premises: pa.Array) -> tuple[object, ...]:
    """The command on PAIRS with these premises, without its precision."""
    write_pairs(folder / "in" / "a.parquet", PAIRS.set_column(1, "premise", premises))
    where = ("--input", folder / "in", "--output", folder / "out", "--model", checkpoint)
    return (*where, "--unit-rows", 32, "--max-rejected-share", 1)


@pytest.mark.process
def test_a_run_whose_labels_are_too_often_not_those_of_fp32_labels_nothing_until_that_is_accepted(
    deep: Path, tmp_path: Path
) -> None:
    premises = PAIRS["premise"].to_pylist()
    premises[7] = None
    output, argv = tmp_path / "out", flags(tmp_path, deep, pa.array(premises))

    refused = run_inline(*argv, *INT8)

    assert (refused.exit_code, len(refused.errors)) == (3, 1), refused.stderr
    assert "--min-agreement 0.99: " in refused.errors[0]
    assert "of 399 sampled pairs have fp32's label in int8" in refused.errors[0]
    assert "give --precision fp32" in refused.errors[0]
    assert (visible_files(output), staged_units(output)) == ([], [])
    report = report_of(output)
    assert (report["exit_code"], report["labelled"]) == (3, 0)
    assert (report["preflight"]["precision"], report["preflight"]["device"]) == ("int8", "cpu")
    found = report["preflight"]["agreement"]
    assert found["pairs"] == 399
    assert found["equal_labels"] < found["upper_bound"] < 0.99
    assert found["largest_difference"] > 0

    accepted = run_inline(*argv, *INT8, "--min-agreement", found["upper_bound"])

    assert accepted.exit_code == 0, accepted.stderr
    assert report_of(output)["preflight"]["agreement"] == found, "the same pairs, and the same labels"
    same = f"of 399 pairs of the input get the same label in int8 as in fp32 ({found['equal_labels']:.2%})"
    assert same in accepted.stdout
    int8 = labelled_rows(output)["label"].to_pylist()
    again = run_inline(*argv, *INT8)
    assert again.exit_code == 0, "nothing is left to label"
    assert "agreement" not in again.stdout
    fp32 = run_inline(*argv, "--precision", "fp32", "--replace", "--min-agreement", 1)
    assert fp32.exit_code == 0, fp32.stderr
    assert report_of(output)["preflight"]["agreement"] is None
    labels = zip(int8, labelled_rows(output)["label"].to_pylist(), strict=True)
    equal = sum(ours == exact for ours, exact in labels)
    assert found["equal_labels"] == pytest.approx(equal / 399)


@pytest.mark.computes
def test_the_sample_may_be_smaller_or_left_out(deep: Path, tmp_path: Path) -> None:
    argv = flags(tmp_path, deep, PAIRS["premise"])
    assert run_inline(*argv, *INT8, "--min-agreement", "0.99:150").exit_code == 3
    assert report_of(tmp_path / "out")["preflight"]["agreement"]["pairs"] == 150
    unsampled = run_inline(*argv, *INT8, "--min-agreement", "off")
    assert unsampled.exit_code == 0, unsampled.stderr
    assert report_of(tmp_path / "out")["preflight"]["agreement"] is None


@pytest.mark.computes
def test_pairs_without_a_label_refuse_no_run(checkpoint: Path, tmp_path: Path) -> None:
    outcome = run_inline(*flags(tmp_path, checkpoint, pa.nulls(400, pa.string())), *INT8, "--min-agreement", 1)
    assert outcome.exit_code == 0, outcome.stderr
    assert (rejected_rows(tmp_path / "out").num_rows, manifest_of(tmp_path / "out")["labelled"]) == (400, 0)
    assert report_of(tmp_path / "out")["preflight"]["agreement"] is None
