"""The Kubernetes files in `deploy/`: Kubernetes' and KubeRay's schemas take them, and they have no right too many.

Kubernetes' schemas come with kubernetes-validate. KubeRay's are in no package, so `schemas/rayjob.json` has the fields
of its reference, and each pod template in them is judged by Kubernetes' schema.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim
from deployment import ALL_ADDRESSES, DEPLOY, documents, image_tag, locked_version, placeholders, ray_start_options

KUBERNETES: Final = "1.34"
FILES: Final = ("rayjob.yaml", "cronjob.yaml")
DATE: Final = "2026-11-27"


@pytest.fixture
def rayjob() -> Any:
    """The RayJob of one night."""
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text().replace("DATE", DATE))


@pytest.fixture
def made() -> dict[str, Any]:
    """What deploy/cronjob.yaml makes, by kind; the last of each."""
    return {document["kind"]: document for document in documents(DEPLOY / "cronjob.yaml")}


def test_kubernetes_takes_the_cronjob_and_its_rights() -> None:
    for document in documents(DEPLOY / "cronjob.yaml"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_kuberay_takes_the_rayjob(rayjob: Any) -> None:
    check_rayjob(rayjob)


@pytest.mark.parametrize(
    "breaking",
    [
        lambda job: job["spec"].update(backOffLimit=1),
        lambda job: job["spec"]["rayClusterSpec"].update(rayVersion=2.6),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].update(nodeselector={}),
        lambda job: job["metadata"].update(name="nli-DATE"),
    ],
    ids=["unknown field", "type", "unknown field of a pod", "name"],
)
def test_the_schema_refuses_a_wrong_rayjob(rayjob: Any, breaking: Any) -> None:
    breaking(rayjob)
    with pytest.raises(jsonschema.ValidationError):
        check_rayjob(rayjob)


def test_the_cronjobs_script_makes_the_rayjob_of_yesterday(made: dict[str, Any], tmp_path: Path) -> None:
    [container] = pod_of(made["CronJob"])["containers"]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/argv\ncat >{tmp_path}/manifest\n')
    kubectl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MANIFEST": str(DEPLOY / "rayjob.yaml")}
    before = yesterday()
    subprocess.run([*container["command"], *container["args"]], env=env, check=True)
    assert (tmp_path / "argv").read_text() == "create -f -\n"
    [job] = documents(tmp_path / "manifest")
    check_rayjob(job)
    [date] = set(re.findall(r"\d{4}-\d\d-\d\d", json.dumps(job)))
    assert date in {before, yesterday()}
    assert job["metadata"]["name"] == f"nli-{date}"
    assert f"--date {date} " in job["spec"]["entrypoint"]


def test_a_night_is_made_once_a_day_and_by_one_maker_at_a_time(made: dict[str, Any]) -> None:
    spec = made["CronJob"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"] == "Etc/UTC", "the script names the date in UTC"
    fires = CronSim(spec["schedule"], datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC))
    first, second = next(fires), next(fires)
    assert second - first == datetime.timedelta(days=1)
    # A night given up late must not stand beside the next one for long.
    started_late = (
        spec["startingDeadlineSeconds"] + documents(DEPLOY / "rayjob.yaml")[0]["spec"]["activeDeadlineSeconds"]
    )
    assert started_late <= 24 * 3600


def test_the_maker_may_create_rayjobs_and_nothing_else(made: dict[str, Any]) -> None:
    assert made["Role"]["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    [subject] = made["RoleBinding"]["subjects"]
    assert subject["name"] == pod_of(made["CronJob"])["serviceAccountName"] == made["Role"]["metadata"]["name"]
    assert made["RoleBinding"]["roleRef"]["name"] == made["Role"]["metadata"]["name"]


def test_no_container_is_root_or_can_become_it(rayjob: Any, made: dict[str, Any]) -> None:
    pods = [pod_of(made["CronJob"]), *(template["spec"] for template in pod_templates(rayjob))]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]


def test_no_pod_has_variables_of_the_services_around_it(rayjob: Any, made: dict[str, Any]) -> None:
    pods = [pod_of(made["CronJob"]), *(template["spec"] for template in pod_templates(rayjob))]
    assert [pod["enableServiceLinks"] for pod in pods] == [False] * 4


def test_only_gpu_workers_are_spot_and_workers_come_from_none(rayjob: Any) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    spot, with_gpu = set(), set()
    for name, group in groups.items():
        pod = group["template"]["spec"]
        if pod["nodeSelector"]["eks.amazonaws.com/capacityType"] == "SPOT":
            spot.add(name)
        if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]:
            with_gpu.add(name)
    assert spot == with_gpu == {"gpu"}
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in cluster["workerGroupSpecs"])
    assert cluster["enableInTreeAutoscaling"] is True


def test_image_and_versions_are_those_of_the_lock_file_and_the_token_is_asked_for(rayjob: Any) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == locked_version("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    images = {container["image"] for template in pod_templates(rayjob) for container in template["spec"]["containers"]}
    assert {image.rpartition("/")[2] for image in images} == {f"albert-infer:{image_tag()}"}


def test_ray_start_knows_each_parameter(rayjob: Any) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {f"--{name}" for group in groups for name in group["rayStartParams"]} <= ray_start_options()


def test_a_night_is_tried_again_on_its_cluster_by_the_script_and_on_a_new_one_once(rayjob: Any) -> None:
    spec = rayjob["spec"]
    assert spec["entrypoint"].startswith("/app/deploy/nightly.sh albert-infer nightly ")
    assert spec["backoffLimit"] == 1
    assert spec["shutdownAfterJobFinishes"] is True


def test_the_kustomization_brings_the_cronjob_and_the_manifest_that_it_reads(made: dict[str, Any]) -> None:
    [kustomization] = documents(DEPLOY / "kustomization.yaml")
    assert kustomization["resources"] == ["cronjob.yaml"]
    [generated] = kustomization["configMapGenerator"]
    assert generated["files"] == ["rayjob.yaml"]
    [volume] = pod_of(made["CronJob"])["volumes"]
    assert volume["configMap"]["name"] == generated["name"]
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True


@pytest.mark.parametrize("name", FILES)
def test_what_to_fill_in_is_listed_and_nothing_is_secret_or_open(name: str) -> None:
    text = (DEPLOY / name).read_text()
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    [fill_in] = re.findall(r"^# Fill in first: (.*)\.$", comments, re.MULTILINE)
    body = json.dumps(documents(DEPLOY / name))
    assert set(fill_in.split(", ")) == placeholders(body)
    assert not ALL_ADDRESSES.search(body)
    assert not re.search(r"AWS_SECRET|AUTH_TOKEN|password", body, re.IGNORECASE)


def check_rayjob(job: Any) -> None:
    schema = json.loads((Path(__file__).parent / "schemas" / "rayjob.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(job)
    for template in pod_templates(job):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def pod_templates(job: Any) -> Iterator[Any]:
    cluster = job["spec"]["rayClusterSpec"]
    yield from (group["template"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]])


def pod_of(cronjob: Any) -> Any:
    return cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def yesterday() -> str:
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).date().isoformat()
