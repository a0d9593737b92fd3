"""`cluster.yaml` and the AWS policies beside it: Ray and AWS take them, and they open nothing that they need not."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import botocore.session
import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from deployment import (
    ALL_ADDRESSES,
    DEPLOY,
    ROOT,
    documents,
    image_tag,
    keepalive,
    locked_version,
    placeholders,
    ray_start_options,
)

# Ray has no public check of such a file. This is what `ray up` calls first; when it moves, this import tells.
from ray.autoscaler._private.util import prepare_config, validate_config
from s3_server import job_policy, tidy_policy

CLUSTER: Final = ROOT / "cluster.yaml"
POLICIES: Final = sorted((DEPLOY / "iam").glob("*.json"))
# AWS knows no resource to name for these.
WITHOUT_RESOURCE: Final = {"ec2:DescribeInstances", "ecr:GetAuthorizationToken"}
# Rights that are not named like an operation.
OTHER_RIGHTS: Final = {"iam:PassRole", "kms:ReEncryptFrom", "kms:ReEncryptTo", "s3:ListBucket"}


@pytest.fixture
def cluster() -> Any:
    [read] = documents(CLUSTER)
    return read


@pytest.fixture
def node_types(cluster: Any) -> dict[str, Any]:
    types: dict[str, Any] = cluster["available_node_types"]
    return types


def test_ray_takes_the_cluster_file(cluster: Any) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "cpu_worker", "gpu_worker"}


def test_ray_would_refuse_a_misspelt_cluster_file(cluster: Any) -> None:
    cluster["available_node_types"]["gpu_worker"]["max_worker"] = 8
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(cluster))


def test_aws_knows_each_setting_of_each_machine(node_types: dict[str, Any]) -> None:
    settings = aws_service("ec2").operation_model("RunInstances").input_shape.members
    for name, node in node_types.items():
        # Ray's own: it starts each machine in one of them.
        given = {key: value for key, value in node["node_config"].items() if key != "SubnetIds"}
        assert given.keys() <= settings.keys(), name
        for key, value in given.items():
            report = ParamValidator().validate(value, settings[key])
            assert not report.has_errors(), f"{name}, {key}: {report.generate_report()}"


def test_only_gpu_workers_are_spot_and_the_head_has_no_gpu_and_stays(cluster: Any, node_types: dict[str, Any]) -> None:
    spot = {name for name, node in node_types.items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == {name for name, node in node_types.items() if node["resources"]["GPU"]}
    assert cluster["head_node_type"] not in spot


def test_containers_of_gpu_workers_see_the_gpus(cluster: Any, node_types: dict[str, Any]) -> None:
    for name, node in node_types.items():
        # As the launcher merges them, a type's own over those of all.
        options = (cluster["docker"] | node.get("docker", {})).get("worker_run_options", [])
        assert ("--gpus=all" in options) == bool(node["resources"]["GPU"]), name


def test_workers_come_from_none_up_to_a_limit_and_go_when_idle(cluster: Any, node_types: dict[str, Any]) -> None:
    workers = [node for name, node in node_types.items() if name != cluster["head_node_type"]]
    assert [node["min_workers"] for node in workers] == [0] * len(workers)
    assert sum(node["max_workers"] for node in workers) == cluster["max_workers"]
    assert 0 < cluster["idle_timeout_minutes"] <= 15
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_every_machine_has_a_closed_group_encrypted_disks_and_metadata_for_itself_alone(
    cluster: Any, node_types: dict[str, Any]
) -> None:
    assert cluster["provider"]["use_internal_ips"] is True
    for name, node in node_types.items():
        settings = node["node_config"]
        # For a type without a group Ray makes one that opens port 22 to all addresses.
        assert settings["SecurityGroupIds"] == ["FILL-IN-SECURITY-GROUP"], name
        assert settings["MetadataOptions"]["HttpTokens"] == "required", name
        assert settings["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, name
        for disk in settings["BlockDeviceMappings"]:
            assert disk["Ebs"]["Encrypted"] is True, name
            assert disk["Ebs"]["KmsKeyId"], name


def test_no_address_range_is_everybody_and_ssh_comes_from_a_named_one() -> None:
    rules = json.loads((DEPLOY / "security-group.json").read_text())
    members = aws_service("ec2").operation_model("AuthorizeSecurityGroupIngress").input_shape.members
    assert not ParamValidator().validate(rules, members["IpPermissions"]).has_errors()
    ranges = [(rule["FromPort"], rule["ToPort"]) for rule in rules if rule.get("IpRanges") or rule.get("Ipv6Ranges")]
    assert ranges == [(22, 22)]
    assert not any(ALL_ADDRESSES.search(path.read_text()) for path in (CLUSTER, DEPLOY / "security-group.json"))


def test_every_process_asks_for_the_token_and_no_credential_is_in_the_file(cluster: Any) -> None:
    starts = [
        command
        for command in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "aws_credentials" not in cluster["provider"]
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"} & set(CLUSTER.read_text().split())


def test_every_process_gives_up_a_machine_that_froze_as_soon_as_the_images_others_do(cluster: Any) -> None:
    starts = [
        command.partition("ray start")[0].split()
        for command in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    for words in starts:
        assert {f"{name}={value}" for name, value in keepalive().items()} <= set(words)


def test_ray_start_knows_each_option(cluster: Any) -> None:
    commands = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    given = {word.partition("=")[0] for command in commands for word in command.split() if word.startswith("--")}
    assert {"--head", "--address", "--port"} <= given
    assert given <= ray_start_options()


def test_image_and_versions_are_those_of_the_lock_file(cluster: Any, node_types: dict[str, Any]) -> None:
    assert cluster["docker"]["image"].endswith(f"/albert-infer:{image_tag()}")
    assert any(f"== '{locked_version('ray')}'" in command for command in cluster["setup_commands"])
    for node in node_types.values():
        assert node["node_config"]["ImageId"].startswith("resolve:ssm:"), "an image id is right in one region only"
        assert node["node_config"]["ImageId"].rpartition(":")[2].isdigit(), "a parameter without version is not pinned"


def test_what_to_fill_in_is_listed_on_top_of_the_file(cluster: Any) -> None:
    listed = {line.split()[1] for line in CLUSTER.read_text().splitlines() if line.startswith("#   FILL-IN")}
    assert listed == placeholders(json.dumps(cluster))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_names_each_right_and_each_resource(path: Path) -> None:
    for statement in statements_of(path):
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), statement["Sid"]
        for action in listed(statement["Action"]):
            service, _, operation = action.partition(":")
            known = set(aws_service(service).operation_names)
            assert operation in known or action in OTHER_RIGHTS, f"{statement['Sid']}: AWS has no {action}"
            if "Resource" in statement and "*" in listed(statement["Resource"]):
                assert action in WITHOUT_RESOURCE, f"{statement['Sid']}: {action} on everything"


def test_the_nights_policy_is_the_one_that_the_jobs_tests_have() -> None:
    assert allowed(statements_of(DEPLOY / "iam" / "nightly.json"), "s3:") == allowed(
        job_policy("FILL-IN-INBOX", "FILL-IN-LABELS")["Statement"], "s3:"
    )


def test_only_the_clean_up_deletes_and_never_a_manifest() -> None:
    deleting = {path.stem for path in POLICIES if "s3:DeleteObject" in path.read_text()}
    assert deleting == {"clean"}
    statements = statements_of(DEPLOY / "iam" / "clean.json")
    assert allowed(statements, "s3:DeleteObject") == allowed(tidy_policy("FILL-IN-LABELS")["Statement"], "s3:")
    [denied] = [statement for statement in statements if statement["Effect"] == "Deny"]
    assert (denied["Action"], denied["Resource"]) == ("s3:DeleteObject", "arn:aws:s3:::FILL-IN-LABELS/*/_SUCCESS")


def test_the_head_starts_the_files_workers_and_gives_away_no_other_role(
    cluster: Any, node_types: dict[str, Any]
) -> None:
    head = {statement["Sid"]: statement for statement in statements_of(DEPLOY / "iam" / "head.json")}
    workers = [node["node_config"] for name, node in node_types.items() if name != cluster["head_node_type"]]
    types = head["StartMachinesOfTheCluster"]["Condition"]["StringEquals"]["ec2:InstanceType"]
    assert set(types) == {settings["InstanceType"] for settings in workers}
    assert {settings["IamInstanceProfile"]["Name"] for settings in workers} == {"albert-infer-worker"}
    assert head["GiveWorkersTheirRole"]["Resource"].endswith(":role/albert-infer-worker")
    tag = {"aws:ResourceTag/ray-cluster-name": cluster["cluster_name"]}
    assert head["EndMachinesOfTheCluster"]["Condition"] == {"StringEquals": tag}
    region = cluster["provider"]["region"]
    resources = (arn for statement in head.values() for arn in listed(statement["Resource"]) if arn.startswith("arn:"))
    assert {arn.split(":")[3] for arn in resources} == {region, ""}  # IAM has no regions


@cache
def aws_service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def statements_of(path: Path) -> list[dict[str, Any]]:
    statements: list[dict[str, Any]] = json.loads(path.read_text())["Statement"]
    return statements


def allowed(statements: list[dict[str, Any]], action_prefix: str) -> dict[str, set[str]]:
    """Resource → actions that begin so, conditions left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for resource, action in _grants(statements):
        if action.startswith(action_prefix):
            found[resource].add(action)
    return dict(found)


def _grants(statements: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for statement in statements:
        if statement["Effect"] == "Allow":
            for resource in listed(statement["Resource"]):
                yield from ((resource, action) for action in listed(statement["Action"]))


def listed(one_or_more: str | list[str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more
