"""The whole job with the built-in checkpoint on pairs that people wrote and judged."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from job_runs import labelled_rows, run_inline, write_pairs

FOLDER = os.environ.get("NLI_TEST_PAIRS", "")
# Of 4,816. The agreement on all is 0.84.
PAIRS = 1600
# The built-in checkpoint is small; a wrong label order or a broken layer gives a third or less.
LEAST_AGREEMENT = 0.70

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not FOLDER, reason="NLI_TEST_PAIRS does not name a folder with snli_test_a.parquet"),
]


def test_the_built_in_checkpoint_agrees_with_people_on_snli(tmp_path: Path) -> None:
    pairs = pq.read_table(Path(FOLDER) / "snli_test_a.parquet").slice(0, PAIRS)
    source = write_pairs(tmp_path / "in" / "snli.parquet", pairs)
    outcome = run_inline("--input", source, "--output", tmp_path / "out", "--carry", "gold_label")
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    rows = labelled_rows(tmp_path / "out").select(["label", "gold_label"]).to_pylist()
    assert len(rows) == PAIRS
    assert sum(row["label"] == row["gold_label"] for row in rows) >= LEAST_AGREEMENT * len(rows)
