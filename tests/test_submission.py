"""Nights as a job: its id, its command, what is uploaded, when it is refused, and how its end is told."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import socket
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import ray
import submit_nightly
from job_runs import JOB, Outcome, run_main
from local_server import LocalServer
from ray.util.debug import reset_log_once

from albert_infer import __version__
from albert_infer.config import NightlySettings, SubmitSettings, parse_settings
from albert_infer.config.nights import yesterday
from albert_infer.errors import InfrastructureError, SettingsError
from albert_infer.operations.following import write_log
from albert_infer.operations.submission import SETTLING_SECONDS, NightJob, night_job, refuse_silent_server
from albert_infer.operations.uploading import checkout

PROJECT = JOB.parents[1]
ROOTS = ("--input-root", "s3://inbox/", "--output-root", "s3://labels")
DATE = ("--date", "2024-02-29")
# The built-in checkpoint may have 24 MiB (tests/test_builtin.py).
UPLOAD_LIMIT = (24 << 20) + 2_000_000
SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAn3verpr1nt", "AWS_SECRET_ACCESS_KEY": "n3verpr1nt", "RAY_AUTH_TOKEN": "t0ken" * 9}


class JobServer(LocalServer):
    """Answers as Ray's job server, but runs nothing: a job that is submitted ends at once with `exit_code`.

    It has no log to follow. `jobs` are its entries by id, `posted` what was submitted, `uploaded` the folder.
    """

    def __init__(self, *, exit_code: int | None = 0, status: int = 200) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.posted: list[dict[str, Any]] = []
        self.uploaded = b""
        self.exit_code = exit_code
        self.status = status
        # How often it has no answer to how a job is.
        self.outages = 0
        super().__init__(self._handler())
        self.address = self.url

    def know(
        self, submission_id: str, status: str, exit_code: int | None = None, *, ended: float | None = None
    ) -> None:
        """Have an entry of a job, which ended at that time."""
        told = {"type": "SUBMISSION", "submission_id": submission_id, "entrypoint": "python", "status": status}
        self.jobs[submission_id] = {**told, "driver_exit_code": exit_code}
        if ended is not None:
            self.jobs[submission_id]["end_time"] = int(1000 * ended)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON for one request."""
        name = path.removeprefix("/api/jobs/")
        match method, path.split("/")[2]:
            case "GET", "version":
                return self.status, {"version": "4", "ray_version": ray.__version__, "ray_commit": ""}
            case "PUT", "packages":
                self.uploaded = body
                return 200, {}
            case "POST", "jobs":
                request = json.loads(body)
                self.posted.append(request)
                ended = "STOPPED" if self.exit_code is None else "FAILED" if self.exit_code else "SUCCEEDED"
                self.know(request["submission_id"], ended, self.exit_code)
                return 200, {"job_id": request["submission_id"], "submission_id": request["submission_id"]}
            case "DELETE", "jobs":
                return 200, {"deleted": self.jobs.pop(name) is not None}
            case "GET", "jobs" if not name:
                return 200, list(self.jobs.values())
            case "GET", "jobs" if name in self.jobs and self.outages:
                self.outages -= 1
                return 503, {}
            case "GET", "jobs" if name in self.jobs:
                return 200, self.jobs[name]
        return 404, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, told = server.answer(self.command, self.path, body)
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = respond  # noqa: N815 (the names are http.server's)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that must not travel, and no cluster but the one that a test names."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    # Put back afterwards, because a submit sets it.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")


@pytest.fixture
def server() -> Iterator[JobServer]:
    with JobServer() as started:
        yield started


def submit(server: JobServer, *argv: object) -> Outcome:
    return run_main(submit_nightly.main, "--address", server.address, *ROOTS, *argv)


def job(*argv: str) -> NightJob:
    settings = parse_settings(SubmitSettings, [*ROOTS, *argv], program="submit_nightly.py", about="")
    assert settings is not None
    return night_job(settings, PROJECT)


def command(*argv: str) -> list[str]:
    return shlex.split(job(*argv).entrypoint)


# --- what is submitted


def test_the_id_names_the_night_or_the_first_and_the_last() -> None:
    assert job(*DATE).submission_id == "nli-2024-02-29"
    assert job("--since", "2024-02-28", "--until", "2024-03-01").submission_id == "nli-2024-02-28-2024-03-01"
    assert job("--since", "2024-03-01", "--until", "2024-03-01").submission_id == "nli-2024-03-01"


def test_the_night_is_fixed_when_it_is_submitted() -> None:
    # Both, as midnight may pass in between.
    before, found, after = yesterday("UTC"), command(), yesterday("UTC")
    assert f"--date={before}" in found or f"--date={after}" in found


def test_the_command_says_all_that_was_said_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "night's settings.toml"
    settings.write_text('carry = ["a b", "c"]\nmissing = "skip"\n')
    monkeypatch.setenv("ALBERT_INFER_UNIT_ROWS", "7")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    said = command(*DATE, "--config", str(settings), "--stop-on-failure", "--workers", "1:8", "--no-wait")
    assert said[:2] == ["python", "jobs/label_nightly.py"]
    there = parse_settings(NightlySettings, said[2:], program="label_nightly.py", about="")
    assert there is not None
    assert (there.input_root, there.output_root) == ("s3://inbox/", "s3://labels/")
    assert [night.isoformat() for night in there.nights] == ["2024-02-29"]
    assert (there.carry, there.missing, there.stop_on_failure) == (("a b", "c"), "skip", True)
    assert (there.unit_rows, there.workers, there.s3_endpoint) == (7, "1:8", "https://s3.example")


@pytest.mark.computes
def test_settings_without_a_flag_are_variables_of_the_job(
    server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "s3.toml"
    rules.write_text('s3_request_payer = true\noutput_bucket_owner = "210987654321"\n')
    monkeypatch.setenv("ALBERT_INFER_S3_KMS_KEY", "alias/nli")
    assert submit(server, *DATE, "--config", rules).exit_code == 0
    posted = server.posted[0]
    assert posted["runtime_env"]["env_vars"] == {
        "ALBERT_INFER_S3_REQUEST_PAYER": "true",
        "ALBERT_INFER_OUTPUT_BUCKET_OWNER": "210987654321",
        "ALBERT_INFER_S3_KMS_KEY": "alias/nli",
    }
    for name, value in posted["runtime_env"]["env_vars"].items():
        monkeypatch.setenv(name, value)
    words = shlex.split(posted["entrypoint"])[2:]
    there = parse_settings(NightlySettings, words, program="label_nightly.py", about="")
    assert there is not None
    assert (there.s3_request_payer, there.output_bucket_owner, there.s3_kms_key) == (
        True,
        "210987654321",
        "alias/nli",
    )


def test_a_local_root_is_told_as_the_place_that_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = SubmitSettings(input_root="in", output_root="out", date=date(2024, 2, 29))
    assert {f"--input-root={tmp_path}/in/", f"--output-root={tmp_path}/out/"} <= set(
        shlex.split(night_job(settings, PROJECT).entrypoint)
    )


def test_a_local_checkpoint_and_gold_set_are_told_as_what_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = command(*DATE, "--model", "./ck", "--gold", "gold/")
    assert {f"--model={tmp_path}/ck", f"--gold={tmp_path}/gold/"} <= set(said)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert {f"--model={tmp_path}/ck", f"--gold={tmp_path}/gold/"} <= set(
        command(*DATE, "--model=~/ck", "--gold=~/gold/")
    )
    assert f"--gold={tmp_path}/gold.parquet" in command(*DATE, "--gold", "gold.parquet")
    assert f"--hypotheses={tmp_path}/topics.csv" in command(*DATE, "--hypotheses", "topics.csv")
    # Called like a hub id, and a folder all the same.
    (tmp_path / "albert@v1").mkdir()
    assert f"--model={tmp_path}/albert@v1" in command(*DATE, "--model", "albert@v1")


@pytest.mark.parametrize("model", ["builtin", "someone/albert@main", "s3://models/nli"])
def test_a_checkpoint_that_is_the_same_everywhere_is_told_as_it_is(model: str) -> None:
    assert f"--model={model}" in command(*DATE, "--model", model)


@pytest.mark.computes
def test_the_package_and_the_jobs_are_uploaded_and_stay_small(server: JobServer) -> None:
    assert submit(server, *DATE).exit_code == 0
    assert len(server.uploaded) < UPLOAD_LIMIT
    names = zipfile.ZipFile(io.BytesIO(server.uploaded)).namelist()
    assert {"jobs/label_nightly.py", "albert_infer/job/run.py", "albert_infer/engine/cpu/kernels.cpp"} <= set(names)
    assert {name.split("/")[0] for name in names if "/" in name} == {"albert_infer", "jobs"}
    assert not [name for name in names if "__pycache__" in name]


def test_nothing_is_uploaded_where_the_image_of_the_nodes_has_the_package(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERT_INFER_S3_KMS_KEY", "alias/nli")
    assert submit(server, *DATE, "--package", "image").exit_code == 0
    assert server.uploaded == b""
    [posted] = server.posted
    assert posted["runtime_env"] == {"env_vars": {"ALBERT_INFER_S3_KMS_KEY": "alias/nli"}}
    words = shlex.split(posted["entrypoint"])
    assert words[:4] == ["albert-infer", "--require-version", __version__, "nightly"]
    assert parse_settings(NightlySettings, words[4:], program="albert-infer nightly", about="") is not None


def test_a_package_without_its_job_scripts_takes_that_of_the_image_and_uploads_nothing() -> None:
    settings = parse_settings(SubmitSettings, [*ROOTS, *DATE], program="submit", about="")
    assert settings is not None
    assert night_job(settings, None).working_dir is None
    with pytest.raises(SettingsError, match="--package upload: this package was installed without its job scripts"):
        night_job(settings.model_copy(update={"package": "upload"}), None)
    assert checkout() == PROJECT


@pytest.mark.computes
@pytest.mark.parametrize(("argv", "code"), [(["--package", "image"], 2), ([], 4)])
def test_an_image_without_the_package_is_told_as_that_and_is_not_tried_again(argv: list[str], code: int) -> None:
    with JobServer(exit_code=127) as server:
        refused = submit(server, *DATE, *argv)
    assert refused.exit_code == code, refused.stderr
    said = "the image of its node has no program albert-infer; install albert-infer"
    assert (said in refused.stderr.splitlines()[-1]) == (code == 2)


@pytest.mark.computes
def test_ray_tells_of_no_file_that_it_uploads_or_leaves_out(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    reset_log_once()  # Ray tells some of it once a process
    assert submit(server, *DATE).exit_code == 0
    assert server.uploaded
    assert [record.getMessage() for record in caplog.records if record.name.startswith("ray.")] == []


@pytest.mark.computes
def test_nothing_of_this_environment_travels(server: JobServer) -> None:
    assert submit(server, *DATE).exit_code == 0
    assert list(server.posted[0]["runtime_env"]) == ["working_dir"]
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(server.posted)]


# --- a second submit


@pytest.mark.computes
def test_a_job_that_has_ended_makes_way_and_others_stay(server: JobServer) -> None:
    for ended in ("FAILED", "STOPPED", "SUCCEEDED"):
        server.know("nli-2024-02-29", ended)
        server.know("nli-2024-02-28", ended)
        assert submit(server, *DATE, "--no-wait").exit_code == 0
    assert len(server.posted) == 3
    assert set(server.jobs) == {"nli-2024-02-28", "nli-2024-02-29"}


@pytest.mark.computes
@pytest.mark.parametrize(("ended_ago", "waits"), [(SETTLING_SECONDS - 2, True), (3600, False)])
def test_a_job_that_has_just_ended_is_given_time_to_be_gone(server: JobServer, ended_ago: float, waits: bool) -> None:
    server.know("nli-2024-02-29", "STOPPED", ended=time.time() - ended_ago)
    begun = time.monotonic()
    outcome = submit(server, *DATE, "--no-wait")
    assert outcome.exit_code == 0
    assert (time.monotonic() - begun > 1.5) == waits
    line = "waiting 2 s: the earlier job of these nights ended just now\n"
    assert outcome.stderr == (line if waits else "")


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_while_a_job_of_the_same_nights_runs_nothing_is_submitted(server: JobServer, status: str) -> None:
    server.know("nli-2024-02-29", status)
    refused = submit(server, *DATE)
    assert (refused.exit_code, refused.stderr.count("\n")) == (6, 1), refused.stderr
    assert "ray job stop nli-2024-02-29" in refused.stderr
    assert (server.posted, server.jobs["nli-2024-02-29"]["status"]) == ([], status)


# --- how it ends


@pytest.mark.computes
@pytest.mark.parametrize(
    ("driver", "code"), [(0, 0), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (1, 4), (-9, 4), (137, 4), (None, 4)]
)
def test_a_submit_ends_with_the_drivers_exit_code_and_else_with_one_to_run_it_again(
    driver: int | None, code: int
) -> None:
    with JobServer(exit_code=driver) as server:
        assert submit(server, *DATE).exit_code == code


@pytest.mark.computes
def test_a_server_that_is_away_for_a_while_ends_no_following(server: JobServer) -> None:
    server.outages = 2
    outcome = submit(server, *DATE)
    assert (outcome.exit_code, server.outages, len(server.posted)) == (0, 0, 1), outcome.stderr


def test_the_log_keeps_its_lines_however_it_is_cut_and_sends_the_terminal_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("night 1: pub", "lished\n\x1b[36m(raylet)", "\x1b[0m a\u202e\r\n", "summary {}\n"):
            yield piece

    asyncio.run(write_log(pieces()))
    assert capsys.readouterr().out == "night 1: published\n\\x1b[36m(raylet)\\x1b[0m a\\u202e\\r\nsummary {}\n"


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["old 1\nold", " 2\nnew 1\n", "new 2\n"], "new 1\nnew 2\n"),
        (["old 1\nold 2\n", "new 1\n"], "new 1\n"),
        (["old 1\nold 2\n"], ""),
        (["ol", "d 1\n"], ""),
        (["new 1\n", "old 1\nold 2\n"], "new 1\nold 1\nold 2\n"),
        (["old 1\nolder\n", "new 1\n"], "old 1\nolder\nnew 1\n"),
    ],
)
def test_of_a_log_that_ray_appends_to_that_of_an_earlier_job_only_the_new_part_is_shown(
    pieces: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def arriving() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    asyncio.run(write_log(arriving(), "old 1\nold 2\n"))
    assert capsys.readouterr().out == shown


@pytest.mark.computes
def test_a_log_that_cannot_be_followed_is_told_in_the_format_that_was_asked_for(server: JobServer) -> None:
    outcome = submit(server, *DATE, "--log-format", "json")
    assert outcome.exit_code == 0
    assert [json.loads(line)["event"] for line in outcome.stderr.splitlines()] == ["log_lost"]


def test_an_address_that_is_none_is_refused() -> None:
    refused = run_main(submit_nightly.main, "--address", "htp//x", *ROOTS, *DATE)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "http://head:8265" in refused.stderr


@pytest.mark.computes
def test_no_wait_tells_the_id_and_waits_for_nothing() -> None:
    with JobServer(exit_code=3) as server:
        outcome = submit(server, *DATE, "--no-wait")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert "nli-2024-02-29" in outcome.stdout


@pytest.mark.parametrize("status", [401, 403])
def test_a_submit_without_the_clusters_token_is_refused_in_one_line(status: int) -> None:
    with JobServer(status=status) as server:
        refused = submit(server, *DATE)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert not [secret for secret in SECRETS.values() if secret in refused.stderr]


def test_a_job_server_that_takes_a_connection_and_says_nothing_is_not_waited_for_for_ever(server: JobServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InfrastructureError, match=f"{address}: no answer in 0.2 s"):
            refuse_silent_server(address, seconds=0.2)
    refuse_silent_server(address, seconds=0.2)  # refused by then: the library says so
    refuse_silent_server(server.address)
    refuse_silent_server("ray://head:10001")


def test_a_cluster_that_does_not_answer_is_worth_another_try() -> None:
    refused = run_main(submit_nightly.main, *ROOTS, *DATE)
    assert (refused.exit_code, refused.stderr.count("\n")) == (4, 1), refused.stderr


@pytest.mark.parametrize(
    ("root", "night", "named"),
    [("s3://user:pw@inbox/", "2024-02-29", "password"), ("s3://inbox/", "2999-01-01", "future")],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_submitted(
    server: JobServer, root: str, night: str, named: str
) -> None:
    argv = ("--input-root", root, "--output-root", "s3://labels", "--date", night)
    refused = run_main(submit_nightly.main, "--address", server.address, *argv)
    assert (refused.exit_code, server.posted) == (2, [])
    assert named in refused.stderr


@pytest.mark.parametrize("roots", [ROOTS, ("--input-root", "in", "--output-root", "out")])
@pytest.mark.parametrize(
    "argv",
    [
        ("--model", "s3://AKIA:n3verpr1nt@models/nli"),
        ("--model", "https://hub.example/nli?signature=n3verpr1nt"),
        ("--gold", "s3://AKIA:n3verpr1nt@gold/"),
        ("--hypotheses", "s3://AKIA:n3verpr1nt@sets/a.csv"),
        ("--gold", "https://gold.example/a.parquet?signature=n3verpr1nt"),
        ("--s3-endpoint", "https://AKIA:n3verpr1nt@s3.example"),
        ("--s3-endpoint", "http://s3.example"),
    ],
)
def test_no_place_with_a_secret_in_it_reaches_the_job_list(
    server: JobServer, roots: tuple[str, ...], argv: tuple[str, ...]
) -> None:
    refused = run_main(submit_nightly.main, "--address", server.address, *roots, *DATE, *argv)
    assert (refused.exit_code, refused.stderr.count("\n"), server.posted) == (2, 1, []), refused.stderr
    assert "n3verpr1nt" not in refused.stderr
