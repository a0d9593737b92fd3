"""The cluster that a Ray session would join, and whether it answers.

Ray itself waits a quarter of an hour for one that is gone, and says nothing meanwhile.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Final

from ray._private import services, utils

from albert_infer import logs
from albert_infer.config import RAY_ADDRESS, ray_address, ray_uses_tls
from albert_infer.errors import AlbertInferError, InfrastructureError, SettingsError
from albert_infer.printable import reason_of

# A head that is being started anew is back within this.
PATIENCE_SECONDS: Final = 30.0
# One try; a machine that is gone does not refuse, it says nothing.
TRY_SECONDS: Final = 3.0
BETWEEN_TRIES_SECONDS: Final = 1.0
# How every client of gRPC begins: what HTTP/2 asks for, and no settings. Whoever speaks it answers at once, before it
# asks for a token.
GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


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
    try:
        # Private, and what `ray.init` goes by; tests/test_joining.py notices when it goes.
        address = services.get_ray_address_from_environment(None, None)
    except ConnectionError as error:
        remedy = f"start one with `ray start --head`, or unset {RAY_ADDRESS} and the job starts Ray itself"
        raise InfrastructureError(f"{RAY_ADDRESS}={named}", "no Ray runs on this machine", remedy) from error
    if address is None or address == "local":
        return None
    named_by = utils.get_ray_address_file(None) if named in {None, "auto"} else RAY_ADDRESS
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        remedy = (
            "write the address of the head's Ray as host:6379; a job server (http://) takes jobs by `ray job submit`"
        )
        raise SettingsError(f"the address of Ray {address!r} ({named_by})", "it is no host:port", remedy)
    return Cluster(host, int(port), named_by)


def wait_for_answer(cluster: Cluster, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Return once the head answers, after one line if it does not at once. Raises InfrastructureError."""
    give_up = time.monotonic() + patience_seconds
    told = False
    while (found := _silence(cluster)) is not None:
        if time.monotonic() >= give_up:
            raise InfrastructureError(f"joining {cluster}", f"{found}, for {patience_seconds:g} s", _remedy(cluster))
        if not told:
            logs.tell("waiting", f"waiting for {cluster}: {found}; at most {patience_seconds:g} s", {})
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
    """What `ray.init` raised, in our words: a setting that it did not accept, or a cluster or machine that failed."""
    asked = "starting Ray on this machine" if cluster is None else f"joining {cluster}"
    found = reason_of(error)
    return InfrastructureError(asked, found, "run it again")
