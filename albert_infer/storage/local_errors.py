"""Turns the errors of a POSIX file system into a folder's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from albert_infer.errors import InfrastructureError, ObjectMissingError
from albert_infer.storage.folder import AccessError, DeadLinkError
from albert_infer.storage.listing import LEADS_NOWHERE, leads_nowhere

# The errors of a file system that does not support an operation.
INCAPABLE: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOLCK, errno.EINVAL})
FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn an OSError of a read into an InfrastructureError that names `uri`."""
    try:
        yield
    except OSError as error:
        raise _not_read(uri, error) from error


def _not_read(uri: str, error: OSError) -> InfrastructureError:
    path = error.filename or uri
    if error.errno in LEADS_NOWHERE and leads_nowhere(path):
        problem = "a link that leads to itself" if error.errno == errno.ELOOP else "a link to nothing"
        remedy = "put back what it leads to, or remove the link, then start the run again"
        return DeadLinkError(f"reading {uri}", f"{path} is {problem}", remedy)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ObjectMissingError(f"reading {uri}", f"no such file: {path}", "put it back, then start the run again")
    return _error(f"reading {uri}", error)


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turn an OSError of a write into an InfrastructureError that names `uri`."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        problem = f"{error.filename} is a file, not a folder"
        raise AccessError(f"writing {uri}", problem, "move it away or choose another output") from error
    except OSError as error:
        raise _error(f"writing {uri}", error) from error


def _error(asked: str, error: OSError) -> InfrastructureError:
    problem = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    if error.errno in INCAPABLE:
        remedy = "use a file system with hard links, file locks and fsync: a local disk, or NFS 4; or use S3"
        return AccessError(asked, problem, remedy)
    if error.errno in FORBIDDEN:
        return AccessError(asked, problem, "give this user the right, or use another file system")
    return InfrastructureError(asked, problem, "repair it (disk full? mount gone?) and start the run again")
