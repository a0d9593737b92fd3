"""The job as it is submitted to a cluster: `ray job submit` on a head with token authentication."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from job_runs import (
    JOB,
    labelled_rows,
    made_up_pairs,
    report_of,
    run_program,
    tiny_checkpoint,
    write_pairs,
)
from ray_cluster import PROGRAMS, head

pytestmark = pytest.mark.ray


def test_a_submitted_job_labels_and_its_log_ends_with_the_report(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(20, seed=14))
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    work = tmp_path / "work"
    shutil.copytree(JOB.parent, work / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    no_weights = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(JOB.parents[1] / "albert_infer", work / "albert_infer", ignore=no_weights)
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex, "RAY_ADDRESS": ""}
    with head(env, num_cpus=2) as address:
        submitted = run_program(
            [
                *(PROGRAMS / "ray", "job", "submit", "--address", address.jobs, "--working-dir", work, "--"),
                *("python", "jobs/label_pairs.py", "--input", tmp_path / "in", "--output", tmp_path / "out"),
                *("--model", checkpoint),
            ],
            env=env,
        )
    assert submitted.exit_code == 0, submitted.stdout + submitted.stderr
    assert "20 of 20 pairs labelled" in submitted.stdout
    assert labelled_rows(tmp_path / "out").num_rows == 20
    assert report_of(tmp_path / "out")["units"] == {"done_before": 0, "labelled": 1}
