"""A Ray cluster of processes on this machine, as `ray start` makes it: a head with its job server, and nodes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from job_runs import STORE_BYTES, started, wait_until
from s3_server import free_port_pairs

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class ClusterAddress:
    """Where nodes join the cluster, and where its job server answers."""

    nodes: str
    jobs: str


@contextmanager
def head(env: Mapping[str, str], *, num_cpus: int) -> Iterator[ClusterAddress]:
    """A head in a folder of its own, whose jobs and workers inherit `env`."""
    port, dashboard, client, agent = free_port_pairs(4)
    # Not pytest's folder: the path of a unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ai", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            *("--head", f"--temp-dir={folder}", f"--port={port}", "--include-dashboard=true"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        ]
        address = ClusterAddress(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
        with _ray_start(command, num_cpus, agent, env) as process:
            wait_until(lambda: answers(f"{address.jobs}/api/healthz") or answers(address.jobs), process)
            yield address


@contextmanager
def node(address: ClusterAddress, env: Mapping[str, str], *, num_cpus: int) -> Iterator[subprocess.Popen[str]]:
    """Another node of the cluster, which may not be up yet; kill its family and it is lost as a machine is."""
    (agent,) = free_port_pairs(1)
    with _ray_start([f"--address={address.nodes}"], num_cpus, agent, env) as process:
        yield process


def answers(url: str) -> bool:
    """Whether a web server says anything good there."""
    try:
        with urlopen(url, timeout=5):  # noqa: S310  (our own http:// address)
            return True
    except (URLError, OSError):
        return False


@contextmanager
def _ray_start(
    command: list[str], num_cpus: int, agent: int, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    everywhere = [
        *("--block", "--node-ip-address=127.0.0.1", f"--num-cpus={num_cpus}", f"--object-store-memory={STORE_BYTES}"),
        # By default workers take any of 10002 to 19999, and Ray refuses to start where the others are among them.
        *(f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0"),
    ]
    # An environment of its own has this Python's programs, and those of the system, first.
    own = {"PATH": f"{PROGRAMS}:/usr/bin:/bin", **env}
    with started([PROGRAMS / "ray", "start", *command, *everywhere], env=own) as process:
        yield process
