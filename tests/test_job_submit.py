"""The job as it is submitted to a cluster: `ray job submit` on a head with token authentication."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from job_runs import (
    JOB,
    labelled_rows,
    made_up_pairs,
    report_of,
    run_program,
    started,
    tiny_checkpoint,
    wait_until,
    write_pairs,
)
from s3_server import free_port_pairs

pytestmark = pytest.mark.ray
PROGRAMS = Path(sys.executable).parent


@contextmanager
def cluster(env: dict[str, str]) -> Iterator[str]:
    """A head of two cores in a folder of its own; the address of its job server."""
    port, dashboard, client, agent = free_port_pairs(4)
    # Not pytest's folder: the path of a unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ai", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            *(PROGRAMS / "ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}"),
            *(f"--port={port}", "--include-dashboard=true", "--dashboard-host=127.0.0.1"),
            *(f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
            # By default workers take any of 10002 to 19999, and Ray refuses to start where the others are among them.
            *(f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0"),
        ]
        address = f"http://127.0.0.1:{dashboard}"
        with started(command, env=env) as head:
            wait_until(lambda: answers(f"{address}/api/healthz") or answers(address), head)
            yield address


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310  (our own http:// address)
            return True
    except (URLError, OSError):
        return False


def test_a_submitted_job_labels_and_its_log_ends_with_the_report(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(20, seed=14))
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    work = tmp_path / "work"
    shutil.copytree(JOB.parent, work / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    no_weights = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(JOB.parents[1] / "albert_infer", work / "albert_infer", ignore=no_weights)
    path = f"{PROGRAMS}:/usr/bin:/bin"
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex, "RAY_ADDRESS": "", "PATH": path}
    with cluster(env) as address:
        submitted = run_program(
            [
                *(PROGRAMS / "ray", "job", "submit", "--address", address, "--working-dir", work, "--"),
                *("python", "jobs/label_pairs.py", "--input", tmp_path / "in", "--output", tmp_path / "out"),
                *("--model", checkpoint),
            ],
            env=env,
        )
    assert submitted.exit_code == 0, submitted.stdout + submitted.stderr
    assert "20 of 20 pairs labelled" in submitted.stdout
    assert labelled_rows(tmp_path / "out").num_rows == 20
    assert report_of(tmp_path / "out")["units"] == {"done_before": 0, "labelled": 1}
