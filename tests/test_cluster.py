"""`cluster.yaml` is a file that Ray's cluster launcher takes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def cluster() -> Any:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_cluster_file_fits_rays_own_schema(cluster: Any) -> None:
    schema = json.loads((resources.files("ray") / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_only_gpu_workers_are_spot_and_the_head_has_no_gpu(cluster: Any) -> None:
    types = cluster["available_node_types"]
    spot = {name for name, node in types.items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == {name for name, node in types.items() if node["resources"].get("GPU")}
    assert types[cluster["head_node_type"]]["resources"]["GPU"] == 0
    assert cluster["head_node_type"] not in spot


def test_no_port_is_opened_to_everybody_and_no_credential_is_in_the_file(cluster: Any) -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert "0.0.0.0" not in text  # noqa: S104  we look for it, we do not bind it
    assert not {"aws_access_key_id", "aws_secret_access_key"} & set(cluster["provider"])
    assert all("RAY_AUTH_MODE=token" in line for line in _start_commands(cluster))


def _start_commands(cluster: Any) -> list[str]:
    commands = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]
