"""A working week on a real cluster and a real S3 server: nights submitted as a scheduler would, and what befalls them.

A driver is killed, a node is lost, a submit is interrupted, a job is stopped, a night is empty and a file comes late.
In the end `ray job submit` labels pairs, without the nightly job.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import verify_labels
from job_runs import (
    FAST_HEALTH_CHECKS,
    JOB,
    PATIENCE_SECONDS,
    Outcome,
    descendants,
    kill_family,
    labelled_rows,
    made_up_pairs,
    report_of,
    run_main,
    run_program,
    started,
    wait_until,
    write_pairs,
)
from ray_cluster import PROGRAMS, ClusterAddress, head, node
from s3_server import S3Location

from albert_infer.common.failpoints import VARIABLE

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.usefixtures("heeded_signals")]

SUBMIT = JOB.parent / "submit_nightly.py"
WEEK = [f"2024-03-0{day}" for day in range(1, 6)]
KILLED, STOPPED, EMPTY, LATE = WEEK[1:]
UNIT_ROWS, UNITS = 16, 6


@dataclass(frozen=True)
class Week:
    """The cluster, the two roots, and the folders where armed points leave a file a hit."""

    address: ClusterAddress
    # Of the nodes, and of who submits.
    env: dict[str, str]
    token: dict[str, str]
    place: S3Location
    checkpoint: Path
    faults: Path

    def command(self, *more: object) -> list[object]:
        """A submit, as the scheduler has it; `more` names the nights."""
        roots = ("--input-root", f"{self.place.uri}/in/", "--output-root", f"{self.place.uri}/out/")
        rules = ("--unit-rows", UNIT_ROWS, "--model", self.checkpoint, "--missing", "skip")
        return [sys.executable, SUBMIT, "--address", self.address.jobs, *roots, *rules, *more]

    def submit(self, *more: object) -> Outcome:
        """A submit, to its end."""
        return run_program(self.command(*more), env=self.token)

    def stop(self, night: str) -> None:
        """End the job of a night, as an operator would."""
        command = [PROGRAMS / "ray", "job", "stop", "--address", self.address.jobs, f"nli-{night}"]
        stopped = run_program(command, env=self.token)
        assert stopped.exit_code == 0, stopped.stdout + stopped.stderr

    def deliver(self, night: str, name: str, *, seed: int) -> None:
        """Put a file of some units into the inbox."""
        path = write_pairs(self.faults / "made.parquet", made_up_pairs(UNITS * UNIT_ROWS, seed=seed))
        key = f"{self.place.prefix}/in/dt={night}/{name}"
        self.place.client().put_object(Bucket=self.place.bucket, Key=key, Body=path.read_bytes())

    def objects(self) -> dict[str, Any]:
        """Every object of the nights' outputs: ETag and time of modification."""
        prefix = f"{self.place.prefix}/out/dt="
        pages = self.place.client().get_paginator("list_objects_v2")
        return {
            entry["Key"]: (entry["ETag"], entry["LastModified"])
            for page in pages.paginate(Bucket=self.place.bucket, Prefix=prefix)
            for entry in page.get("Contents", [])
        }

    def ends(self) -> dict[str, str]:
        """What `nightly.json` says of the nights of the last submit."""
        key = f"{self.place.prefix}/out/_runs/nightly.json"
        told = json.loads(self.place.client().get_object(Bucket=self.place.bucket, Key=key)["Body"].read())
        return {night["date"]: night["end"] for night in told["nights"]}

    def verify(self, night: str) -> None:
        """The independent recount of a night finds nothing."""
        places = ("--output", f"{self.place.uri}/out/dt={night}/", "--input", f"{self.place.uri}/in/dt={night}/")
        verified = run_main(verify_labels.main, *places, "--s3-endpoint", self.place.endpoint)
        assert verified.exit_code == 0, verified.stdout + verified.stderr

    def hits(self, point: str) -> int:
        """How often any process has come to an armed point."""
        return len(list((self.faults / point).glob(f"{point}.*")))

    def go_on(self, point: str) -> None:
        """Let who waits at the point go on."""
        (self.faults / point / "go").touch()


@pytest.fixture
def week(s3_bucket: S3Location, checkpoint: Path, tmp_path: Path) -> Iterator[Week]:
    """A head of one core that wants a token, with the inputs of five nights."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex, "RAY_ADDRESS": ""}
    # The driver of the second night is killed, that of the third waits, and so does the first unit of its next start.
    points = {"labelled": "kill:2", "plan_put": "wait:3", "part_put": f"wait:{2 * UNITS + 1}"}
    for point in points:
        (tmp_path / point).mkdir()
    armed = ";".join(f"{point}:{action}:{tmp_path / point}" for point, action in points.items())
    env = {**token, **FAST_HEALTH_CHECKS, VARIABLE: armed}
    with head(env, num_cpus=1) as address:
        week = Week(address, env, token, s3_bucket, checkpoint, tmp_path)
        for seed, night in enumerate(WEEK):
            if night != EMPTY:
                week.deliver(night, "a.parquet", seed=seed)
        yield week


def test_a_week_of_nights_loses_and_doubles_no_row_whatever_befalls_it(week: Week) -> None:
    with node(week.address, week.env, num_cpus=2) as spot:
        a_killed_driver(week)
        an_interrupted_submit_and_a_stopped_job(week)
        with a_lost_node(week, spot):
            for night in (WEEK[0], KILLED, STOPPED, LATE):
                week.verify(night)
            a_submit_of_the_job_itself(week)
            the_whole_week_again_with_a_late_file(week)


def a_killed_driver(week: Week) -> None:
    """What was published before stays."""
    killed = week.submit("--since", WEEK[0], "--until", KILLED)
    assert killed.exit_code == 4, killed.stdout + killed.stderr
    assert week.hits("labelled") == 2
    assert f"night {WEEK[0]}: published, {UNITS * UNIT_ROWS} of" in killed.stdout, "the log is followed"
    assert week.ends() == {WEEK[0]: "published", KILLED: "not_started"}


def an_interrupted_submit_and_a_stopped_job(week: Week) -> None:
    """Ctrl-C leaves the job running; while it runs, no other is taken; without the token none is."""
    with started(week.command("--date", STOPPED), env=week.token) as following:
        wait_until(lambda: week.hits("plan_put") == 3, following)
        following.send_signal(signal.SIGINT)
        _, stderr = following.communicate(timeout=60)
    assert following.returncode == 4, stderr
    assert "the job goes on" in stderr
    second = week.submit("--date", STOPPED)
    assert (second.exit_code, second.stderr.count("\n")) == (6, 1), second.stderr
    stranger = run_program(week.command("--date", STOPPED), env={"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""})
    assert (stranger.exit_code, stranger.stderr.count("\n")) == (2, 1), stranger.stderr
    week.stop(STOPPED)


@contextmanager
def a_lost_node(week: Week, spot: subprocess.Popen[str]) -> Iterator[None]:
    """All nights are submitted; the killed and the stopped one go on, the empty one is left out.

    The job loses a node on the way and ends on another, which stays for the block.
    """
    with started(week.command("--since", WEEK[0], "--until", LATE), env=week.token) as submitted:
        wait_until(lambda: week.hits("part_put") > 2 * UNITS, submitted)
        assert descendants(spot.pid, "ray::"), "the node has work to lose"
        kill_family(spot.pid)
        with node(week.address, week.env, num_cpus=2):
            week.go_on("part_put")
            stdout, stderr = submitted.communicate(timeout=PATIENCE_SECONDS)
            ends = ["already_published", "published", "published", "no_input", "published"]
            expected = dict(zip(WEEK, ends, strict=True))
            if submitted.returncode == 4:
                # Nodes of one machine share the folder of the uploaded code. The node that has joined unpacks it anew,
                # and a worker that imports meanwhile finds half of it: such a night goes on when the job runs again.
                assert "ImportError: " in stdout or "ModuleNotFoundError: " in stdout, stdout
                done = [night for night, end in week.ends().items() if end == "published"]
                expected |= dict.fromkeys(done, "already_published")
                again = week.submit("--since", WEEK[0], "--until", LATE)
                assert again.exit_code == 0, again.stdout + again.stderr
            else:
                assert submitted.returncode == 0, stdout + stderr
            assert week.ends() == expected
            yield


def the_whole_week_again_with_a_late_file(week: Week) -> None:
    """One submit for all of it tells of the file, labels nothing and changes nothing."""
    before, begun = week.objects(), time.monotonic()
    week.deliver(LATE, "late.parquet", seed=len(WEEK))
    again = week.submit("--since", WEEK[0], "--until", WEEK[-1])
    sys.stdout.write(f"a published week again: {time.monotonic() - begun:.1f} s\n")
    assert (again.exit_code, again.stderr.count("\n")) == (6, 1), again.stdout + again.stderr
    assert again.stdout.count("Running entrypoint for job") == 1, "the log of the earlier job is not shown again"
    ends = ["already_published", "already_published", "already_published", "no_input", "another_plan"]
    assert week.ends() == dict(zip(WEEK, ends, strict=True))
    assert week.objects() == before


def a_submit_of_the_job_itself(week: Week) -> None:
    """As the page on clusters has it; the log ends with the report."""
    folder = week.faults
    write_pairs(folder / "pairs" / "a.parquet", made_up_pairs(20, seed=14))
    work = folder / "work"
    shutil.copytree(JOB.parent, work / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    no_weights = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(JOB.parents[1] / "albert_infer", work / "albert_infer", ignore=no_weights)
    command = [
        *(PROGRAMS / "ray", "job", "submit", "--address", week.address.jobs, "--working-dir", work, "--"),
        *("python", "jobs/label_pairs.py", "--input", folder / "pairs", "--output", folder / "labels"),
        *("--model", week.checkpoint),
    ]
    submitted = run_program(command, env=week.token)
    if '"exit_code": 4' in submitted.stdout:
        # Nodes on one machine share Ray's folder of uploaded code: one that unpacks it anew takes it from the driver.
        # An operator does the same after exit code 4, and the job goes on.
        submitted = run_program(command, env=week.token)
    assert submitted.exit_code == 0, submitted.stdout + submitted.stderr
    assert "20 of 20 pairs labelled" in submitted.stdout
    assert labelled_rows(folder / "labels").num_rows == 20
    assert sum(report_of(folder / "labels")["units"].values()) == 1
