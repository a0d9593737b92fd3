"""A node that goes away, as spot machines do, and replies that get lost between nodes: time is lost, no row is."""

from __future__ import annotations

import json
from pathlib import Path

import cluster_probe
import paused_probe
import pytest
from deployment import keepalive
from forked import run_probe
from job_runs import (
    FAST_HEALTH_CHECKS,
    RAY_WARNING,
    made_up_pairs,
    manifest_of,
    report_of,
    verify,
    write_pairs,
)

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)]


def lost_calls(most: int) -> dict[str, str]:
    """The environment in which each process loses up to so many calls that hand over a task, or their replies."""
    some = {"num_failures": most, "req_failure_prob": 15, "resp_failure_prob": 15}
    return {"RAY_testing_rpc_failure": json.dumps({"CoreWorkerService.grpc_client.PushTask": some})}


@pytest.mark.parametrize(
    ("replaced", "env"),
    [
        pytest.param(True, lost_calls(1), id="spot"),
        pytest.param(True, lost_calls(10), id="storm", marks=pytest.mark.slow),
        pytest.param(False, {}, id="shrunk", marks=pytest.mark.slow),
    ],
)
def test_a_lost_node_costs_no_row(checkpoint: Path, tmp_path: Path, replaced: bool, env: dict[str, str]) -> None:
    pairs = made_up_pairs(480, seed=31)
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, "--unit-rows", 16)

    told = run_probe(cluster_probe.probe, 5, replaced, flags, env={**FAST_HEALTH_CHECKS, **env})

    assert told == {"exit_code": 0, "killed": True}
    verify(tmp_path / "out", tmp_path / "in")
    assert manifest_of(tmp_path / "out")["labelled"] == pairs.num_rows
    assert report_of(tmp_path / "out")["quarantined"]["units"] == 0, "a lost node makes no unit poison"


def test_a_paused_node_costs_seconds_and_no_row(checkpoint: Path, tmp_path: Path) -> None:
    """As when a host freezes: no connection is closed, and what the node had begun it ends when all is over."""
    pairs = made_up_pairs(240, seed=32)
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    (tmp_path / "points").mkdir()
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, "--unit-rows", 16)
    # A check of a node that is paused, unlike one that is gone, takes its whole time.
    env = {**FAST_HEALTH_CHECKS, "RAY_health_check_timeout_ms": "3000", **keepalive()}

    told = run_probe(paused_probe.probe, tmp_path / "points", flags, env=env)

    assert told["exit_code"] == 0
    assert told["late"] > 0, "the node was paused with bytes that were not put yet"
    assert told["seconds"] < 90, "by Ray's own settings it is 420 s"
    verify(tmp_path / "out", tmp_path / "in")
    assert manifest_of(tmp_path / "out")["labelled"] == pairs.num_rows
