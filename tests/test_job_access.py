"""How a whole job reaches S3: what its requests carry, and which refusals end it, before or while it labels."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from forked import forked
from job_runs import (
    INLINE_JOB,
    Outcome,
    made_up_pairs,
    run_inline,
    wait_until,
    write_pairs,
)
from s3_faults import FaultProxy, Rule
from s3_place import Place
from s3_server import S3Location, S3Server

from albert_infer import storage
from albert_infer.common.failpoints import VARIABLE
from albert_infer.errors import InfrastructureError, ModelError, SettingsError
from albert_infer.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.s3

OURS, THEIRS = "012345678901", "109876543210"
OWNER, PAYER = "x-amz-expected-bucket-owner", "x-amz-request-payer"
KMS = "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.fixture
def place(s3_server: S3Server, tmp_path: Path) -> Place:
    """Two files of two units each; the second has no name of a Parquet file."""
    made = Place(s3_server.location(uuid4().hex[:12]))
    made.upload(write_pairs(tmp_path / "a.parquet", made_up_pairs(32, seed=41)))
    made.upload(write_pairs(tmp_path / "b", made_up_pairs(32, seed=42)))
    return made


def run(place: Place, checkpoint: Path, proxy: FaultProxy, *more: object) -> Outcome:
    return run_inline(*flags(place, checkpoint, proxy, *more))


def flags(place: Place, checkpoint: Path, proxy: FaultProxy, *more: object) -> tuple[object, ...]:
    return place.argv("--model", checkpoint, "--s3-endpoint", proxy.endpoint, "--unit-rows", 16, *more)


@pytest.mark.usefixtures("s3_credentials")
def test_every_request_names_the_owner_and_only_reads_of_the_input_are_paid_for(
    place: Place, checkpoint: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "s3.toml"
    owners = f'input_bucket_owner = "{THEIRS}"\noutput_bucket_owner = "{OURS}"\n'
    rules.write_text(f"s3_request_payer = true\n{owners}")
    with FaultProxy(place.location.endpoint) as proxy:
        outcome = run(place, checkpoint, proxy, "--config", rules)
        assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
        of_input = [one for one in proxy.requests if f"{place.location.prefix}%2Fin" in one.path or "/in/" in one.path]
        of_output = [one for one in proxy.requests if one not in of_input]
    assert {one.method for one in of_input} == {"GET", "HEAD"}
    assert {(one.headers.get(OWNER), one.headers.get(PAYER)) for one in of_input} == {(THEIRS, "requester")}
    assert {one.method for one in of_output} == {"GET", "HEAD", "PUT", "POST"}
    assert {(one.headers.get(OWNER), one.headers.get(PAYER)) for one in of_output} == {(OURS, None)}
    copies = [one.headers for one in of_output if "x-amz-copy-source" in one.headers]
    assert {headers.get("x-amz-source-expected-bucket-owner") for headers in copies} == {OURS}


@pytest.mark.usefixtures("s3_credentials")
def test_an_archived_object_is_a_bad_file_and_the_limit_decides(place: Place, checkpoint: Path) -> None:
    archived = Rule("status", "GET", "/in/pairs/(a.parquet|b)$", status=403, code="InvalidObjectState", times=None)
    with FaultProxy(place.location.endpoint, [archived]) as proxy:
        refused = run(place, checkpoint, proxy, "--max-bad-files", 1)
        # Nothing at all can be read: no limit accepts that.
        assert refused.exit_code == 2
        assert "none of its 2 files can be read" in refused.stderr
        assert "archived" in refused.stderr
        proxy.set_rules([Rule(**{**vars(archived), "path": "/in/pairs/b$"})])
        outcome = run(place, checkpoint, proxy, "--max-bad-files", 1)
        assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
        assert proxy.faults
    (bad,) = place.manifest()["quarantined"]["files"]
    assert (bad["uri"].rpartition("/")[2], bad["reason"]) == ("b", "archived")
    assert len(place.published_ids()) == 32


@pytest.mark.usefixtures("s3_credentials")
def test_an_object_that_may_not_be_read_is_refused_at_planning_and_stops_a_run_that_labels(
    place: Place, checkpoint: Path, tmp_path: Path
) -> None:
    denied = Rule("status", "GET", "/in/pairs/a.parquet$", status=403, code="AccessDenied", times=None)
    with FaultProxy(place.location.endpoint, [denied]) as proxy:
        refused = run(place, checkpoint, proxy)
        assert (refused.exit_code, len(refused.errors)) == (2, 1), refused.stderr
        assert "s3:GetObject" in refused.stderr
        assert place.names() == set()
        before = proxy.faults["status"]
        assert before

        proxy.set_rules([])
        armed = {VARIABLE: f"plan_put:wait:1:{tmp_path}"}
        with forked(INLINE_JOB, *flags(place, checkpoint, proxy), env=armed) as job:
            wait_until((tmp_path / "plan_put.1").exists, job)
            proxy.set_rules([denied])
            (tmp_path / "go").touch()
            stopped = job.outcome()
        assert (stopped.exit_code, len(stopped.errors)) == (4, 1), stopped.stderr
        assert "s3:GetObject" in stopped.stderr
        assert proxy.faults["status"] > before
    assert place.names("part-") == set()


@pytest.mark.usefixtures("s3_credentials")
def test_an_output_that_ignores_if_none_match_is_refused_before_any_row_is_labelled(
    place: Place, checkpoint: Path
) -> None:
    overwritten = Rule("status", "PUT", "/plan.json$", skip=1, times=None, status=200)
    with FaultProxy(place.location.endpoint, [overwritten]) as proxy:
        outcome = run(place, checkpoint, proxy)
        assert proxy.faults
    assert (outcome.exit_code, len(outcome.errors)) == (2, 1), outcome.stderr
    assert "ignores If-None-Match" in outcome.stderr
    assert {name.rpartition("/")[2] for name in place.names()} == {"plan.json"}


@pytest.mark.usefixtures("s3_credentials")
def test_a_key_without_rights_is_refused_before_anything_is_written(
    place: Place, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERT_INFER_S3_KMS_KEY", "key-id")
    with FaultProxy(place.location.endpoint, [Rule("status", "PUT", status=403, code="AccessDenied")]) as proxy:
        outcome = run(place, checkpoint, proxy)
        assert proxy.faults
        assert {one.headers[KMS] for one in proxy.seen("PUT")} == {"key-id"}
    assert (outcome.exit_code, len(outcome.errors)) == (2, 1), outcome.stderr
    assert "kms:GenerateDataKey" in outcome.stderr
    assert place.names() == set()


@pytest.mark.parametrize("code", ["InvalidObjectState", "AccessDenied"])
def test_a_checkpoint_that_may_not_be_read_or_is_archived_is_refused(
    s3_bucket: S3Location, checkpoint: Path, code: str
) -> None:
    Place(s3_bucket).upload(checkpoint, "in/model")
    rule = Rule("status", "GET", "/in/model/model.safetensors$", status=403, code=code)
    with FaultProxy(s3_bucket.endpoint, [rule]) as proxy:
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            load_checkpoint(f"{s3_bucket.uri}/in/model", access=storage.S3Access(proxy.endpoint))
        assert proxy.faults


def test_every_put_and_copy_names_the_kms_key_and_no_other_request_does(s3_bucket: S3Location) -> None:
    # SeaweedFS has no KMS: the proxy answers in its place.
    with FaultProxy(s3_bucket.endpoint, [Rule("status", "PUT", status=200, times=None)]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint, kms_key="key-id"))
        folder.put_if_absent("a", b"x")
        folder.replace("b", b"x", storage.ObjectPin("b", 1, "e"))
        with pytest.raises(InfrastructureError, match="without an ETag"):
            folder.copy(storage.ObjectPin("a", 1, "e"), "c")
        folder.objects()
        folder.stat("a")
        folder.delete(["a"])
    assert proxy.faults["status"] == 3
    for one in proxy.requests:
        told = (one.headers.get("x-amz-server-side-encryption"), one.headers.get(KMS))
        assert told == (("aws:kms", "key-id") if one.method == "PUT" else (None, None)), one


@pytest.mark.parametrize(
    ("endpoint", "safe"),
    [
        ("https://s3.example.com", True),
        ("http://localhost:8333", True),
        ("http://127.0.0.1:8333", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:8333", True),
        ("http://s3.example.com", False),
        ("http://10.0.0.1:8333", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("HTTP://example.com", False),
    ],
)
def test_texts_go_in_the_clear_to_this_machine_only(monkeypatch: pytest.MonkeyPatch, endpoint: str, safe: bool) -> None:
    if safe:
        storage.open_folder("s3://bucket/x", storage.S3Access(endpoint))
        return
    with pytest.raises(SettingsError, match="localhost only"):
        storage.open_folder("s3://bucket/x", storage.S3Access(endpoint))
    # Where the SDK finds it by itself, it is refused before the first request.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(SettingsError, match="localhost only"):
        storage.open_folder("s3://bucket/x").read("a")
