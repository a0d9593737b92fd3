"""A file system or a folder that will fail a run is refused before it begins, with exit 2; one that is shared works."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from albert_infer.errors import InfrastructureError, OutputError
from albert_infer.storage import check_writable, open_folder

# A library that goes before libc and answers one call, `CALL`, with the errno `ANSWER`.
FAILING_CALLS: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
static int fails(const char *call) {
    const char *chosen = getenv("CALL");
    if (!chosen || strcmp(chosen, call)) return 0;
    errno = atoi(getenv("ANSWER"));
    return 1;
}
int link(const char *from, const char *to) {
    return fails("link") ? -1 : ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link"))(from, to);
}
int linkat(int at, const char *from, int other, const char *to, int flags) {
    if (fails("link")) return -1;
    return ((int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat"))(at, from, other, to, flags);
}
int rename(const char *from, const char *to) {
    return fails("rename") ? -1 : ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}
int flock(int file, int how) {
    return fails("flock") ? -1 : ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, how);
}
int fsync(int file) {
    struct stat status;
    fstat(file, &status);
    if (fails(S_ISDIR(status.st_mode) ? "fsync of a folder" : "fsync of a file")) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
"""
CHECK: Final = """
import sys
from albert_infer import storage
from albert_infer.errors import AlbertInferError
try:
    storage.check_writable(storage.open_folder(sys.argv[1]))
except AlbertInferError as error:
    print(error)
    sys.exit(error.exit_code)
"""
# Everything is imported before the rights are given up: the files of the interpreter may be root's.
AS_USER: Final = """
import os, sys
from albert_infer import storage
from albert_infer.errors import AlbertInferError
uri, user, group = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([group])
os.setgid(user)
os.setuid(user)
os.umask(0o022)
folder = storage.open_folder(uri)
try:
    storage.check_writable(folder)
    folder.put_if_absent("_SUCCESS", b"nothing yet")
    assert folder.replace("_SUCCESS", b"of %d" % user, folder.stat("_SUCCESS"))
except AlbertInferError as error:
    print(error)
    sys.exit(error.exit_code)
"""
ALICE, BOB, TEAM = 23001, 23002, 23900

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")


@pytest.fixture(scope="module")
def failing_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("failing")
    (folder / "calls.c").write_text(FAILING_CALLS)
    library = folder / "calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", folder / "calls.c", "-o", library, "-ldl"], check=True)
    return library


def checked(folder: Path, failing_calls: Path, call: str, answer: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_PRELOAD": str(failing_calls), "CALL": call, "ANSWER": str(answer)}
    command = [sys.executable, "-c", CHECK, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize("exists", [True, False], ids=["there", "not there yet"])
@pytest.mark.parametrize(
    ("call", "answer"),
    [
        *(("link", number) for number in (errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)),
        ("flock", errno.ENOLCK),
        ("flock", errno.ENOSYS),
        ("rename", errno.EPERM),
        ("rename", errno.EROFS),
        ("fsync of a folder", errno.EINVAL),
        ("fsync of a file", errno.ENOSYS),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else value,
)
def test_a_file_system_that_cannot_do_what_a_run_does_is_refused_at_the_start(
    tmp_path: Path, failing_calls: Path, call: str, answer: int, exists: bool
) -> None:
    output = tmp_path if exists else tmp_path / "a" / "b"
    done = checked(output, failing_calls, call, answer)
    assert done.returncode == OutputError.exit_code, (done.stdout, done.stderr)
    assert os.strerror(answer) in done.stdout
    assert "use another file system" in done.stdout or "use a file system with hard links" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("call", "answer"), [("link", errno.EIO), ("fsync of a file", errno.ENOSPC), ("rename", errno.ESTALE)]
)
def test_what_may_be_over_by_the_next_try_is_no_refusal(
    tmp_path: Path, failing_calls: Path, call: str, answer: int
) -> None:
    done = checked(tmp_path, failing_calls, call, answer)
    assert done.returncode == InfrastructureError.exit_code, (done.stdout, done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_the_calls_that_fail_in_these_tests_fail_for_no_other_reason(tmp_path: Path, failing_calls: Path) -> None:
    assert checked(tmp_path, failing_calls, "none", 0).returncode == 0


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of Alice's that other users can reach, and that her team may write to."""
    with TemporaryDirectory(dir="/tmp") as above:  # pytest's own are closed to others
        Path(above).chmod(0o755)
        folder = Path(above, "output")
        folder.mkdir()
        os.chown(folder, ALICE, TEAM)
        folder.chmod(0o775)
        yield folder


def swapped_by(user: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the folder and swap its marker as that user, a member of the team, with a umask of 022."""
    command = [sys.executable, "-c", AS_USER, str(folder), str(user), str(TEAM)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_refused(done: subprocess.CompletedProcess[str], *told: str) -> None:
    assert done.returncode == OutputError.exit_code, (done.stdout, done.stderr)
    assert all(words in done.stdout for words in (*told, "let its owner give this user the right"))


@pytest.mark.process
@as_root
@pytest.mark.parametrize("mode", [0o2775, 0o775, 0o777])
def test_an_output_of_two_users_is_swapped_by_both(shared: Path, mode: int) -> None:
    shared.chmod(mode)
    for user in (ALICE, BOB, ALICE):
        done = swapped_by(user, shared)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert (shared / "_SUCCESS").read_text() == f"of {user}"
    status = (shared / ".albert-infer-lock").stat()
    assert (status.st_uid, status.st_gid) == (ALICE, TEAM)
    assert stat.S_IMODE(status.st_mode) == (0o666 if mode == 0o777 else 0o664)
    assert {path.name for path in shared.iterdir()} == {"_SUCCESS", ".albert-infer-lock"}


@pytest.mark.parametrize(("mode", "lock"), [(0o700, 0o600), (0o755, 0o600), (0o1777, 0o666)])
def test_a_lock_is_for_those_who_may_write_to_the_folder(tmp_path: Path, mode: int, lock: int) -> None:
    folder, before = open_folder(str(tmp_path)), os.umask(0o077)
    tmp_path.chmod(mode)
    try:
        folder.put_if_absent("a", b"1")
        assert folder.replace("a", b"2", folder.stat("a"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".albert-infer-lock").stat().st_mode) == lock


@pytest.mark.process
@as_root
def test_a_lock_that_this_user_may_not_write_is_refused_at_the_start(shared: Path) -> None:
    assert swapped_by(ALICE, shared).returncode == 0
    (shared / ".albert-infer-lock").chmod(0o644)  # as older versions left it
    assert_refused(swapped_by(BOB, shared), ".albert-infer-lock", "remove it while no run is active")
    assert swapped_by(ALICE, shared).returncode == 0


def test_a_lock_that_is_a_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "output"))
    folder.put_if_absent("a", b"1")
    (tmp_path / "output" / ".albert-infer-lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InfrastructureError, match="symbolic link"):
        folder.replace("a", b"2", folder.stat("a"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.process
@as_root
def test_a_folder_of_the_runs_that_this_user_may_not_write_is_refused_at_the_start(shared: Path) -> None:
    (shared / "_runs").mkdir()
    os.chown(shared / "_runs", ALICE, TEAM)
    (shared / "_runs").chmod(0o755)
    (shared / "of nobody's business").mkdir()
    assert_refused(swapped_by(BOB, shared), "the folder _runs in it belongs to another user")
    assert swapped_by(ALICE, shared).returncode == 0
    (shared / "_runs").chmod(0o775)
    assert swapped_by(BOB, shared).returncode == 0


@pytest.mark.process
@as_root
def test_a_marker_that_a_sticky_bit_keeps_is_refused_at_the_start(shared: Path) -> None:
    shared.chmod(0o1777)
    os.chown(shared, 0, 0)
    assert swapped_by(ALICE, shared).returncode == 0
    assert_refused(swapped_by(BOB, shared), "_SUCCESS belongs to another user", "sticky bit")
    assert swapped_by(ALICE, shared).returncode == 0


@pytest.mark.parametrize("name", ["n" * 256, f"new/{'é' * 128}", "/".join(["n" * 200] * 20)], ids=len)
def test_an_output_with_a_name_too_long_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="choose an output with a shorter name"):
        check_writable(open_folder(str(tmp_path / name)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_an_output_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(OutputError, match="choose another output"):
        check_writable(open_folder("/proc/none/x"))
