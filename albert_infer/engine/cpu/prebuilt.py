"""The libraries that a wheel has for its processors, compiled when the wheel is built.

`setup.py` runs this file alone, before the package is installed: it imports the standard library only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Final, NamedTuple

COMPILERS: Final = ("c++", "g++", "clang++")
FOLDER: Final = "compiled"
X86: Final = "x86_64"
# What every processor of the level x86-64-v3 or x86-64-v4 has, by the names of the Linux kernel.
V3: Final = frozenset({"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe", "abm"})
V4: Final = V3 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}


class Variant(NamedTuple):
    """A library for the processors of `machine` that have all the features `needs`."""

    name: str
    machine: str
    options: tuple[str, ...]
    needs: Set[str]


# The fastest first.
VARIANTS: Final = (
    Variant("x86-64-v4-bf16", X86, ("-march=x86-64-v4", "-mavx512bf16"), V4 | {"avx512_bf16"}),
    Variant("x86-64-v4", X86, ("-march=x86-64-v4",), V4),
    Variant("x86-64-v3", X86, ("-march=x86-64-v3",), V3),
    Variant("armv8.2-bf16", "aarch64", ("-march=armv8.2-a+bf16",), frozenset({"asimd", "bf16"})),
)


def flags(machine: str) -> tuple[str, ...]:
    """The options of a compiler for a library on a machine, without those that name its processor."""
    # Use full 512-bit vectors. Compilers prefer 256 bits, because older processors lowered their clocks for 512.
    # Compilers for other processors refuse the flag.
    wide = ("-mprefer-vector-width=512",) if machine == X86 else ()
    return ("-std=c++17", "-O3", *wide, "-Wno-psabi", "-shared", "-fPIC")


def prebuilt_path(source: Path, machine: str, features: Set[str]) -> Path | None:
    """The library of the package for a processor, if there is one of this very source."""
    paths = (_path(source, variant) for variant in VARIANTS if variant.machine == machine and variant.needs <= features)
    return next(filter(Path.is_file, paths), None)


def compile_variants(source: Path, target: Path, machine: str, compilers: Iterable[str] = COMPILERS) -> Iterator[str]:
    """Compile `source` for the processors of `machine` next to its copy `target`. Yields the failures."""
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        yield f"there is no C++ compiler ({', '.join(compilers)})"
        return
    for variant in VARIANTS:
        if variant.machine == machine:
            library = _path(target, variant)
            library.parent.mkdir(exist_ok=True)
            command = [compiler, *flags(machine), *variant.options, str(source), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
            if done.returncode:
                library.unlink(missing_ok=True)
                yield f"{variant.name}: {done.stderr.strip()}"


def _path(source: Path, variant: Variant) -> Path:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    return source.parent / FOLDER / f"{source.stem}-{variant.name}-{digest}.so"
