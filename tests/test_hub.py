"""A hub that is down for a moment is another end than one that refuses, and each names its cause."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from job_runs import PROGRAM_PATH
from local_hub import Hub, Repository, folder_files, handler
from local_server import LocalServer
from safetensors.numpy import save
from test_model import saved, zeros

from albert_infer.errors import InfrastructureError
from albert_infer.model.hub_calls import answer_of

pytestmark = pytest.mark.process

# What came of each source: the exit code and the message, or the files.
SCRIPT = """
import json, sys
from albert_infer.errors import AlbertInferError
from albert_infer.common.logs import lines_on_stderr
from albert_infer.model.checkpoint import load_checkpoint
with lines_on_stderr("json"):
    for line in sys.stdin:
        try:
            told = {"files": sorted(load_checkpoint(line.strip()).digests)}
        except AlbertInferError as error:
            told = {"exit_code": error.exit_code, "told": str(error)}
        print(json.dumps(told), flush=True)
"""
SILENT_SCRIPT = """
from albert_infer.errors import AlbertInferError
from albert_infer.model.hub import HubId, downloaded
from albert_infer.common.logs import lines_on_stderr
try:
    with lines_on_stderr("json"):
        downloaded(HubId("someone/silent", "main"), ["config.json"], patience_seconds=2)
except AlbertInferError as error:
    print(error.exit_code, error)
"""


def environment(url: str, cache: Path) -> dict[str, str]:
    home = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    return {**os.environ, **home, "PYTHONPATH": PROGRAM_PATH, "OMP_NUM_THREADS": "1"}


def told_of(source: str, url: str, cache: Path) -> dict[str, Any]:
    """What a process of its own says of one source: the hub's client reads its settings when it is imported."""
    command = [sys.executable, "-c", SCRIPT]
    ran = subprocess.run(
        command, env=environment(url, cache), input=f"{source}\n", capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


class World:
    """A hub, and a process that loads checkpoints of it."""

    def __init__(self, hub: Hub, url: str, cache: Path) -> None:
        self.hub = hub
        self.lines: Path = cache / "stderr"
        self._lines_file = self.lines.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env=environment(url, cache),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._lines_file,
        )

    def load(self, source: str) -> dict[str, Any]:
        """Load one."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{source}\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def end(self) -> None:
        """End the process."""
        self._process.communicate()
        self._lines_file.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    hub = Hub()
    with LocalServer(handler(hub)) as server:
        world = World(hub, server.url, tmp_path_factory.mktemp("cache"))
        yield world
        world.end()


@contextmanager
def answering(hub: Hub, status: int | None, code: str = "", page: bytes | None = None) -> Iterator[None]:
    hub.status, hub.code, hub.page = status, code, page
    yield
    hub.status, hub.code, hub.page = None, "", None


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "named"),
    [
        (429, "", 4, "busy or down (it answered 429); run it again"),
        (500, "", 4, "busy or down (it answered 500); run it again"),
        (503, "", 4, "busy or down (it answered 503); run it again"),
        (401, "RepoNotFound", 2, "set HF_TOKEN"),
        (403, "GatedRepo", 2, "set HF_TOKEN"),
        (403, "", 2, "set HF_TOKEN"),
        (404, "RepoNotFound", 2, "check name and revision"),
        (404, "RevisionNotFound", 2, "no such revision"),
    ],
)
def test_each_answer_of_a_hub_ends_with_its_code_and_its_cause(
    world: World, status: int, code: str, exit_code: int, named: str
) -> None:
    with answering(world.hub, status, code):
        told = world.load("someone/albert@main")
    assert told["exit_code"] == exit_code, told
    assert "model someone/albert@main" in told["told"]
    assert named in told["told"]


def test_a_page_that_is_no_hub_is_refused_by_the_url(world: World) -> None:
    with answering(world.hub, None, page=b"<html>log in</html>"):
        told = world.load("someone/albert@main")
    assert told["exit_code"] == 2
    assert "is not a model hub; correct HF_ENDPOINT" in told["told"]


def test_a_url_that_is_none_is_refused_by_the_variable(tmp_path: Path) -> None:
    told = told_of("someone/albert@main", "hub.example:8000", tmp_path)
    assert told["exit_code"] == 2
    assert told["told"].startswith("HF_ENDPOINT=hub.example:8000: it is not a URL")


def test_a_hub_that_nobody_answers_for_is_to_be_asked_again(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        told = told_of("someone/albert@main", f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path)
    assert told["exit_code"] == 4
    assert "cannot be reached (ConnectionRefusedError" in told["told"]


def test_a_hub_that_accepts_and_says_nothing_ends_with_4_after_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-c", SILENT_SCRIPT]
        ran = subprocess.run(
            command, env=environment(url, tmp_path), capture_output=True, text=True, check=True, timeout=60
        )
    assert ran.stdout.startswith(f"4 model someone/silent@main: the hub {url} sends nothing for 2 s; run it again")
    line = json.loads(ran.stderr.splitlines()[0])
    assert line["event"] == "downloading"
    assert line["message"].startswith(f"downloading someone/silent@main from {url}")


def test_a_hub_that_gives_no_file_for_an_hour_keeps_no_job_from_ending(tmp_path: Path) -> None:
    hub = Hub({"someone/silent": Repository({"config.json": b"{}"})}, files_busy=True)
    with LocalServer(handler(hub)) as server:
        command = [sys.executable, "-c", SILENT_SCRIPT]
        home = environment(server.url, tmp_path)
        ran = subprocess.run(command, env=home, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.startswith("4 model someone/silent@main: the hub")
    assert any("/resolve/" in path for path in hub.asked)


def test_a_call_that_never_ends_is_given_up() -> None:
    begun = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"sends nothing for 0\.1 s"):
        answer_of("model a@b", threading.Event().wait, patience_seconds=0.1)
    assert time.monotonic() - begun < 10


def test_only_json_is_written_and_what_the_index_names_is_fetched(world: World, tmp_path: Path) -> None:
    files = folder_files(saved(tmp_path))
    del files["model.safetensors"]
    tensors = zeros()
    names = sorted(tensors)
    parts = {"first[1].safetensors": names[:5], "rest.safetensors": names[5:]}
    files |= {part: save({name: tensors[name] for name in held}) for part, held in parts.items()}
    places = {name: part for part, held in parts.items() for name in held}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    files["never.safetensors"] = b"never fetched"
    world.hub.repositories["someone/parts"] = Repository(files)
    told = world.load("someone/parts@main")
    assert "files" in told, told
    assert set(parts) <= set(told["files"]), told
    assert not any("never" in path for path in world.hub.asked)
    lines = [json.loads(line) for line in world.lines.read_text().splitlines()]
    assert {line["event"] for line in lines} == {"downloading"}
    # What is in the cache is taken while the hub is down.
    with answering(world.hub, 503):
        assert world.load("someone/parts@main") == told
