"""Fixtures for the tests of several modules: the precision of jobs, an S3 server that starts when first asked for."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from s3_server import S3Location, S3Server

    from albert_infer import storage

# Begun with where processes share the modules out, so that they end together; in one process the quick ones go first.
LONGEST = (
    *("test_job_finetune", "test_faults", "test_node_loss", "test_week", "test_overlap", "test_elasticity"),
    *("test_pipeline", "test_joining", "test_job_secrets", "test_pressure", "test_job", "test_storage_s3"),
    *("test_metrics_endpoint", "test_verification", "test_job_convert", "test_executors"),
)
# The imports are inside the fixtures: the SDK takes a second that most tests need not spend.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the modules that take longest first, in a process that has only some of them to run."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path.stem, len(places)))


# Files of tests are in memory where there is room: some disks take milliseconds to delete a file or to flush it.
MEMORY = Path("/dev/shm")  # noqa: S108  (pytest makes a folder there that is the user's own)
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# How many examples a property is tried on; `make test-all` asks for the second. The GPU tests need no hypothesis.
if find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("quick", deadline=None, max_examples=30)
    settings.register_profile("thorough", deadline=None, max_examples=300)
    settings.load_profile("quick")
# A test that starts Python says so, or `make test-quick` would run it.
MARKS_OF_PYTHON = ("process", "ray", "s3")
RUNNING: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know which test a process that starts belongs to."""
    RUNNING[:] = [item]
    return (yield)


def refuse_unmarked_python(event: str, facts: tuple[object, ...]) -> None:
    """Raise where a test starts Python and has no mark that says so."""
    if event == "subprocess.Popen" and facts[0] == sys.executable and RUNNING:
        marks = {mark.name for mark in RUNNING[0].iter_markers()}
        assert marks.intersection(MARKS_OF_PYTHON), "it starts Python: give it the mark `process`"


sys.addaudithook(refuse_unmarked_python)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """SIGHUP and SIGINT are heeded here and by child processes.

    Below `nohup`, and in the background of a shell, the tests would ignore them.
    """
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGHUP, hangup)
    signal.signal(signal.SIGINT, interrupt)


@pytest.fixture(scope="session", autouse=True)
def precision() -> Iterator[None]:
    """Have every job that names no precision, here or in a process of its own, compute in fp32.

    `auto` follows the processor, so what such a test sees would depend on the machine.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALBERT_INFER_PRECISION", "fp32")
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_cores() -> Iterator[None]:
    """Let all processes that the tests start get on where there are more of them than cores."""
    with pytest.MonkeyPatch.context() as environment:
        # Torch's threads would spin while they wait for each other, and models of the tests' size give them next to
        # nothing to share out.
        environment.setenv("OMP_WAIT_POLICY", "PASSIVE")
        # Ray's workers would stand back for every other process of the machine: its default is 15.
        environment.setenv("RAY_worker_niceness", "0")
        # Ray would look for new log files ten times a second. No test shows them, and `ray job submit` needs no look.
        environment.setenv("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")
        environment.setenv("LOG_NAME_UPDATE_INTERVAL_S", "60")
        # Ray would measure the machine and each worker every five seconds. No test reads these figures.
        environment.setenv("REPORTER_UPDATE_INTERVAL_MS", "60000")
        # Ray Data would start a process that collects usage statistics, and Ray would send them.
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Models of the tests' size are slower in several threads, and much slower where other tests run beside them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small random checkpoint that any job can label with."""
    from job_runs import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def sessions() -> Iterator[ExitStack]:
    """What `session` has opened; closed with this process, or by a module that wants no session."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def session(sessions: ExitStack) -> None:
    """One Ray session for all jobs of all modules that run in this process.

    Its workers have the credentials of the S3 server in their environment, and no endpoint.
    """
    import ray
    from job_runs import ray_session
    from s3_server import WRITER, credentials

    if not ray.is_initialized():
        with pytest.MonkeyPatch.context() as environment:
            for name, value in credentials(WRITER).items():
                environment.setenv(name, value)
            sessions.enter_context(ray_session())


@pytest.fixture(scope="module")
def no_session(sessions: ExitStack) -> None:
    """No Ray session is open when a module begins that opens its own, or none."""
    sessions.close()


@pytest.fixture(scope="module")
def s3_credentials() -> Iterator[None]:
    """Give this process the credentials of the S3 server, and no endpoint."""
    from s3_server import WRITER, credentials

    with pytest.MonkeyPatch.context() as environment:
        for name, value in credentials(WRITER).items():
            environment.setenv(name, value)
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        yield


@pytest.fixture(scope="module")
def s3_session(session: None, s3_credentials: None) -> None:
    """The Ray session, with the credentials in this process too."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the whole session; its start takes some seconds."""
    from s3_server import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Location:
    """Give an empty S3 folder of this test's own, with the AWS environment set for all processes of the test."""
    location = s3_server.location(uuid4().hex[:12])
    for foreign in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(foreign, raising=False)
    for name, value in location.env.items():
        monkeypatch.setenv(name, value)
    return location


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> storage.Folder:
    """Give an empty folder, once on each kind of storage: what holds on both is the contract."""
    from albert_infer import storage

    if request.param == "local":
        return storage.open_folder(str(tmp_path / "folder"))
    location: S3Location = request.getfixturevalue("s3_bucket")
    return storage.open_folder(location.uri, storage.S3Access(location.endpoint))
