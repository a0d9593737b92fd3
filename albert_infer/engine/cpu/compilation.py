"""Compiles a C++ source of this package for this processor when it is first needed, and loads it.

The library is cached in the user's cache folder. Its name is a hash of all that it depends on, so a machine compiles it
once. A cached library is code, so it is checked before it is loaded: only this user may have written it, and its digest
must match. The file that was checked is the file that is loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from albert_infer.common.durable import sync_folder
from albert_infer.common.printable import REASON_LETTERS, one_line
from albert_infer.engine.cpu.prebuilt import COMPILERS, flags, prebuilt_path
from albert_infer.engine.kernel_use import Obstacle
from albert_infer.engine.processor import cpu_flags

FLAGS: Final = (*flags(platform.machine()), "-march=native")
# Compilers take seconds, and longer on a busy machine.
COMPILE_SECONDS: Final = 300
# Older versions of GCC do not shuffle vectors of this kind.
INSTALL: Final = "install g++ (12 or later) or clang on the machines of the workers"
UNKEPT: Final = Obstacle(
    "no folder keeps them, so each process compiles its own",
    "give the workers a home that only their user can write to",
)
# A cached library ends in the digest of all bytes before, which loaders ignore. One file has both, so they are replaced
# together.
DIGEST_BYTES: Final = hashlib.sha256().digest_size
OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Library:
    """A loaded library, or None. `obstacle` says why there is none, or why the library is not where it should be."""

    functions: ctypes.CDLL | None
    obstacle: Obstacle | None = None


class _NoLibraryError(Exception):
    """Why a source cannot be compiled to a folder, or not loaded from there."""


def loaded_library(source: Path, folder: Path | None = None, compilers: Sequence[str] = COMPILERS) -> Library:
    """Compile `source` with the first available compiler, cache it in `folder` or the user's cache, and load it.

    A folder that another user can write to, or in which nothing can be written or loaded, is not used; then the library
    is compiled for this process alone.
    """
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        return Library(None, Obstacle(f"PATH has no C++ compiler ({', '.join(compilers)})", INSTALL))
    exposed: list[Obstacle] = []
    try:
        name = f"{source.stem}-{_fingerprint(compiler, source)}.so"
        for cache in _cache_folders() if folder is None else [folder]:
            if exposure := _exposure(cache):
                exposed.append(exposure)
                continue
            with suppress(_NoLibraryError):
                return Library(_cached(cache / name) or _compiled(compiler, source, cache / name), *exposed[:1])
        # A loaded library no longer needs its file.
        with tempfile.TemporaryDirectory(prefix="albert-infer-") as temporary:
            if exposure := _exposure(Path(temporary)):
                return Library(None, exposure)
            library = _compiled(compiler, source, Path(temporary) / name)
            return Library(library, *[*exposed, UNKEPT][:1])
    except (OSError, subprocess.TimeoutExpired, _NoLibraryError) as error:
        return Library(None, Obstacle(one_line(error), f"repair it, or {INSTALL}"))


def prebuilt_library(source: Path) -> Library | None:
    """The library that the package has for `source` and this processor; None without one.

    The library lies next to the code of the package, so a user who can change the library can change the code too.
    """
    path = prebuilt_path(source, platform.machine(), cpu_flags())
    with suppress(OSError):  # a C library that the compiler did not know
        return None if path is None else Library(ctypes.CDLL(str(path)))
    return None


def _cache_folders() -> Iterator[Path]:
    """The cache folders of this user, in order of preference. Creates missing ones."""
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        home = Path.home() / ".cache"
        home.mkdir(mode=0o700, exist_ok=True)
        yield from _created(home / "albert-infer")
    # A fixed name, so that the next process of this user finds the folder.
    yield from _created(Path(tempfile.gettempdir()) / f"albert-infer-{os.geteuid()}")


def _created(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder


def _exposure(folder: Path) -> Obstacle | None:
    """How other users could write to the folder or replace it; None if only this user can."""
    try:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            problem = "it is a link, or no folder"
        elif status.st_uid != os.geteuid():
            problem = f"it belongs to user {status.st_uid}, and this user is {os.geteuid()}"
        elif status.st_mode & OTHERS_MAY_WRITE:
            problem = f"other users can write to it (mode {stat.S_IMODE(status.st_mode):04o})"
        else:
            above = {*folder.absolute().parents, *folder.resolve().parents}
            loose = next((str(each) for each in sorted(above) if not _keeps_names(each)), None)
            if loose is None:
                return None
            problem = f"other users can rename folders in {loose}"
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        problem = f"it cannot be looked at ({error})"
    remedy = f"delete {folder}, or make it and the folders above it writable only by the user of the workers"
    return Obstacle(f"the cache folder {folder} is not private ({problem}), so it is not used", remedy)


def _is_only_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_MAY_WRITE


def _keeps_names(folder: Path) -> bool:
    """Whether only this user and root can rename this user's entries of the folder."""
    status = folder.stat()
    # The owner of `/` is not always 0: a user namespace shows root as nobody.
    is_trusted = status.st_uid in {0, os.geteuid(), Path("/").stat().st_uid}
    return is_trusted and (not status.st_mode & OTHERS_MAY_WRITE or bool(status.st_mode & stat.S_ISVTX))


def _fingerprint(compiler: str, source: Path) -> str:
    """A hash of source, flags, compiler, and the meaning of `-march=native` on this machine."""
    native = _run(compiler, "-march=native", "-E", "-v", "-x", "c++", os.devnull).stderr
    return hashlib.sha256(b"\n".join((source.read_bytes(), " ".join(FLAGS).encode(), native))).hexdigest()[:16]


def _cached(library: Path) -> ctypes.CDLL | None:
    """Load the library if it exists, is only ours, and matches its digest. A truncated one would kill the process."""
    with suppress(OSError):
        # Do not follow a link, and do not block on a pipe.
        descriptor = os.open(library, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        functions = None
        try:
            functions = _checked(descriptor, library)
        finally:
            # The loader knows a library by its name. An open descriptor keeps its name from every other library.
            if functions is None:
                os.close(descriptor)
        return functions
    return None


def _checked(descriptor: int, library: Path) -> ctypes.CDLL | None:
    """Load the opened file, and not what has its name by now."""
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) and _is_only_ours(status)):
        return None
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read()
    if hashlib.sha256(data[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        return None
    opened = Path(f"/proc/self/fd/{descriptor}")
    return ctypes.CDLL(str(opened if opened.exists() else library))


def _compiled(compiler: str, source: Path, library: Path) -> ctypes.CDLL:
    """Compile to a temporary file and rename it. Several processes may do this at once. Raises _NoLibraryError."""
    try:
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=library.parent) as folder:
            compiled = Path(folder) / library.name
            done = _run(compiler, *FLAGS, str(source), "-o", str(compiled))
            if done.returncode:
                said = next(iter(done.stderr.decode(errors="replace").splitlines()), "")
                message = f"{compiler} ends with {done.returncode} ({said[:REASON_LETTERS]})"
                raise _NoLibraryError(message)
            digest = hashlib.sha256(compiled.read_bytes()).digest()
            with compiled.open("ab") as file:
                file.write(digest)
                file.flush()
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
            compiled.replace(library)
        sync_folder(library.parent)
    except OSError as error:  # a full disk, or a name that is a folder
        raise _NoLibraryError(str(error)) from error
    functions = _cached(library)
    if functions is None:
        message = f"no library can be loaded from {library.parent}"
        raise _NoLibraryError(message)
    return functions


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=COMPILE_SECONDS)  # noqa: S603 - fixed words
