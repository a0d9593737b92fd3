"""The stages keep pace: what is labelled is committed at once, whatever reading does."""

from __future__ import annotations

from pathlib import Path

import pytest
from forked import forked
from job_runs import (
    RAY_WARNING,
    in_open_session,
    made_up_pairs,
    staged_units,
    wait_until,
    write_pairs,
)
from label_pairs import main

from albert_infer.common.failpoints import VARIABLE

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)]


@pytest.mark.usefixtures("session")
def test_a_labelled_unit_is_committed_while_reading_holds_the_last_cpu(checkpoint: Path, tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        write_pairs(tmp_path / "in" / f"{name}.parquet", made_up_pairs(16, seed=60 + number))
    faults = tmp_path / "faults"
    faults.mkdir()
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, "--precision", "fp32")
    # The first read of the last file is for the checks; the second waits, with the CPU that the actor leaves.
    armed = {VARIABLE: f"reading@c.parquet:wait:2:{faults}"}
    with forked(main, *flags, env=in_open_session(armed)) as job:
        wait_until(lambda: (faults / "reading.2").exists(), job)
        wait_until(lambda: len(staged_units(tmp_path / "out")) == 2, job)
        (faults / "go").touch()
        assert job.wait() == 0
