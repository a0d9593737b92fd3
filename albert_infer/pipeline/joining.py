"""Finds the cluster that a Ray session would join, and checks that its head answers.

Ray itself waits 15 minutes for a cluster that is gone, and logs nothing during that time.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ray._common.utils import get_ray_address_file
from ray._private import services
from ray._private.utils import read_ray_address
from ray.exceptions import AuthenticationError

from albert_infer.common import logs
from albert_infer.common.printable import REASON_LETTERS, one_line, reason_of
from albert_infer.config import RAY_ADDRESS, ray_address, ray_uses_tls, ray_variables
from albert_infer.errors import AlbertInferError, InfrastructureError, SettingsError

# A head that restarts answers again within this time.
PATIENCE_SECONDS: Final = 30.0
# The limit of one connection attempt. A machine that is gone does not refuse a connection; the attempt times out.
TRY_SECONDS: Final = 3.0
BETWEEN_TRIES_SECONDS: Final = 1.0
# The first bytes of every gRPC client: the HTTP/2 preface and an empty SETTINGS frame. A gRPC server answers these at
# once, before it asks for a token.
GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# Errors of a file system that stay after a retry.
PERMANENT_ERRORS: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
# Texts in errors of `uv run`. Ray uploads the working folder there, and fails if the folder is too large or has no
# project file.
UV_RUN_ERRORS: Final = ("'uv run'", "Package size")


@dataclass(frozen=True)
class Cluster:
    """The address of a cluster's head, and its source: an environment variable, or the file that `ray start` writes."""

    host: str
    port: int
    named_by: str

    def __str__(self) -> str:
        return f"the Ray cluster at {self.host}:{self.port} ({self.named_by})"


def cluster_to_join() -> Cluster | None:
    """The cluster that Ray would join, or None if Ray would start one on this machine.

    Raises SettingsError for a bad address, and InfrastructureError if the address is `auto` and no cluster runs here.
    """
    configured = ray_address()
    address = configured or read_ray_address(None)
    if address == "auto":
        address = _cluster_of_this_machine()
    if not address or address == "local":
        return None
    # The functions of Ray in this module are private. `ray.init` uses them too, so the answers agree.
    named_by = get_ray_address_file(None) if configured in {None, "auto"} else RAY_ADDRESS
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        remedy = (
            "write the address of the head's Ray as host:6379; a job server (http://) takes jobs by `ray job submit`"
        )
        raise SettingsError(f"the address of Ray {address!r} ({named_by})", "it is no host:port", remedy)
    return Cluster(host, int(port), named_by)


def _cluster_of_this_machine() -> str:
    try:
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        remedy = f"start one with `ray start --head`, or unset {RAY_ADDRESS} and the job starts Ray itself"
        raise InfrastructureError(f"{RAY_ADDRESS}=auto", "no Ray runs on this machine", remedy) from error


def _log_waiting(text: str) -> None:
    logs.log("waiting", text, {})


def wait_for_answer(
    cluster: Cluster, *, patience_seconds: float = PATIENCE_SECONDS, log: Callable[[str], None] = _log_waiting
) -> None:
    """Return when the head answers. Logs one line if it does not answer at once. Raises InfrastructureError."""
    give_up = time.monotonic() + patience_seconds
    is_logged = False
    while (failure := _failure(cluster)) is not None:
        if time.monotonic() >= give_up:
            raise InfrastructureError(f"joining {cluster}", f"{failure}, for {patience_seconds:g} s", _remedy(cluster))
        if not is_logged:
            log(f"waiting for {cluster}: {failure}; at most {patience_seconds:g} s")
            is_logged = True
        time.sleep(min(BETWEEN_TRIES_SECONDS, patience_seconds))


def _failure(cluster: Cluster) -> str | None:
    """The reason why the head does not answer, or None if it answers."""
    try:
        with socket.create_connection((cluster.host.strip("[]"), cluster.port), TRY_SECONDS) as connection:
            if ray_uses_tls():  # TLS has another greeting, so only the connection is checked
                return None
            connection.sendall(GREETING)
            return None if connection.recv(1) else "it closed the connection"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return str(error.strerror or error).lower()


def _remedy(cluster: Cluster) -> str:
    if cluster.named_by == RAY_ADDRESS:
        return f"start the cluster, or correct {RAY_ADDRESS}; without it the job starts Ray itself"
    return f"start the cluster again, or remove {cluster.named_by} if it is gone (`ray stop` does), and run it again"


def opening_error(error: Exception, cluster: Cluster | None) -> AlbertInferError:
    """The error of `ray.init` as a SettingsError if a setting must change, else as an InfrastructureError."""
    asked = "starting Ray on this machine" if cluster is None else f"joining {cluster}"
    reason = reason_of(error)
    # Ray wraps an authentication error in other errors, and only its text is left.
    if AuthenticationError.__name__ in f"{error!r} {error.__cause__!r}":
        remedy = (
            "set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH unless ~/.ray/auth_token has it"
        )
        return SettingsError(asked, "it takes no job without the cluster's token", remedy)
    if "AF_UNIX path length" in str(error):
        folder = Path(get_ray_address_file(None)).parent
        reason = f"paths of sockets in {folder} would be longer than Linux allows"
        return SettingsError(asked, reason, "set RAY_TMPDIR to a folder with a shorter name, such as /tmp")
    if isinstance(error, OSError) and error.errno in PERMANENT_ERRORS:
        reason = f"{error.strerror}: {error.filename}"
        remedy = (
            "set RAY_TMPDIR (else it is TMPDIR, else /tmp) and HOME, for ~/.ray, to folders that this user may write"
        )
        return SettingsError(asked, reason, remedy)
    if any(words in str(error) for words in UV_RUN_ERRORS):
        remedy = "run it in the project's folder, or with RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 if the nodes have the package"
        return SettingsError(asked, reason, remedy)
    if isinstance(error, ValueError | TypeError | LookupError):
        names = ", ".join(ray_variables()) or "none"
        return SettingsError(asked, reason, f"correct this value; variables that are set for Ray: {names}")
    if type(error) is Exception:  # as for a time-out: the name of the class has no information
        reason = one_line(error)[:REASON_LETTERS]
    remedy = (
        "run it again; if the error stays, read the logs in session_latest/logs of Ray's folder (default: /tmp/ray)"
    )
    return InfrastructureError(asked, reason, "check the cluster, then run it again" if cluster else remedy)
