"""The cache of compiled code runs what this user compiled, whole, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from albert_infer.engine.cpu.compilation import INSTALL, loaded_library
from albert_infer.engine.cpu.prebuilt import COMPILERS
from albert_infer.engine.kernel_use import Obstacle

ANOTHER_USER = 12345
CHILD = """
import sys
from pathlib import Path
from albert_infer.engine.cpu.compilation import loaded_library
library = loaded_library(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
print(library.obstacle or "", file=sys.stderr)
print(library.functions and library.functions.answer())
"""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no compiler"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


def source_of(folder: Path, answer: int) -> Path:
    folder.mkdir(exist_ok=True)
    source = folder / "asked.cpp"
    source.write_text(f'extern "C" int answer() {{ return {answer}; }}')
    return source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return source_of(tmp_path / "source", 41)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "cache"
    folder.mkdir(parents=True, mode=0o755)
    return folder


def answer(source: Path, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What the library says in a process of its own: a damaged one would end it."""
    command = [sys.executable, "-c", CHILD, str(source), *([] if folder is None else [str(folder)])]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


def compiled(source: Path, folder: Path) -> Path:
    """The library that is kept in the folder."""
    assert loaded_library(source, folder).functions is not None
    (library,) = folder.iterdir()
    return library


def put_in_place(library: Path, data: bytes) -> None:
    """Give the name of a library to a new file. To write into the old one would end this process, which has loaded it.

    At its exit it would call functions at addresses that the new bytes have, and the loader has not moved.
    """
    other = library.with_name("other")
    other.touch(0o600)
    other.write_bytes(data)
    other.replace(library)


def plant(source: Path, folder: Path) -> Path:
    """Keep a library that says 666 where that of `source` is looked for, whole and by the right name."""
    name = compiled(source, folder)
    data = compiled(source_of(folder.parent / "planted", 666), made(folder.parent / "elsewhere")).read_bytes()
    put_in_place(name, data)
    assert answer(source, folder) == "666", "otherwise this shows nothing"
    return name


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_library_is_compiled_once_however_many_ask(source: Path, cache: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(source), str(cache)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate()[0] for child in children] == ["41\n"] * 3
    (library,) = cache.iterdir()
    before = library.stat()
    assert answer(source, cache) == "41"
    assert (library.stat().st_mtime_ns, library.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_another_source_is_another_library(source: Path, cache: Path) -> None:
    first = compiled(source, cache)
    source_of(source.parent, 42)
    assert answer(source, cache) == "42"
    assert len({*cache.iterdir()} - {first}) == 1


def test_without_a_compiler_or_with_a_source_that_it_refuses_there_is_no_library(source: Path, cache: Path) -> None:
    missing = loaded_library(source, cache, compilers=("no-such-compiler",))
    assert (missing.functions, missing.obstacle) == (
        None, Obstacle("PATH has no C++ compiler (no-such-compiler)", INSTALL),
    )  # fmt: skip
    source.write_text("this is no C++")
    refused = loaded_library(source, cache)
    assert (refused.functions, refused.obstacle is None) == (None, False)
    assert "c++ ends with 1" in str(refused.obstacle)
    assert list(cache.iterdir()) == []


def give_away(path: Path) -> None:
    os.chown(path, ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)


def behind_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("moved")


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(give_away, marks=as_root, id="of another user"),
        pytest.param(lambda folder: folder.chmod(0o777), id="written to by all"),
        pytest.param(lambda folder: folder.chmod(0o770), id="written to by a group"),
        pytest.param(behind_a_link, id="a link"),
        pytest.param(lambda folder: folder.parent.chmod(0o777), id="renamed by all"),
        pytest.param(lambda folder: folder.parent.chmod(0o775), id="renamed by a group"),
        pytest.param(lambda folder: give_away(folder.parent), marks=as_root, id="below another user's"),
    ],
)
def test_a_folder_that_another_user_could_have_written_to_is_left_alone(
    source: Path, cache: Path, opened: Callable[[Path], None]
) -> None:
    planted = plant(source, cache)
    before = planted.read_bytes()
    opened(cache)
    assert answer(source, cache) == "41"
    assert (planted.read_bytes(), len(list(cache.iterdir()))) == (before, 1)
    told = loaded_library(source, cache).obstacle
    assert told is not None
    assert told.problem.startswith(f"the cache folder {cache} is not private (")
    assert told.remedy.startswith(f"delete {cache}, or make it")


def test_a_folder_below_one_where_nobody_renames_what_is_anothers_is_used(source: Path, cache: Path) -> None:
    cache.parent.chmod(0o1777)
    assert answer(source, cache) == "41"
    assert len(list(cache.iterdir())) == 1


def link_elsewhere(library: Path) -> None:
    library.rename(library.parent.parent / "moved.so")
    library.symlink_to(library.parent.parent / "moved.so")


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(give_away, marks=as_root, id="of another user"),
        pytest.param(lambda library: library.chmod(0o666), id="written to by all"),
        pytest.param(lambda library: library.chmod(0o660), id="written to by a group"),
        pytest.param(link_elsewhere, id="a link"),
    ],
)
def test_a_library_that_another_user_could_have_written_is_compiled_anew(
    source: Path, cache: Path, opened: Callable[[Path], None]
) -> None:
    planted = plant(source, cache)
    opened(planted)
    assert answer(source, cache) == "41"
    status = planted.lstat()
    assert (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)) == (stat.S_IFREG, 0o600)
    assert status.st_uid == os.geteuid()


def sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda data: data[:-1], id="cut by a byte"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: bytes(len(data)), id="zeros, as after a power cut"),
        pytest.param(lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], id="a bit"),
        pytest.param(lambda data: data[:-32], id="without a digest, as by older versions"),
        pytest.param(lambda _: sealed(b"no library"), id="whole, and cannot be loaded"),
    ],
)
def test_a_damaged_library_is_compiled_anew_once(source: Path, cache: Path, damaged: Callable[[bytes], bytes]) -> None:
    library = compiled(source, cache)
    whole = library.read_bytes()
    put_in_place(library, damaged(whole))
    assert answer(source, cache) == "41"
    assert library.read_bytes() == whole
    before = library.stat().st_ino
    assert answer(source, cache) == "41"
    assert library.stat().st_ino == before


def test_two_libraries_of_one_process_are_two(source: Path, cache: Path) -> None:
    first, second = (
        loaded_library(each, cache).functions for each in (source, source_of(source.parent.parent / "another", 42))
    )
    assert first is not None
    assert second is not None
    assert (first.answer(), second.answer()) == (41, 42)


def test_the_file_that_is_loaded_is_the_file_that_was_checked(source: Path, cache: Path) -> None:
    library = compiled(source, cache)
    checked = library.stat()
    maps = Path("/proc/self/maps").read_text()
    assert f" {checked.st_ino} " in maps
    assert [link.name for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(library)]


def test_a_compiler_that_is_killed_leaves_nothing_that_is_loaded(source: Path, cache: Path, tmp_path: Path) -> None:
    """Its processes end as by the kernel's memory killer: nothing cleans up."""
    programs = made(tmp_path / "programs")
    slow = programs / "c++"
    real = shutil.which(next(filter(shutil.which, COMPILERS)))
    # It writes half of a library, says so, and waits.
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *-shared*) for out; do :; done; echo half > "$out"; touch "{tmp_path}/half"; '
        f'exec sleep 600;; *) exec {real} "$@";; esac\n'
    )
    slow.chmod(0o755)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(source), str(cache)],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "half").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert [path.name[:11] for path in cache.iterdir()] == [".compiling-"]
    assert answer(source, cache) == "41"


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_under_the_name_of_a_library_does_not_stop_it(
    source: Path, cache: Path, put: Callable[[Path], None]
) -> None:
    library = compiled(source, cache)
    library.unlink()
    put(library)
    assert answer(source, cache) == "41"


def test_a_library_is_kept_in_the_home_whatever_the_umask(source: Path, tmp_path: Path) -> None:
    home, temporary = made(tmp_path / "home"), made(tmp_path / "tmp")
    before = os.umask(0)
    try:
        assert answer(source, environment={"HOME": str(home), "TMPDIR": str(temporary)}) == "41"
    finally:
        os.umask(before)
    (library,) = (home / ".cache" / "albert-infer").iterdir()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / ".cache", library.parent, library)}
    assert modes == {0o700, 0o600}
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("home", ["nowhere", "shared"])
def test_without_a_private_home_there_is_one_folder_for_each_user_and_not_one_for_each_process(
    source: Path, tmp_path: Path, home: str
) -> None:
    made(tmp_path / "shared").chmod(0o777)
    temporary = made(tmp_path / "tmp")
    temporary.chmod(0o1777)
    environment = {"HOME": str(tmp_path / home), "TMPDIR": str(temporary)}
    kept = temporary / f"albert-infer-{os.geteuid()}"
    inodes = set()
    for _ in range(2):
        assert answer(source, environment=environment) == "41"
        assert list(temporary.iterdir()) == [kept]
        inodes |= {library.stat().st_ino for library in kept.iterdir()}
    assert len(inodes) == 1
    assert not (tmp_path / "nowhere").exists()


@as_root
def test_where_another_user_took_every_name_nothing_is_left_behind(source: Path, tmp_path: Path) -> None:
    temporary = made(tmp_path / "tmp")
    temporary.chmod(0o1777)
    squatted = made(temporary / f"albert-infer-{os.geteuid()}")
    squatted.chmod(0o777)
    give_away(squatted)
    environment = {"HOME": str(tmp_path / "nowhere"), "TMPDIR": str(temporary)}
    assert answer(source, environment=environment) == "41"
    assert [path.name for path in tmp_path.glob("tmp/**/*")] == [squatted.name]
