"""Turns an error of a stage into one of the package. Imports Ray only for an error that is not the package's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from albert_infer.common.printable import one_line
from albert_infer.errors import AlbertInferError, InfrastructureError

# The text that Ray Data adds to the message of an error that ends a task.
RETRY_ADVICE: Final = re.compile(r"(?:\\n|[\s:'])*Failed to [\w ]+ after \d+/\d+ attempts.*", re.DOTALL)


@contextmanager
def own_errors(asked: str) -> Iterator[None]:
    """Raise each error of the block as one of the package.

    It is the package's own error inside an error of Ray, else an InfrastructureError about `asked`. Who keeps the error
    keeps no actor.
    """
    try:
        yield
    except Exception as error:
        if error.__suppress_context__:
            # No traceback shows it. If a classify actor raised the error, it has the frames of Ray Data's executor, and
            # so the actor, with its CPUs and GPU, would live as long as somebody keeps the error.
            error.__context__ = None
        own = _own_error(error, asked)
        if own is error:
            raise
        raise own from error


def _own_error(error: BaseException, asked: str) -> AlbertInferError:
    root, reason = error, ""
    for inner in _chain(error):
        if isinstance(inner, AlbertInferError) and type(inner).__module__.startswith("albert_infer."):
            return inner
        # The innermost error with a message has the reason. The errors around it are Ray's.
        if message := RETRY_ADVICE.sub("", str(inner)).strip():
            root, reason = inner, message
    from ray.exceptions import RayError  # here, because a run without Ray needs it for these errors only

    if isinstance(root, RayError):
        # The reason is the last line. A worker's traceback may be before it.
        reason = reason.rpartition("\n")[2]
    summary = f"{type(root).__name__}: {one_line(reason)[:300]}"
    return InfrastructureError(asked, summary, "run it again, and it resumes; --debug shows more")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then its causes. Ray has a worker's error in the attribute `cause`."""
    visited: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in visited:
        visited.add(id(inner))
        yield inner
        inner = getattr(inner, "cause", None) or inner.__cause__
