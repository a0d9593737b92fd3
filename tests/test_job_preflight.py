"""Whole jobs with the built-in checkpoint: what they say before bulk work, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_runs import RAY_WARNING, report_of, run_here, write_pairs

import albert_infer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("session"), pytest.mark.filterwarnings(RAY_WARNING)]

PACKAGED = pq.read_table(Path(albert_infer.__file__).parent / "builtin" / "pairs.parquet")


def test_columns_that_look_exchanged_are_told_at_once_and_in_the_report_and_label_all_the_same(tmp_path: Path) -> None:
    turned = pa.table({"premise": PACKAGED["hypothesis"], "hypothesis": PACKAGED["premise"]})
    source, output = write_pairs(tmp_path / "in.parquet", turned), tmp_path / "out"
    flags = ("--input", source, "--output", output, "--precision", "fp32", "--unit-rows", 100)

    told = run_here(*flags)

    assert told.exit_code == 0, told.stderr
    (warning,) = told.errors
    assert warning.startswith("warning: premise and hypothesis look exchanged: ")
    assert warning in told.stdout.replace("columns      ", "")
    assert report_of(output)["preflight"]["swap"]["suspected"]
    assert report_of(output)["labelled"] == PACKAGED.num_rows

    mended = run_here(*flags, "--premise-column", "hypothesis", "--hypothesis-column", "premise", "--replace")

    assert (mended.exit_code, mended.errors) == (0, []), mended.stderr
    assert "columns " not in mended.stdout
    swap = report_of(output)["preflight"]["swap"]
    assert (swap["texts"]["pairs"], swap["one_way"], swap["suspected"]) == (PACKAGED.num_rows, 0, False)
