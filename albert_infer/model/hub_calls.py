"""Calls of the hub's client: one line of what is asked, a bounded wait, and its errors in our words.

Who is refused by a hub that answers gets a ModelError; a hub that is down, busy or silent is an InfrastructureError.
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

# Without a byte of the hub. Its client waits 10 s for one and tries again, and may wait for ever for a list of files.
PATIENCE_SECONDS: Final = 45.0
LOOK_SECONDS: Final = 1.0
# Of the answers that are errors: those that another try may mend.
BUSY: Final = frozenset({408, 425, 429})
AGAIN: Final = "run it again; if it stays, check the network and HF_ENDPOINT"
# Of the machine, not of the hub: the cache cannot be written.
CACHE_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_Answer = TypeVar("_Answer")


@dataclass
class Heard:
    """When the hub was heard last, on the monotonic clock."""

    last: float = field(default_factory=time.monotonic)

    def now(self) -> None:
        """It is heard."""
        self.last = time.monotonic()


def endpoint() -> str:
    """The URL of the hub. Raises SettingsError where HF_ENDPOINT is none."""
    # Imported here and below: only hub ids need it, and it takes a second.
    from huggingface_hub import HfApi

    url = HfApi().endpoint
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise SettingsError(f"HF_ENDPOINT={url}", "it is no URL", "write it as https://HOST, or unset it")
    return url


def answer_of(
    asked: str,
    call: Callable[[], _Answer],
    *,
    heard: Heard | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> _Answer:
    """What `call` returns. Raises AlbertInferError for what it raises, and where nothing is heard for so long.

    It goes on in a thread that nobody waits for: of most of its calls the client lets nobody set a limit.
    """
    url = endpoint()
    heard = heard or Heard()
    done: Future[_Answer] = Future()
    Thread(target=_run, args=(call, done), daemon=True).start()
    while not done.done():
        left = heard.last + patience_seconds - time.monotonic()
        if left <= 0:
            raise InfrastructureError(asked, f"the hub {url} says nothing for {patience_seconds:g} s", AGAIN)
        wait([done], timeout=min(left, LOOK_SECONDS))
    try:
        return done.result()
    except AlbertInferError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds
        raise own_words(error, asked, url) from error


def silent_bar(heard: Heard) -> Any:
    """A class of progress bars that shows nothing, and counts each step as heard."""
    from huggingface_hub import utils

    class SilentBar(utils.tqdm):  # type: ignore[name-defined, misc]  # untyped, as all of tqdm
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> Any:
            heard.now()
            return super().update(n)

    return SilentBar


def own_words(error: BaseException, asked: str, url: str) -> AlbertInferError:
    """The error of the hub's client, or what it was raised from: what it means, and what to do."""
    chain = list(_chain(error))
    kinds = {kind.__name__ for one in chain for kind in type(one).__mro__}
    if "OfflineModeIsEnabled" in kinds:
        found = "HF_HUB_OFFLINE is set, and the cache does not have it"
        return ModelError(asked, found, "unset it where there is a network, or give a folder")
    status = next((code for one in chain if (code := _status(one))), None)
    if status is not None:
        return _of_status(status, asked, url, kinds)
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            found = f"the certificate of the hub {url} is not trusted"
            return ModelError(asked, found, "name your certificates in SSL_CERT_FILE, or correct HF_ENDPOINT")
        if isinstance(one, OSError) and one.errno in CACHE_ERRORS:
            found = f"it could not be written into the cache: {reason_of(one)}"
            return ModelError(asked, found, "make room and rights there, or name another folder in HF_HOME")
    if "HFValidationError" in kinds:
        return ModelError(asked, "it is no name of a checkpoint on a hub", "give name@revision, or a folder")
    if "FileMetadataError" in kinds or isinstance(error, ValueError | KeyError | AssertionError):
        found = f"what answers at {url} is no model hub"
        return ModelError(asked, found, "correct HF_ENDPOINT, or log in to the network if a page asks for it")
    return InfrastructureError(asked, f"the hub {url} cannot be reached ({reason_of(chain[-1])})", AGAIN)


def _of_status(status: int, asked: str, url: str, kinds: set[str]) -> AlbertInferError:
    """What an answer with this status means."""
    if status in BUSY or status >= 500:
        return InfrastructureError(asked, f"the hub {url} is busy or down (it answered {status})", "run it again")
    found = f"the hub {url} refuses it ({status})"
    if status == 401:
        remedy = (
            "set HF_TOKEN to a token that may read it, or correct the name: a name that is not there looks the same"
        )
        return ModelError(asked, found, remedy)
    if status == 403:
        return ModelError(asked, found, "accept its terms on its page, and set HF_TOKEN to a token that may read it")
    if status == 404:
        what = "no such revision" if "RevisionNotFoundError" in kinds else "no such checkpoint or revision"
        remedy = "check name and revision; a private one needs HF_TOKEN, one of another hub HF_ENDPOINT"
        return ModelError(asked, f"the hub {url} has {what} ({status})", remedy)
    return ModelError(asked, found, "check name and revision, and HF_ENDPOINT")


def _run(call: Callable[[], _Answer], done: Future[_Answer]) -> None:
    """Do it; of the client's own lines on stderr, which are no JSON, errors alone stay."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        done.set_result(call())
    except BaseException as error:  # raised again where it is waited for
        done.set_exception(error)
    finally:
        logging.set_verbosity(before)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was raised from."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def tell_downloading(what: object, url: str) -> None:
    """One line before the first byte."""
    logs.tell(
        "downloading", f"downloading {what} from {url}, unless the cache has it", {"model": str(what), "hub": url}
    )
