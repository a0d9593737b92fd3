"""A folder's errors from what a POSIX file system raises."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from albert_infer.errors import InfrastructureError, ObjectMissingError
from albert_infer.storage.folder import AccessError, DeadLinkError
from albert_infer.storage.listing import LEADS_NOWHERE, leads_nowhere

# What a file system answers that will never do what was asked.
INCAPABLE: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOLCK, errno.EINVAL})
FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Raise what a read raises as an error of ours, which names `uri`."""
    try:
        yield
    except OSError as error:
        raise _not_read(uri, error) from error


def _not_read(uri: str, error: OSError) -> InfrastructureError:
    path = error.filename or uri
    if error.errno in LEADS_NOWHERE and leads_nowhere(path):
        found = "a link that leads to itself" if error.errno == errno.ELOOP else "a link to nothing"
        remedy = "put back what it leads to, or remove the link, then start the run again"
        return DeadLinkError(f"reading {uri}", f"{path} is {found}", remedy)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ObjectMissingError(f"reading {uri}", f"no such file: {path}", "put it back, then start the run again")
    return _error(f"reading {uri}", error)


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Raise what a write raises as an error of ours, which names `uri`."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        found = f"{error.filename} is a file, not a folder"
        raise AccessError(f"writing {uri}", found, "move it away or choose another output") from error
    except OSError as error:
        raise _error(f"writing {uri}", error) from error


def _error(asked: str, error: OSError) -> InfrastructureError:
    found = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    if error.errno in INCAPABLE:
        remedy = "use a file system with hard links, file locks and fsync: a local disk, or NFS 4; or use S3"
        return AccessError(asked, found, remedy)
    if error.errno in FORBIDDEN:
        return AccessError(asked, found, "give this user the right, or use another file system")
    return InfrastructureError(asked, found, "repair it (disk full? mount gone?) and start the run again")
