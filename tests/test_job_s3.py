"""The whole labelling job from S3 to S3, on a real server: credentials, endpoints, and a driver killed half-way."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import forked
from job_runs import (
    INLINE_JOB,
    RAY_WARNING,
    Outcome,
    made_up_pairs,
    run_here,
    run_inline,
    wait_until,
    write_pairs,
)
from s3_faults import FaultProxy, Rule
from s3_server import S3Location, S3Server

from albert_infer.common.failpoints import VARIABLE

pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings(RAY_WARNING)]


@pytest.fixture
def place(s3_server: S3Server) -> S3Location:
    return s3_server.location(uuid4().hex[:12])


def upload(place: S3Location, folder: Path, below: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{place.prefix}/{below}/{path.relative_to(folder)}"
            place.client().put_object(Bucket=place.bucket, Key=key, Body=path.read_bytes())


def key_of_1024_bytes(prefix: str) -> str:
    """The longest key that S3 takes, in segments that any file system takes; sorted last."""
    name, end = f"{prefix}z/" + 5 * ("日" * 60 + "/"), "+%2F é.parquet"
    return name + "z" * (1024 - len(f"{name}{end}".encode())) + end


def objects(place: S3Location, below: str) -> dict[str, Any]:
    """Every object below the folder, by its name there: ETag and time of modification."""
    pages = place.client().get_paginator("list_objects_v2")
    prefix = f"{place.prefix}/{below}/"
    return {
        entry["Key"].removeprefix(prefix): (entry["ETag"], entry["LastModified"])
        for page in pages.paginate(Bucket=place.bucket, Prefix=prefix)
        for entry in page.get("Contents", [])
    }


def staged(place: S3Location) -> list[str]:
    return [name for name in objects(place, "out") if name.startswith("_units/")]


def visible(place: S3Location) -> list[str]:
    return [name for name in objects(place, "out") if not name.startswith(("_units/", "_runs/"))]


def labelled(place: S3Location) -> pa.Table:
    parts = sorted(name for name in objects(place, "out") if name.startswith("part-"))
    bodies = [place.client().get_object(Bucket=place.bucket, Key=f"{place.prefix}/out/{name}") for name in parts]
    return pa.concat_tables([pq.read_table(io.BytesIO(body["Body"].read())) for body in bodies])


@pytest.mark.ray
@pytest.mark.usefixtures("s3_session")
def test_the_job_labels_from_s3_to_s3_with_credentials_of_the_environment(
    place: S3Location, checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(40, seed=11)
    write_pairs(tmp_path / "in" / "x=1" / "a b+c%20é.parquet", pairs.slice(0, 32))
    upload(place, tmp_path / "in", "in")
    longest = key_of_1024_bytes(f"{place.prefix}/in/")
    last = write_pairs(tmp_path / "last.parquet", pairs.slice(32))
    place.client().put_object(Bucket=place.bucket, Key=longest, Body=last.read_bytes())
    upload(place, checkpoint, "model")
    argv = ("--input", f"{place.uri}/in/", "--output", f"{place.uri}/out/", "--model", f"{place.uri}/model")

    outcome = run_here(*argv, "--s3-endpoint", place.endpoint, "--carry-source", "--unit-rows", 16)

    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    rows = labelled(place).sort_by([("source_file", "ascending"), ("source_row", "ascending")])
    assert rows["pair_id"].to_pylist() == pairs["pair_id"].to_pylist()
    odd = f"{place.uri}/in/x=1/a b+c%20é.parquet"
    assert rows["source_file"].to_pylist() == [odd] * 32 + [f"s3://{place.bucket}/{longest}"] * 8
    assert staged(place) == []
    assert len(visible(place)) == 4, "three units and _SUCCESS"


@pytest.mark.usefixtures("s3_credentials")
def test_a_driver_killed_half_way_on_s3_loses_and_doubles_no_row(
    place: S3Location, checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(800, seed=12)
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    upload(place, tmp_path / "in", "in")
    argv = (
        *("--input", f"{place.uri}/in", "--output", f"{place.uri}/out", "--s3-endpoint", place.endpoint),
        *("--model", checkpoint, "--unit-rows", 16),
    )

    armed = {VARIABLE: f"part_put:wait:3-99:{tmp_path}"}
    with forked(INLINE_JOB, *argv, env=armed) as driver:
        wait_until((tmp_path / "part_put.3").exists, driver)
    before = {name: found for name, found in objects(place, "out").items() if name.startswith("_units/")}
    assert 3 <= len(before) < 50
    assert visible(place) == []

    resumed = run_inline(*argv)
    assert (resumed.exit_code, resumed.errors) == (0, []), resumed.stderr
    assert sorted(labelled(place)["pair_id"].to_pylist()) == sorted(pairs["pair_id"].to_pylist())
    # The copies carry the bytes of the units that were finished before the kill.
    assert {etag for etag, _ in before.values()} <= {etag for etag, _ in objects(place, "out").values()}

    finished = objects(place, "out")
    again = run_inline(*argv)
    assert (again.exit_code, again.errors) == (0, []), again.stderr
    assert objects(place, "out") == finished


def test_wrong_credentials_and_a_missing_bucket_are_refused_in_one_line(
    place: S3Location, checkpoint: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(4, seed=13))
    upload(place, tmp_path / "in", "in")
    source, output = f"{place.uri}/in", f"{place.uri}/out"
    wrong = {**place.env, "AWS_SECRET_ACCESS_KEY": "n0t-the-secret"}
    skewed = Rule("status", status=403, code="RequestTimeTooSkewed", times=None)
    with FaultProxy(place.endpoint, [skewed]) as proxy:
        cases = {
            "wrong secret": (source, output, wrong),
            "may not write": (source, output, place.reader_env),
            "no such bucket": (source, "s3://no-such-bucket/out", place.env),
            "no such input": ("s3://no-such-bucket/in", output, place.env),
            "wrong clock": (source, output, {**place.env, "AWS_ENDPOINT_URL": proxy.endpoint}),
        }
        refused = {name: refused_with(env, checkpoint, *where) for name, (*where, env) in cases.items()}
    assert proxy.faults["status"] > 0
    ends = {name: (outcome.exit_code, outcome.stderr.count("\n")) for name, outcome in refused.items()}
    assert ends == dict.fromkeys(cases, (2, 1)), refused
    assert "no-such-bucket" in refused["no such bucket"].stderr
    assert "set the clock" in refused["wrong clock"].stderr
    assert "n0t-the-secret" not in refused["wrong secret"].stderr
    assert objects(place, "out") == {}


def refused_with(env: Mapping[str, str], checkpoint: Path, source: str, output: str) -> Outcome:
    """A start in this process whose environment has these credentials."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in env.items():
            environment.setenv(name, value)
        return run_inline("--input", source, "--output", output, "--model", checkpoint)
