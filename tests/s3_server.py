"""S3 servers for the tests: a real one, SeaweedFS, and one that fails as told. Neither knows our code.

SeaweedFS has signatures, rights and atomic conditional PUTs; a mock would accept what S3 refuses.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from local_server import LocalServer

# The writer may do everything, the reader may only read and list. The job has the rights that a job needs, between the
# folders `in/` and `out/` of any test; the keeper may also delete in `out/`.
WRITER, READER = ("testwriter", "write-secret-n3verpr1nt"), ("testreader", "read-secret-n3verpr1nt")
JOB, KEEPER = ("AKIAJ0BN3VERPR1NT", "job-secret-n3verpr1nt"), ("AKIAKEEPN3VERPR1NT", "keep-secret-n3verpr1nt")
# One bucket for all tests: each new one makes the server allocate volumes. Tests get a prefix of their own in it.
BUCKET = "albert-infer-tests"
START_SECONDS = 60
SERVER_TEXT = "server-text-n3verpr1nt"


@dataclass(frozen=True)
class S3Location:
    """An empty place of one test: its URI, and the environment in which any process may write there."""

    uri: str
    endpoint: str
    env: Mapping[str, str]
    reader_env: Mapping[str, str]
    job_env: Mapping[str, str]
    keeper_env: Mapping[str, str]

    def client(self, endpoint: str | None = None) -> BaseClient:
        """Boto3's own client, to look at the server past our code, or through a proxy at `endpoint`."""
        return _client(endpoint or self.endpoint, WRITER)

    @property
    def bucket(self) -> str:
        """The bucket of `uri`."""
        return self.uri.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """The key prefix of `uri`, without the slash at its end."""
        return self.uri.removeprefix("s3://").partition("/")[2]


class S3Server:
    """A running SeaweedFS with one bucket; it is up when the constructor returns and gone after `stop`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="albert-infer-s3-"))
        ports = free_port_pairs(4)
        self.endpoint = f"http://127.0.0.1:{ports[3]}"
        (self._folder / "s3.json").write_text(json.dumps(_identities()))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                _command(self._folder, ports),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "GOMAXPROCS": "1"},
            )
        try:
            self._wait_for_first_put()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def location(self, prefix: str) -> S3Location:
        """Make an S3 folder that no other test uses, given that `prefix` is unique."""
        environments = [_env(self.endpoint, identity) for identity in (WRITER, READER, JOB, KEEPER)]
        return S3Location(f"s3://{BUCKET}/{prefix}", self.endpoint, *environments)

    def stop(self) -> None:
        """Kill at once: SIGTERM takes the server twenty seconds, and its data is thrown away anyway."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for_first_put(self) -> None:
        # The port answers before the volumes can be written to; only a PUT that worked says "ready".
        client, deadline = _client(self.endpoint, WRITER), time.monotonic() + START_SECONDS
        while True:
            try:
                client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = (self._folder / "log").read_text(errors="replace")
                    message = f"SeaweedFS did not start: {error}\n{log[-3000:]}"
                    raise RuntimeError(message) from error
                time.sleep(0.1)
            else:
                return


def free_port_pairs(count: int) -> list[int]:
    """Ports that are free together with the port 10,000 above, where SeaweedFS puts the gRPC of each."""
    found: list[int] = []
    # Below the range from which the kernel hands out ports to clients, also after adding 10,000.
    candidates = random.sample(range(12_000, 22_000), 200)
    with ExitStack() as held:
        for port in candidates:
            if len(found) == count:
                break
            try:
                for one in (port, port + 10_000):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError:
                continue
            found.append(port)
    return found


def _command(folder: Path, ports: list[int]) -> list[str]:
    master, volume, filer, s3 = ports
    return [
        str(Path(sys.executable).parent / "weed"), "-logtostderr=true", "server",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-master.telemetry=false",
        f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        # Off, or a wrong bucket name would make a bucket and no test would see it.
        "-s3.autoCreateBucket=false", "-master.volumeSizeLimitMB=64", "-volume.max=50",
    ]  # fmt: skip


def _identities() -> dict[str, Any]:
    actions = {WRITER: ["Admin", "Read", "Write", "List", "Tagging"], READER: ["Read", "List"]}
    # Policies, because the action `Write` includes the right to delete.
    policies = {JOB: ["label"], KEEPER: ["label", "tidy"]}
    return {
        "identities": [
            {
                "name": identity[0],
                "credentials": [{"accessKey": identity[0], "secretKey": identity[1]}],
                "actions": actions.get(identity, []),
                "policyNames": policies.get(identity, []),
            }
            for identity in (WRITER, READER, JOB, KEEPER)
        ],
        "policies": [
            {"name": "label", "content": json.dumps(job_policy(f"{BUCKET}/*/in", f"{BUCKET}/*/out"))},
            {"name": "tidy", "content": json.dumps(tidy_policy(f"{BUCKET}/*/out"))},
        ],
    }


def job_policy(source: str, output: str) -> dict[str, Any]:
    """The IAM policy of a job that reads below `source` and writes below `output`, each `bucket/prefix`."""
    return _policy(
        _allow(["s3:GetObject"], f"{source}/*"),
        _allow(["s3:GetObject", "s3:PutObject"], f"{output}/*"),
        *(
            _allow(["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": f"{prefix}/*"}})
            for bucket, _, prefix in (source.partition("/"), output.partition("/"))
        ),
    )


def tidy_policy(output: str) -> dict[str, Any]:
    """What else lets a job remove its leftovers."""
    return _policy(_allow(["s3:DeleteObject"], f"{output}/*"))


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resource: str, condition: dict[str, Any] | None = None) -> dict[str, Any]:
    allowed = {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{resource}"}
    return {**allowed, "Condition": condition} if condition else allowed


def credentials(identity: tuple[str, str]) -> dict[str, str]:
    """The environment in which a process is this identity, on whichever server."""
    return {
        "AWS_ACCESS_KEY_ID": identity[0],
        "AWS_SECRET_ACCESS_KEY": identity[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nothing of the developer's own account may reach a test.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _env(endpoint: str, identity: tuple[str, str]) -> dict[str, str]:
    return {**credentials(identity), "AWS_ENDPOINT_URL": endpoint}


def _client(endpoint: str, identity: tuple[str, str]) -> BaseClient:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=identity[0],
        aws_secret_access_key=identity[1],
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=30,
            response_checksum_validation="when_required",  # that is, it shows what came, damaged or not
        ),
    )


@dataclass(frozen=True)
class Reply:
    """What `ScriptedS3` answers to one request; `sent` below the length of `body` breaks off in the middle."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class ScriptedS3(LocalServer):
    """Answers with the given replies in their order, for what a healthy server does not do on demand.

    Use it in a `with` block. `requests` holds the method and path of each request that came.
    """

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[str] = []
        self._replies = list(replies)
        super().__init__(self._handler())
        self.endpoint = self.url

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # botocore waits a second for the `100 Continue` of an older one

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.requests.append(f"{self.command} {self.path}")
                reply = script._replies.pop(0)
                self.send_response(reply.status)
                always = {"Content-Length": str(len(reply.body)), "ETag": '"e"'}
                for name, value in {**always, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else reply.body[: reply.sent])
                self.close_connection = True

            do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815 (the names are http.server's)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def error_reply(status: int, code: str) -> Reply:
    """Answer with an S3 error document, whose text must never reach a message."""
    return Reply(status, f"<Error><Code>{code}</Code><Message>{SERVER_TEXT}</Message></Error>".encode())
