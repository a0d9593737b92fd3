"""GPU nodes come on demand: the job waits for the first, takes those that come, and lets go what it cannot use."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import ray
from elastic_probe import probe
from forked import run_probe
from job_runs import (
    JOB,
    PROGRAM_PATH,
    RAY_WARNING,
    STORE_BYTES,
    labelled_rows,
    made_up_pairs,
    report_of,
    run_here,
    run_inline,
    run_program,
    started,
    tiny_checkpoint,
    verify,
    wait_until,
    write_pairs,
)
from s3_faults import FaultProxy, Request
from s3_place import Place
from s3_server import S3Server, free_port_pairs

from albert_infer.common.failpoints import VARIABLE

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)]
PAIRS = made_up_pairs(224, seed=51)
# Fourteen units: enough that some wait when a unit holds up its actor and what is queued there.
# The GPUs are declared, and not there.
UNITS = ("--unit-rows", 16, "--precision", "fp32", "--allow-cpu")
# A node's id is all that this provider and Ray have in common.
FAKE_HEAD = 51 * "f" + "00000"
FAKE_CLOUD = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
NO_LISTS = (
    *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands"),
    *("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
)
WAITING = "labelling: waiting for the first GPU since "


@dataclass(frozen=True)
class Grown:
    """What `elastic_probe.py` told and left, and what it asked the S3 server for."""

    told: dict[str, Any]
    source: Path
    output: Path
    model_requests: list[Request]


@pytest.fixture(scope="module")
def grown(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    write_pairs(folder / "in" / "a.parquet", PAIRS)
    place = Place(s3_server.location(uuid4().hex[:12]))
    place.upload(tiny_checkpoint(folder / "checkpoint"), "in/model")
    growing, tail = folder / "growing", folder / "tail"
    growing.mkdir()
    tail.mkdir()
    flags = ("--input", folder / "in", "--output", folder / "out", "--gpu-wait-minutes", 5, *UNITS)
    with FaultProxy(place.location.endpoint) as proxy:
        model = ("--model", f"{place.location.uri}/in/model", "--s3-endpoint", proxy.endpoint)
        waits = {VARIABLE: f"classifying:wait:1-6:{growing};classifying:wait:7:{tail}"}
        told = run_probe(probe, growing, tail, (*flags, *model), env={**place.location.env, **waits})
        return Grown(told, folder / "in", folder / "out", proxy.seen("GET", "/in/model/[^?]+$"))


@pytest.mark.s3
def test_the_actors_are_as_many_as_the_gpus_that_have_come(grown: Grown) -> None:
    assert grown.told["at_work"] == [1, 3]


@pytest.mark.s3
def test_actors_that_nothing_is_left_for_give_their_gpus_back_before_the_run_ends(grown: Grown) -> None:
    assert grown.told["left"] == 1


@pytest.mark.s3
def test_no_row_is_lost_or_doubled_while_actors_come_and_go(grown: Grown) -> None:
    assert grown.told["exit_code"] == 0
    verify(grown.output, grown.source)
    assert labelled_rows(grown.output)["pair_id"].equals(PAIRS["pair_id"])


@pytest.mark.s3
def test_the_checkpoint_is_downloaded_once_whatever_the_nodes_and_actors(grown: Grown) -> None:
    names = Counter(request.path.rpartition("/")[2] for request in grown.model_requests)
    assert names == {"config.json": 1, "tokenizer.json": 1, "model.safetensors": 1}


def test_an_autoscaler_starts_the_first_gpu_node_because_the_job_waits_for_it(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", PAIRS)
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, *UNITS)
    with autoscaling_cluster() as env:
        outcome = run_program([sys.executable, JOB, *flags, "--gpu-wait-minutes", 5], env=env)
    assert outcome.exit_code == 0, outcome.stderr
    # No node had a GPU when the job began.
    assert report_of(tmp_path / "out")["workers"]["device"] == "cuda"
    assert labelled_rows(tmp_path / "out").num_rows == PAIRS.num_rows


@pytest.mark.usefixtures("session")
def test_a_gpu_that_does_not_come_in_time_ends_the_run_with_4_and_one_line(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", PAIRS)
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, *UNITS)

    outcome = run_here(*flags, "--gpu-wait-minutes", 0.05)

    (line,) = outcome.errors
    assert (outcome.exit_code, "1 GPU within 0.05 minutes" in line) == (4, True), outcome.stderr
    assert sum(told.startswith(WAITING) for told in outcome.stderr.splitlines()) == 1, outcome.stderr
    # Nothing is planned before the card is known, so that nothing is written.
    assert not (tmp_path / "out" / "_runs").exists()
    # What was not labelled on GPUs is labelled on CPUs if the operator says so.
    assert run_inline(*flags, "--gpus-per-worker", 0).exit_code == 0


@pytest.mark.usefixtures("session")
def test_a_run_that_is_published_waits_for_no_gpu(checkpoint: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", PAIRS.slice(0, 16))
    flags = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, *UNITS)
    assert run_inline(*flags).exit_code == 0

    again = run_here(*flags, "--gpu-wait-minutes", 60)

    assert (again.exit_code, WAITING in again.stderr) == (0, False), again.stderr


@contextmanager
def autoscaling_cluster() -> Iterator[dict[str, str]]:
    """A head of two cores whose autoscaler starts GPU nodes on this machine; the environment that joins it.

    Not `ray.cluster_utils.AutoscalingCluster`: it begins with `ray stop`, which ends every Ray of the machine.
    """
    port, client, agent = free_port_pairs(3)
    address = f"{ray.util.get_node_ip_address()}:{port}"
    # Not pytest's folder: the path of a unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ai", dir="/tmp", ignore_cleanup_errors=True) as folder:
        config = Path(folder) / "autoscaling.json"
        config.write_text(json.dumps(autoscaling(address)))
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
            *(f"--temp-dir={folder}", f"--port={port}", "--include-dashboard=false", f"--autoscaling-config={config}"),
            *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
            *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={STORE_BYTES}"),
        ]
        # Else a token in the developer's home would guard the cluster.
        env = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": PROGRAM_PATH}
        with started(command, env={**env, **FAKE_CLOUD}) as head:
            # Ray's own note for programs that look for a cluster, written when the head is up.
            wait_until(Path(folder, "ray_current_cluster").exists, head)
            yield {**env, "RAY_ADDRESS": address}


def autoscaling(address: str) -> dict[str, Any]:
    """The autoscaler's settings: one type of GPU node, none of which is there in the beginning."""
    return {
        "cluster_name": "elastic",
        "max_workers": 1,
        "provider": {
            # Ray's provider for tests, by its module: by its type it would need a file that no wheel has.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": {"GPU": 1, "object_store_memory": STORE_BYTES}, "node_config": {}, "max_workers": 1},
        },
        "head_node_type": "ray.head.default",
        # Keys without which Ray's monitor ends, and the head with it.
        **{name: [] for name in NO_LISTS},
        **{name: {} for name in ("file_mounts", "auth", "docker")},
        "file_mounts_sync_continuously": False,
    }
