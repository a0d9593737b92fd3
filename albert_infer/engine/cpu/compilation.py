"""A C++ source of this package as a shared library for this processor, compiled when first needed, and loaded.

It is kept in the user's cache folder, named by all that it depends on, so that a machine compiles it once. What lies
there is run, so it is looked at first: nobody else may have written it, and every byte must be as it was.
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
# Vectors as wide as the processor's: compilers prefer half of 512 bits, for clocks that fell on older processors.
FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-Wno-psabi", "-shared", "-fPIC")
COMPILE_SECONDS: Final = 120
# A kept library ends in the digest of all bytes before; no loader looks there. In one file, so that both are replaced
# at once.
DIGEST_BYTES: Final = hashlib.sha256().digest_size
OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def loaded_library(
    source: Path, folder: Path | None = None, compilers: Sequence[str] = COMPILERS
) -> ctypes.CDLL | None:
    """What the first compiler found makes of `source`, kept in `folder` or the user's cache; None where none can.

    A folder that another user could have written to is left alone, as is one where nothing can be written or loaded;
    then the library is kept for this process alone.
    """
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        return None
    try:
        name = f"{source.stem}-{_fingerprint(compiler, source)}.so"
        for place in _cache_folders() if folder is None else [folder]:
            library = _kept(place / name) or _compiled(compiler, source, place / name) if _is_private(place) else None
            if library is not None:
                return library
        # Once it is loaded a library needs its file no more.
        with tempfile.TemporaryDirectory(prefix="albert-infer-") as temporary:
            place = Path(temporary)
            return _compiled(compiler, source, place / name) if _is_private(place) else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def _cache_folders() -> Iterator[Path]:
    """The folders of this user, the best one first; made if missing."""
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        home = Path.home() / ".cache"
        home.mkdir(mode=0o700, exist_ok=True)
        yield from _made(home / "albert-infer")
    # By the name it is found again, by the next process of this user.
    yield from _made(Path(tempfile.gettempdir()) / f"albert-infer-{os.geteuid()}")


def _made(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder


def _is_private(folder: Path) -> bool:
    """Whether only this user can write there, and nobody else put another folder in its place."""
    try:
        status = folder.lstat()
        above = {*folder.absolute().parents, *folder.resolve().parents}
        return (
            stat.S_ISDIR(status.st_mode)
            and _is_ours_alone(status)
            and os.access(folder, os.W_OK)
            and all(map(_keeps_names, above))
        )
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
        return False


def _is_ours_alone(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_MAY_WRITE


def _keeps_names(folder: Path) -> bool:
    """Whether nobody but this user and the machine's owner can rename what is ours in the folder."""
    status = folder.stat()
    # The owner of `/` is not always 0: a user namespace shows root as nobody.
    is_trusted = status.st_uid in {0, os.geteuid(), Path("/").stat().st_uid}
    return is_trusted and (not status.st_mode & OTHERS_MAY_WRITE or bool(status.st_mode & stat.S_ISVTX))


def _fingerprint(compiler: str, source: Path) -> str:
    """Of source, flags, compiler, and what `native` stands for here."""
    native = _run(compiler, "-march=native", "-E", "-v", "-x", "c++", os.devnull).stderr
    return hashlib.sha256(b"\n".join((source.read_bytes(), " ".join(FLAGS).encode(), native))).hexdigest()[:16]


def _kept(library: Path) -> ctypes.CDLL | None:
    """The library, if it is there, ours, whole, and can be loaded; a cut one would kill the process that reads it."""
    try:
        # Neither through a link nor waiting at a pipe.
        with open(os.open(library, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) and _is_ours_alone(status)):
                return None
            data = file.read()
        is_whole = hashlib.sha256(data[:-DIGEST_BYTES]).digest() == data[-DIGEST_BYTES:]
        return ctypes.CDLL(str(library)) if is_whole else None
    except OSError:
        return None


def _compiled(compiler: str, source: Path, library: Path) -> ctypes.CDLL | None:
    """Compile to a file of its own and move it in place: several processes may do the same at once."""
    try:
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=library.parent) as folder:
            made = Path(folder) / library.name
            if _run(compiler, *FLAGS, str(source), "-o", str(made)).returncode:
                return None
            digest = hashlib.sha256(made.read_bytes()).digest()
            with made.open("ab") as file:
                file.write(digest)
                file.flush()
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
            made.replace(library)
        sync_folder(library.parent)
    except OSError:  # a full disk, or a name that is a folder
        return None
    return _kept(library)


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=COMPILE_SECONDS)  # noqa: S603 - our own words
