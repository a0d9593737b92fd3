"""A cluster that is gone, or a place where Ray cannot start, is told soon, and by what a person can change."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from job_runs import JOB, PROGRAM_PATH, Outcome, run_program
from ray.exceptions import AuthenticationError

from albert_infer.config import RAY_ADDRESS
from albert_infer.errors import AlbertInferError, InfrastructureError, SettingsError
from albert_infer.pipeline.joining import Cluster, cluster_to_join, opening_error, wait_for_answer

PAIRS = JOB.parents[1] / "albert_infer" / "model" / "builtin" / "pairs.parquet"
HERE = Cluster("127.0.0.1", 6379, RAY_ADDRESS)
FILE = "/somewhere/ray_current_cluster"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Ray a folder of its own, in which no cluster is named."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv(RAY_ADDRESS, raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


@contextmanager
def listener(answer: Callable[[socket.socket], None] | None = None) -> Iterator[int]:
    """The port of somebody who takes connections, and says nothing on them unless `answer` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while answer is not None:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def refusal(cluster: Cluster) -> AlbertInferError:
    with pytest.raises(AlbertInferError) as raised:
        wait_for_answer(cluster, patience_seconds=0)
    return raised.value


def test_without_an_address_or_with_local_ray_starts_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "local"):
        monkeypatch.setenv(RAY_ADDRESS, value)
        assert cluster_to_join() is None


def test_the_environment_names_the_cluster_before_the_file_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert cluster_to_join() == Cluster("10.0.0.1", 6379, str(folder / "ray_current_cluster"))
    monkeypatch.setenv(RAY_ADDRESS, "head.example:7000")
    assert cluster_to_join() == Cluster("head.example", 7000, RAY_ADDRESS)
    monkeypatch.setenv(RAY_ADDRESS, "[fd00::1]:7000")
    assert cluster_to_join() == Cluster("[fd00::1]", 7000, RAY_ADDRESS)


@pytest.mark.parametrize(
    "address", ["head", "head:", ":6379", "head:port", "head:0", "head:65536", "ray://head:10001", "http://head:8265"]
)
def test_an_address_that_ray_cannot_join_is_refused_by_name(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAY_ADDRESS, address)
    with pytest.raises(SettingsError, match=RAY_ADDRESS) as refused:
        cluster_to_join()
    assert address in str(refused.value)


def test_a_head_that_nobody_listens_at_is_told_by_what_named_it(capsys: pytest.CaptureFixture[str]) -> None:
    refused = refusal(Cluster("127.0.0.1", closed_port(), RAY_ADDRESS))
    assert (type(refused), refused.exit_code) == (InfrastructureError, 4)
    assert "connection refused" in refused.problem
    assert RAY_ADDRESS in refused.asked
    assert FILE in refusal(Cluster("127.0.0.1", closed_port(), FILE)).remedy


def test_a_head_that_takes_a_connection_and_says_nothing_is_told_within_seconds() -> None:
    with listener() as port:
        begun = time.monotonic()
        assert "no answer" in refusal(Cluster("127.0.0.1", port, RAY_ADDRESS)).problem
        assert time.monotonic() - begun < 5


def test_a_tunnel_whose_other_end_is_gone_is_no_head() -> None:
    with listener(lambda connection: None) as port:
        assert refusal(Cluster("127.0.0.1", port, RAY_ADDRESS)).exit_code == 4


def test_a_head_that_answers_is_joined_and_one_of_tls_that_is_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # As gRPC answers the greeting: with its settings.
    with listener(lambda connection: connection.sendall(bytes(9)) if connection.recv(99) else None) as port:
        wait_for_answer(Cluster("localhost", port, RAY_ADDRESS))
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with listener() as port:
        wait_for_answer(Cluster("127.0.0.1", port, RAY_ADDRESS))


def test_a_head_that_comes_late_is_waited_for_in_one_line() -> None:
    lines: list[str] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        cluster = Cluster("127.0.0.1", server.getsockname()[1], RAY_ADDRESS)

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(bytes(9))

        def log(line: str) -> None:
            lines.append(line)
            server.listen()
            threading.Thread(target=greet, daemon=True).start()

        wait_for_answer(cluster, log=log)
    assert len(lines) == 1
    assert str(cluster) in lines[0]


def job_with(output: Path, **env: str) -> Outcome:
    argv = [sys.executable, JOB, "--input", PAIRS, "--output", output]
    return run_program(argv, env={"PYTHONPATH": PROGRAM_PATH, **env})


@pytest.mark.process
def test_a_job_ends_soon_where_its_cluster_is_gone_and_names_the_file_that_is_stale(folder: Path) -> None:
    (folder / "ray_current_cluster").write_text(f"127.0.0.1:{closed_port()}")
    begun = time.monotonic()
    job = job_with(folder / "out", RAY_TMPDIR=str(folder.parent), RAY_ADDRESS="")
    assert (job.exit_code, time.monotonic() - begun < 60) == (4, True)
    waiting, error = job.stderr.splitlines()
    assert waiting.startswith("waiting for the Ray cluster at 127.0.0.1:")
    assert f"remove {folder / 'ray_current_cluster'} if it is gone" in error


@pytest.mark.ray
def test_a_folder_with_a_path_too_long_for_sockets_is_a_setting_to_change(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    job = job_with(tmp_path, RAY_TMPDIR=str(long))
    assert (job.exit_code, len(job.errors)) == (2, 1), job.stderr
    assert "set RAY_TMPDIR to a folder with a shorter name" in job.stderr


@pytest.mark.ray
@pytest.mark.parametrize("name", ["HOME", "RAY_TMPDIR"])
def test_a_folder_that_cannot_be_written_is_a_setting_to_change(name: str, tmp_path: Path) -> None:
    job = job_with(tmp_path, **{"RAY_TMPDIR": str(tmp_path), name: "/proc/none"})
    assert (job.exit_code, len(job.errors)) == (2, 1), job.stderr
    assert "/proc/none; set RAY_TMPDIR" in job.stderr
    assert "HOME" in job.stderr


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def lacks_token() -> Exception:
    told = f"Failed to connect to GCS. Last connection error: {AuthenticationError('no token')!r}"
    return wrapped(ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"), RuntimeError(told))


@pytest.mark.parametrize(
    ("raised", "kind", "told"),
    [
        (lacks_token(), SettingsError, "RAY_AUTH_MODE=token"),
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed"), SettingsError, "RAY_TMPDIR"),
        (PermissionError(13, "Permission denied", "/home/x/.ray"), SettingsError, "Permission denied: /home/x/.ray"),
        (OSError(28, "No space left on device"), InfrastructureError, "No space left"),
        (json.JSONDecodeError("Expecting value", "x", 0), SettingsError, "RAY_OVERRIDE_RESOURCES"),
        (RuntimeError("Your /p/pyproject.toml is not in the working_dir; … 'uv run'"), SettingsError, "RAY_ENABLE_UV"),
        (ValueError("Package size (600.00MiB) exceeds the maximum size"), SettingsError, "RAY_ENABLE_UV"),
        (Exception("The current node timed out during startup."), InfrastructureError, ": The current node timed out"),
        (RuntimeError("the GCS is full"), InfrastructureError, "RuntimeError: the GCS is full"),
    ],
)
@pytest.mark.parametrize("cluster", [None, HERE])
def test_what_trying_again_does_not_mend_is_a_setting(
    raised: Exception,
    kind: type[AlbertInferError],
    told: str,
    cluster: Cluster | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", "nonsense")
    error = opening_error(raised, cluster)
    assert type(error) is kind
    assert told in str(error)
    assert "Exception:" not in str(error)


UV_RUN: Any = """
import subprocess, sys
sys.exit(subprocess.run([{python!r}, {job!r}, "--input", {pairs!r}, "--output", "out"]).returncode)
"""


@pytest.mark.ray
def test_a_job_below_uv_run_needs_no_folder_that_can_be_shipped(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    below = tmp_path / "below"
    below.mkdir()
    # What Ray looks for: a process above this one whose command line begins with `uv run`.
    (below / "run").write_text(UV_RUN.format(python=sys.executable, job=str(JOB), pairs=str(PAIRS)))
    env = {"PYTHONPATH": PROGRAM_PATH, "RAY_ADDRESS": "local", "PATH": "/usr/bin:/bin"}
    uv = subprocess.run(
        ["uv", "run"], executable=sys.executable, cwd=below, env=env, capture_output=True, text=True, check=False
    )
    assert uv.returncode == 0, uv.stderr
