"""The cluster that a Ray session would join, and whether it answers.

Ray itself waits a quarter of an hour for one that is gone, and says nothing meanwhile.
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

# A head that is being started anew is back within this.
PATIENCE_SECONDS: Final = 30.0
# One try; a machine that is gone does not refuse, it says nothing.
TRY_SECONDS: Final = 3.0
BETWEEN_TRIES_SECONDS: Final = 1.0
# How every client of gRPC begins: what HTTP/2 asks for, and no settings. Whoever speaks it answers at once, before it
# asks for a token.
GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# What a file system answers that will not answer otherwise next time.
NO_PLACE: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
# Below `uv run` Ray ships the working folder: without the project's file in it, or with too much, it cannot.
OF_UV_RUN: Final = ("'uv run'", "Package size")


@dataclass(frozen=True)
class Cluster:
    """Where a cluster's head is, and what named it: the environment, or the file that `ray start` leaves."""

    host: str
    port: int
    named_by: str

    def __str__(self) -> str:
        return f"the Ray cluster at {self.host}:{self.port} ({self.named_by})"


def cluster_to_join() -> Cluster | None:
    """The cluster that Ray would join; None where it would start one on this machine.

    Raises SettingsError for an address that is none, InfrastructureError if a cluster of this machine is asked for and
    there is none.
    """
    named = ray_address()
    address = named or read_ray_address(None)
    if address == "auto":
        address = _cluster_of_this_machine()
    if not address or address == "local":
        return None
    # Private, and what `ray.init` goes by, as all of Ray's that is called here.
    named_by = get_ray_address_file(None) if named in {None, "auto"} else RAY_ADDRESS
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


def _tell_waiting(text: str) -> None:
    logs.tell("waiting", text, {})


def wait_for_answer(
    cluster: Cluster, *, patience_seconds: float = PATIENCE_SECONDS, tell: Callable[[str], None] = _tell_waiting
) -> None:
    """Return once the head answers, after one line of `tell` if it does not at once. Raises InfrastructureError."""
    give_up = time.monotonic() + patience_seconds
    told = False
    while (found := _silence(cluster)) is not None:
        if time.monotonic() >= give_up:
            raise InfrastructureError(f"joining {cluster}", f"{found}, for {patience_seconds:g} s", _remedy(cluster))
        if not told:
            tell(f"waiting for {cluster}: {found}; at most {patience_seconds:g} s")
            told = True
        time.sleep(min(BETWEEN_TRIES_SECONDS, patience_seconds))


def _silence(cluster: Cluster) -> str | None:
    """What keeps the head from answering; None if it answers."""
    try:
        with socket.create_connection((cluster.host.strip("[]"), cluster.port), TRY_SECONDS) as connection:
            if ray_uses_tls():  # its greeting is another one
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
    """What `ray.init` raised, in our words: a setting to change, or what may go away by itself."""
    asked = "starting Ray on this machine" if cluster is None else f"joining {cluster}"
    found = reason_of(error)
    # It comes as text, within the errors that Ray makes of it.
    if AuthenticationError.__name__ in f"{error!r} {error.__cause__!r}":
        remedy = (
            "set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH unless ~/.ray/auth_token has it"
        )
        return SettingsError(asked, "it takes no job without the cluster's token", remedy)
    if "AF_UNIX path length" in str(error):
        folder = Path(get_ray_address_file(None)).parent
        found = f"paths of sockets in {folder} would be longer than Linux lets them be"
        return SettingsError(asked, found, "set RAY_TMPDIR to a folder with a shorter name, as /tmp")
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        found = f"{error.strerror}: {error.filename}"
        remedy = (
            "set RAY_TMPDIR (else it is TMPDIR, else /tmp) and HOME, for ~/.ray, to folders that this user may write"
        )
        return SettingsError(asked, found, remedy)
    if any(words in str(error) for words in OF_UV_RUN):
        remedy = (
            "call it in the project's folder, or with RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 where the nodes have the package"
        )
        return SettingsError(asked, found, remedy)
    if isinstance(error, ValueError | TypeError | LookupError):
        names = ", ".join(ray_variables()) or "none"
        return SettingsError(asked, found, f"correct what this is about; variables that are set for Ray: {names}")
    if type(error) is Exception:  # as for a time-out: the class says nothing
        found = one_line(error)[:REASON_LETTERS]
    remedy = "run it again; if it stays, look into the logs in session_latest/logs of Ray's folder, /tmp/ray unless set"
    return InfrastructureError(asked, found, "check the cluster, then run it again" if cluster else remedy)
