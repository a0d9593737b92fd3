"""Calls the hub's client with a time limit, and turns its errors into those of this package.

A refusal by the hub is a ModelError. A hub that is down, busy or silent is an InfrastructureError.
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from albert_infer.common import logs
from albert_infer.common.printable import reason_of
from albert_infer.errors import AlbertInferError, InfrastructureError, ModelError, SettingsError

# The time limit without a byte from the hub. Its client retries after 10 s, and may wait forever for a list of files.
PATIENCE_SECONDS: Final = 45.0
POLL_SECONDS: Final = 1.0
# The error statuses for which a retry may succeed.
BUSY: Final = frozenset({408, 425, 429})
AGAIN: Final = "run it again; if the error stays, check the network and HF_ENDPOINT"
# Errors of this machine: the cache cannot be written.
CACHE_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_Answer = TypeVar("_Answer")


@dataclass
class Activity:
    """The time of the last byte from the hub, on the monotonic clock."""

    last: float = field(default_factory=time.monotonic)

    def record(self) -> None:
        """Record a byte from the hub."""
        self.last = time.monotonic()


def endpoint() -> str:
    """The URL of the hub. Raises SettingsError if HF_ENDPOINT is not a URL."""
    # Imported here and below: only hub ids need it, and it takes a second.
    from huggingface_hub import HfApi

    url = HfApi().endpoint
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise SettingsError(f"HF_ENDPOINT={url}", "it is not a URL", "write it as https://HOST, or unset it")
    return url


def answer_of(
    asked: str,
    call: Callable[[], _Answer],
    *,
    activity: Activity | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> _Answer:
    """Run `call` and return its result. Raises AlbertInferError for its errors, and after too long a silence.

    The call runs in a daemon thread, because the client has no time limit for most calls.
    """
    url = endpoint()
    activity = activity or Activity()
    result: Future[_Answer] = Future()
    Thread(target=_run, args=(call, result), daemon=True).start()
    while not result.done():
        remaining = activity.last + patience_seconds - time.monotonic()
        if remaining <= 0:
            raise InfrastructureError(asked, f"the hub {url} sends nothing for {patience_seconds:g} s", AGAIN)
        wait([result], timeout=min(remaining, POLL_SECONDS))
    try:
        return result.result()
    except AlbertInferError:
        raise
    except Exception as error:  # the hub's client raises many types
        raise hub_error(error, asked, url) from error


def silent_bar(activity: Activity) -> Any:
    """A class of progress bars that shows nothing, and records each step as activity."""
    from huggingface_hub import utils

    class SilentBar(utils.tqdm):  # type: ignore[name-defined, misc]  # untyped, as all of tqdm
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> Any:
            activity.record()
            return super().update(n)

    return SilentBar


def hub_error(error: BaseException, asked: str, url: str) -> AlbertInferError:
    """The error of the hub's client, or its cause, as one of this package."""
    chain = list(_chain(error))
    kinds = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    if "OfflineModeIsEnabled" in kinds:
        problem = "HF_HUB_OFFLINE is set, and the cache does not have it"
        return ModelError(asked, problem, "unset it where there is a network, or give a folder")
    status = next((code for cause in chain if (code := _status(cause))), None)
    if status is not None:
        return _of_status(status, asked, url, kinds)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = f"the certificate of the hub {url} is not trusted"
            return ModelError(asked, problem, "name your certificates in SSL_CERT_FILE, or correct HF_ENDPOINT")
        if isinstance(cause, OSError) and cause.errno in CACHE_ERRORS:
            problem = f"the cache cannot be written: {reason_of(cause)}"
            return ModelError(asked, problem, "free space or grant rights there, or name another folder in HF_HOME")
    if "HFValidationError" in kinds:
        return ModelError(asked, "it is not a name of a checkpoint on a hub", "give name@revision, or a folder")
    if "FileMetadataError" in kinds or isinstance(error, ValueError | KeyError | AssertionError):
        problem = f"the server at {url} is not a model hub"
        return ModelError(asked, problem, "correct HF_ENDPOINT, or log in to the network if a page asks for it")
    return InfrastructureError(asked, f"the hub {url} cannot be reached ({reason_of(chain[-1])})", AGAIN)


def _of_status(status: int, asked: str, url: str, kinds: set[str]) -> AlbertInferError:
    """The error for an answer with this status."""
    if status in BUSY or status >= 500:
        return InfrastructureError(asked, f"the hub {url} is busy or down (it answered {status})", "run it again")
    problem = f"the hub {url} refuses it ({status})"
    if status == 401:
        remedy = "set HF_TOKEN to a token that may read it, or correct the name: a wrong name gives the same answer"
        return ModelError(asked, problem, remedy)
    if status == 403:
        return ModelError(asked, problem, "accept its terms on its page, and set HF_TOKEN to a token that may read it")
    if status == 404:
        missing = "no such revision" if "RevisionNotFoundError" in kinds else "no such checkpoint or revision"
        remedy = "check name and revision; a private checkpoint needs HF_TOKEN, another hub needs HF_ENDPOINT"
        return ModelError(asked, f"the hub {url} has {missing} ({status})", remedy)
    return ModelError(asked, problem, "check name and revision, and HF_ENDPOINT")


def _run(call: Callable[[], _Answer], result: Future[_Answer]) -> None:
    """Run the call, and set its result. The client logs only errors meanwhile, because its lines are not JSON."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        result.set_result(call())
    except BaseException as error:  # `answer_of` raises it
        result.set_exception(error)
    finally:
        logging.set_verbosity(before)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    cause: BaseException | None = error
    visited: set[int] = set()
    while cause is not None and id(cause) not in visited:
        visited.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def log_download(model: object, url: str) -> None:
    """Log one line before a download."""
    logs.log(
        "downloading", f"downloading {model} from {url}, unless the cache has it", {"model": str(model), "hub": url}
    )
