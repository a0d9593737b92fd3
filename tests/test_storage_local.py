"""A local folder never shows half a file, and nothing leads out of it."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pins import parquet_bytes, pinned

from albert_infer import storage
from albert_infer.errors import InfrastructureError, InputError, IntegrityError, ObjectChangedError, OutputError
from albert_infer.storage import DeadLinkError

PARQUET = parquet_bytes()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "", ".", "a/", "a\0b"])
def test_names_that_lead_out_of_a_local_folder_are_an_integrity_error(tmp_path: Path, name: str) -> None:
    folder = local(tmp_path / "folder")
    for use in (folder.read, folder.stat, lambda name: folder.delete([name]), lambda n: folder.put_if_absent(n, b"x")):
        with pytest.raises(IntegrityError):
            use(name)


def test_a_path_begins_with_the_home_folder_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for told, meant in (
        ("~", ""),
        ("~/a", "/a"),
        ("./~/a", "/~/a"),
        ("a/~", "/a/~"),
        ("~nobody-here/a", "/~nobody-here/a"),
    ):
        assert storage.open_folder(told).uri == f"{tmp_path}{meant}"
    assert storage.open_folder("~root").uri == str(Path("~root").expanduser().resolve())
    assert storage.subfolder("~/a", "b") == f"{tmp_path}/a/b/"
    (tmp_path / "pairs.parquet").write_bytes(PARQUET)
    assert storage.resolve_input("~/pairs.parquet").uri == f"{tmp_path}/pairs.parquet"


def test_a_failing_write_leaves_neither_a_half_file_nor_a_temporary_one(tmp_path: Path) -> None:
    folder, (soft, hard) = local(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    folder.put_if_absent("old", b"x")
    pin = pinned(folder, "old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(InfrastructureError):
            folder.put_if_absent("new", b"x" * 5000)
        with pytest.raises(InfrastructureError):
            folder.replace("old", b"x" * 5000, pin)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in tmp_path.iterdir()} == {"old", ".albert-infer-lock"}
    assert folder.read("old") == b"x"


def test_only_finished_objects_and_the_lock_are_left_in_a_folder(tmp_path: Path) -> None:
    folder = local(tmp_path)
    folder.put_if_absent("a", b"1")
    folder.put_if_absent("a", b"2")
    folder.replace("a", b"3", pinned(folder, "a"))
    folder.copy(pinned(folder, "a"), "b")
    folder.copy(pinned(folder, "a"), "b")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", ".albert-infer-lock"}
    assert [pin.name for pin in folder.objects()] == ["a", "b"]


def test_replace_waits_for_another_process_that_holds_the_lock(tmp_path: Path) -> None:
    folder = local(tmp_path)
    folder.put_if_absent("a", b"x")
    with (tmp_path / ".albert-infer-lock").open("wb") as lock, ThreadPoolExecutor() as threads:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threads.submit(folder.replace, "a", b"y", pinned(folder, "a"))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        assert folder.read("a") == b"x"
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result(timeout=10)


def test_a_replaced_file_has_a_later_pin_even_if_the_clock_stands_still(tmp_path: Path) -> None:
    folder = local(tmp_path)
    folder.put_if_absent("a", b"x")
    os.utime(tmp_path / "a", ns=(2**62, 2**62))  # a clock that has not come as far as the file's time
    before = pinned(folder, "a")
    folder.replace("a", b"y", before)
    assert int(pinned(folder, "a").version) > int(before.version)


def test_published_files_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    folder, before = local(tmp_path), os.umask(0o027)
    try:
        folder.put_if_absent("a", b"x")
        folder.replace("a", b"y", pinned(folder, "a"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_local_file_that_changes_while_it_is_read_is_seen_at_close(tmp_path: Path) -> None:
    folder = local(tmp_path)
    folder.put_if_absent("a.parquet", PARQUET)

    def read_while_it_changes() -> None:
        with folder.open_pinned(pinned(folder, "a.parquet")) as source:
            pq.ParquetFile(source)
            (tmp_path / "a.parquet").write_bytes(b"y" * len(PARQUET))

    with pytest.raises(ObjectChangedError, match="stop the program"):
        read_while_it_changes()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = local(tmp_path / "folder")
    folder.put_if_absent("d/a", b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_bytes(b"y")
    (tmp_path / "folder" / "to folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder" / "to file").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "folder" / "d" / "up").symlink_to(tmp_path / "folder")
    os.mkfifo(tmp_path / "folder" / "pipe")
    assert [pin.name for pin in folder.objects()] == ["d/a", "to file", "to folder/b"]


@pytest.mark.parametrize(
    ("target", "told"), [("gone", "a link to nothing"), ("a.parquet", "a link that leads to itself")]
)
def test_a_link_to_nothing_is_listed_and_told_by_who_reads_it(tmp_path: Path, target: str, told: str) -> None:
    (tmp_path / "a.parquet").symlink_to(tmp_path / target)
    folder = local(tmp_path)
    (pin,) = folder.objects()
    for read in (lambda: folder.read(pin.name), lambda: folder.open_pinned(pin)):
        with pytest.raises(DeadLinkError, match=rf"a\.parquet is {told}; .*remove the link"):
            read()
    with pytest.raises(IntegrityError, match="a broken link"):
        folder.pinned_read(pin.name)
    assert folder.stat(pin.name) is None
    assert folder.stored() == []


def test_a_local_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.parquet")).write_bytes(b"x")
    with pytest.raises(InputError, match="UTF-8"):
        local(tmp_path).objects()


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    refused = [tmp_path / "file", tmp_path / "file" / "out"]
    if Path("/sys/kernel").exists():  # tests may run as root, whom only a read-only file system stops
        refused.append(Path("/sys/kernel/out"))
    for path in refused:
        with pytest.raises(OutputError, match="writing"):
            storage.check_writable(local(path))


def test_a_file_in_the_way_of_a_put_is_named(tmp_path: Path) -> None:
    (tmp_path / "_units").write_bytes(b"x")
    with pytest.raises(storage.AccessError, match="_units is a file"):
        local(tmp_path).put_if_absent("_units/a", b"x")


def local(path: Path) -> storage.Folder:
    return storage.open_folder(str(path))
