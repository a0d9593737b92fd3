"""A C++ source of this package as a shared library for this processor, compiled when first needed.

It is kept in the user's cache folder, named by all that it depends on, so that a machine compiles it once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

COMPILERS: Final = ("c++", "g++", "clang++")
# Vectors as wide as the processor's: compilers prefer half of 512 bits, for clocks that fell on older processors.
FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-Wno-psabi", "-shared", "-fPIC")
COMPILE_SECONDS: Final = 120


def shared_library(source: Path, folder: Path | None = None, compilers: Sequence[str] = COMPILERS) -> Path | None:
    """What the first compiler found makes of `source`, in `folder` or the user's cache; None where none can."""
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        return None
    try:
        library = (folder or _cache_folder()) / f"{source.stem}-{_fingerprint(compiler, source)}.so"
        return library if library.exists() or _compiled(compiler, source, library) else None
    except subprocess.TimeoutExpired:
        return None


def _cache_folder() -> Path:
    """A folder that only this user writes to, because what lies there is run."""
    try:
        folder = Path.home() / ".cache" / "albert-infer"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        usable = False
    return folder if usable else Path(tempfile.mkdtemp(prefix="albert-infer-"))


def _fingerprint(compiler: str, source: Path) -> str:
    """Of source, flags, compiler, and what `native` stands for here."""
    native = _run(compiler, "-march=native", "-E", "-v", "-x", "c++", os.devnull).stderr
    return hashlib.sha256(b"\n".join((source.read_bytes(), " ".join(FLAGS).encode(), native))).hexdigest()[:16]


def _compiled(compiler: str, source: Path, library: Path) -> bool:
    """Compile to a file of its own and move it in place: several processes may do the same at once."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        if _run(compiler, *FLAGS, str(source), "-o", str(made)).returncode:
            return False
        made.replace(library)
    return True


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=COMPILE_SECONDS)  # noqa: S603 - our own words
