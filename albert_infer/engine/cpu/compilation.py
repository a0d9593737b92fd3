"""Compiles a C++ source of this package for this processor when it is first needed, and loads it.

The library is cached in the user's cache folder. Its name is a hash of all that it depends on, so a machine compiles it
once. A cached library is code, so it is checked before it is loaded: only this user may have written it, and its digest
must match.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from albert_infer.common.durable import sync_folder

COMPILERS: Final = ("c++", "g++", "clang++")
# Use full 512-bit vectors. Compilers prefer 256 bits, because older processors lowered their clocks for 512.
FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-Wno-psabi", "-shared", "-fPIC")
COMPILE_SECONDS: Final = 120
# A cached library ends in the digest of all bytes before, which loaders ignore. One file has both, so they are replaced
# together.
DIGEST_BYTES: Final = hashlib.sha256().digest_size
OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def loaded_library(
    source: Path, folder: Path | None = None, compilers: Sequence[str] = COMPILERS
) -> ctypes.CDLL | None:
    """Compile `source` with the first available compiler, cache it in `folder` or the user's cache, and load it.

    Returns None if that is not possible. A folder that another user can write to, or in which nothing can be written
    or loaded, is not used; then the library is compiled for this process alone.
    """
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        return None
    try:
        name = f"{source.stem}-{_fingerprint(compiler, source)}.so"
        for cache in _cache_folders() if folder is None else [folder]:
            library = _cached(cache / name) or _compiled(compiler, source, cache / name) if _is_private(cache) else None
            if library is not None:
                return library
        # A loaded library no longer needs its file.
        with tempfile.TemporaryDirectory(prefix="albert-infer-") as temporary:
            path = Path(temporary)
            return _compiled(compiler, source, path / name) if _is_private(path) else None
    except (OSError, subprocess.TimeoutExpired):
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


def _is_private(folder: Path) -> bool:
    """Whether only this user can write to the folder, and nobody else can replace it."""
    try:
        status = folder.lstat()
        above = {*folder.absolute().parents, *folder.resolve().parents}
        return (
            stat.S_ISDIR(status.st_mode)
            and _is_only_ours(status)
            and os.access(folder, os.W_OK)
            and all(map(_keeps_names, above))
        )
    except (OSError, RuntimeError):  # RuntimeError: a link to itself
        return False


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
    try:
        # Do not follow a link, and do not block on a pipe.
        with open(os.open(library, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) and _is_only_ours(status)):
                return None
            data = file.read()
        is_whole = hashlib.sha256(data[:-DIGEST_BYTES]).digest() == data[-DIGEST_BYTES:]
        return ctypes.CDLL(str(library)) if is_whole else None
    except OSError:
        return None


def _compiled(compiler: str, source: Path, library: Path) -> ctypes.CDLL | None:
    """Compile to a temporary file and rename it. Several processes may do this at once."""
    try:
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=library.parent) as folder:
            compiled = Path(folder) / library.name
            if _run(compiler, *FLAGS, str(source), "-o", str(compiled)).returncode:
                return None
            digest = hashlib.sha256(compiled.read_bytes()).digest()
            with compiled.open("ab") as file:
                file.write(digest)
                file.flush()
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
            compiled.replace(library)
        sync_folder(library.parent)
    except OSError:  # a full disk, or a name that is a folder
        return None
    return _cached(library)


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=COMPILE_SECONDS)  # noqa: S603 - fixed words
