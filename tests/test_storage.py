"""Storage keeps its promises on a local folder and on a real S3 server alike."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pins import parquet_bytes, pinned

from albert_infer import storage
from albert_infer.errors import InputError, NoInputError, ObjectChangedError, ObjectMissingError, SettingsError

PARQUET = parquet_bytes()


def test_put_if_absent_creates_once_and_keeps_the_first_bytes(folder: storage.Folder) -> None:
    assert folder.put_if_absent("_units/u1.parquet", b"first")
    assert not folder.put_if_absent("_units/u1.parquet", b"second")
    assert folder.read("_units/u1.parquet") == b"first"


def test_put_if_absent_has_one_winner_among_eight_threads(folder: storage.Folder) -> None:
    offers = [f"writer {number}".encode() for number in range(8)]
    won = in_threads(lambda data: folder.put_if_absent("unit", data), offers)
    assert won.count(True) == 1
    assert folder.read("unit") == offers[won.index(True)]


def test_replace_puts_only_over_the_expected_object(folder: storage.Folder) -> None:
    assert folder.replace("_SUCCESS", b"one", expected=None)
    first = folder.stat("_SUCCESS")
    assert first is not None
    assert not folder.replace("_SUCCESS", b"two", expected=None)
    assert folder.replace("_SUCCESS", b"two", expected=first)
    assert not folder.replace("_SUCCESS", b"333", expected=first)
    assert folder.read("_SUCCESS") == b"two"


def test_replace_has_one_winner_among_eight_threads(folder: storage.Folder) -> None:
    folder.put_if_absent("_SUCCESS", b"old run..")
    expected = folder.stat("_SUCCESS")
    offers = [f"new run {number}".encode() for number in range(8)]
    won = in_threads(lambda data: folder.replace("_SUCCESS", data, expected), offers)
    assert won.count(True) == 1
    assert folder.read("_SUCCESS") == offers[won.index(True)]


def test_replace_of_a_missing_object_is_lost(folder: storage.Folder) -> None:
    folder.put_if_absent("_SUCCESS", b"one")
    gone = folder.stat("_SUCCESS")
    folder.delete(["_SUCCESS"])
    assert not folder.replace("_SUCCESS", b"two", expected=gone)
    assert folder.stat("_SUCCESS") is None


def test_replace_may_be_repeated_after_a_lost_reply(folder: storage.Folder) -> None:
    assert folder.replace("_SUCCESS", b"one", expected=None)
    assert folder.replace("_SUCCESS", b"one", expected=None)
    before = folder.stat("_SUCCESS")
    assert folder.replace("_SUCCESS", b"two", expected=before)
    assert folder.replace("_SUCCESS", b"two", expected=before)


def test_copy_may_be_repeated_and_replaces_the_target_whole(folder: storage.Folder) -> None:
    folder.put_if_absent("_units/a+b c.parquet", b"rows")
    folder.put_if_absent("part.parquet", b"something longer from before")
    source = pinned(folder, "_units/a+b c.parquet")
    for _ in range(2):
        assert folder.copy(source, "part.parquet") == folder.stat("part.parquet")
    assert folder.read("part.parquet") == b"rows"
    assert [pin.name for pin in folder.objects()] == ["_units/a+b c.parquet", "part.parquet"]


def test_copy_survives_the_deletion_of_its_source(folder: storage.Folder) -> None:
    folder.put_if_absent("_units/a", b"rows")
    folder.copy(pinned(folder, "_units/a"), "part-a")
    folder.delete(["_units/a"])
    assert folder.read("part-a") == b"rows"


def test_copy_of_nothing_raises(folder: storage.Folder) -> None:
    folder.put_if_absent("_units/a", b"rows")
    gone = pinned(folder, "_units/a")
    folder.delete(["_units/a"])
    with pytest.raises(ObjectMissingError):
        folder.copy(gone, "part-a")
    assert folder.objects() == []


def test_copy_of_other_bytes_than_the_pinned_ones_raises_and_writes_nothing(folder: storage.Folder) -> None:
    folder.put_if_absent("_units/a", b"rows")
    before = pinned(folder, "_units/a")
    assert folder.replace("_units/a", b"sows", before)
    with pytest.raises(ObjectChangedError):
        folder.copy(before, "part-a")
    assert [pin.name for pin in folder.objects()] == ["_units/a"]


def test_a_pinned_read_gives_the_bytes_and_their_pin(folder: storage.Folder) -> None:
    folder.put_if_absent("a/b", b"rows")
    assert folder.pinned_read("a/b") == (folder.stat("a/b"), b"rows")
    with pytest.raises(ObjectMissingError):
        folder.pinned_read("a/c")


def test_delete_takes_missing_objects_and_leaves_the_others(folder: storage.Folder) -> None:
    for name in ("a", "d/b", "d/c"):
        folder.put_if_absent(name, b"x")
    folder.delete(["a", "never there", "d/b", "no folder/x"])
    assert [pin.name for pin in folder.objects()] == ["d/c"]
    folder.delete([])


ODD_NAMES = ["sp ace", "pct%20", "plu+s", "ünï-日本", "q?a#b&c", "_under", ".dot", "line\nbreak", "k=v/x", "a/b/c/d/e"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_kept_as_written_by_every_method(folder: storage.Folder, name: str) -> None:
    assert folder.put_if_absent(name, b"odd")
    (pin,) = folder.objects()
    assert pin.name == name
    assert pin == folder.stat(name)
    with folder.open_pinned(pin) as source:
        assert source.read(-1) == b"odd"
    assert folder.replace(name, b"new", pin)
    folder.copy(pinned(folder, name), "copy")
    folder.delete([name])
    assert [left.name for left in folder.objects()] == ["copy"]


def test_objects_lists_every_depth_and_name_in_order(folder: storage.Folder) -> None:
    names = ["Z", "_runs/p/plan.json", ".hidden", "d/_x", "d/e/f/deep.parquet", "d2", "é"]
    for name in names:
        folder.put_if_absent(name, name.encode())
    assert [(pin.name, pin.size) for pin in folder.objects()] == [(n, len(n.encode())) for n in sorted(names)]


def test_stored_lists_the_same_objects_and_when_they_were_written(folder: storage.Folder) -> None:
    before = datetime.now(UTC)
    for name in ("b/c", "a", "z"):
        folder.put_if_absent(name, name.encode())
    stored = folder.stored()
    assert [(entry.name, entry.size) for entry in stored] == [(pin.name, pin.size) for pin in folder.objects()]
    assert [entry.name for entry in folder.stored("b")] == ["b/c"]
    # S3 tells whole seconds.
    assert all(abs(entry.modified - before) < timedelta(seconds=60) for entry in stored)


def test_objects_takes_a_prefix_as_text(folder: storage.Folder) -> None:
    for name in ("d/a1", "d/a2/x", "d/b", "d2"):
        folder.put_if_absent(name, b"")
    assert [pin.name for pin in folder.objects("d/a")] == ["d/a1", "d/a2/x"]
    assert [pin.name for pin in folder.objects("d")] == ["d/a1", "d/a2/x", "d/b", "d2"]
    assert [pin.name for pin in folder.objects("d/")] == ["d/a1", "d/a2/x", "d/b"]
    assert folder.objects("e/") == []


def test_a_missing_folder_is_empty(folder: storage.Folder) -> None:
    assert folder.objects() == []
    assert folder.stat("a") is None
    with pytest.raises(ObjectMissingError, match="put it back"):
        folder.read("a/b")


def test_a_folder_is_no_object(folder: storage.Folder) -> None:
    folder.put_if_absent("d/a", b"x")
    assert folder.stat("d") is None
    with pytest.raises(ObjectMissingError):
        folder.read("d")


def test_pins_are_equal_while_the_object_is_the_same_and_differ_after(folder: storage.Folder) -> None:
    folder.put_if_absent("a", b"one")
    (pin,) = folder.objects()
    assert folder.stat("a") == pin
    folder.copy(pin, "b")
    assert folder.stat("a") == pin
    folder.replace("a", b"two", pin)
    assert folder.stat("a") != pin


def test_pinned_reads_give_any_range(folder: storage.Folder) -> None:
    data = bytes(range(256)) * 20
    folder.put_if_absent("a", data)
    with folder.open_pinned(pinned(folder, "a")) as source:
        assert source.seek(-4, io.SEEK_END) == len(data) - 4
        assert source.read(100) == data[-4:]
        assert source.read(1) == b""
        source.seek(1000)
        source.seek(10, io.SEEK_CUR)
        buffer = bytearray(50)
        assert source.readinto(buffer) == 50
        assert buffer == data[1010:1060]
        assert source.tell() == 1060
        assert source.read() == data[1060:]


def test_pinned_reads_of_an_empty_object_are_empty(folder: storage.Folder) -> None:
    folder.put_if_absent("a", b"")
    with folder.open_pinned(pinned(folder, "a")) as source:
        assert source.read(10) == b""


def test_parquet_is_read_through_a_pin(folder: storage.Folder) -> None:
    folder.put_if_absent("a.parquet", PARQUET)
    with folder.open_pinned(pinned(folder, "a.parquet")) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        assert file.read_row_group(1, columns=["number"]).column("number").to_pylist() == list(range(1000, 2000))


def test_a_pinned_read_refuses_a_changed_and_a_missing_object_at_open(folder: storage.Folder) -> None:
    folder.put_if_absent("a", b"one")
    pin = pinned(folder, "a")
    folder.replace("a", b"two", pin)
    with pytest.raises(ObjectChangedError):
        folder.open_pinned(pin)
    with pytest.raises(ObjectMissingError):
        folder.open_pinned(replace(pin, name="never there"))


def test_a_folder_is_the_same_after_pickling(folder: storage.Folder) -> None:
    folder.put_if_absent("a", b"x")
    again = pickle.loads(pickle.dumps(folder))  # noqa: S301 (our own bytes)
    assert again == folder
    assert again.read("a") == b"x"


def test_a_writable_folder_passes_and_nothing_is_left_behind(folder: storage.Folder) -> None:
    storage.check_writable(folder)
    assert folder.objects() == []
    folder.put_if_absent("a", b"x")
    storage.check_writable(folder)
    assert [pin.name for pin in folder.objects()] == ["a"]


def test_an_input_is_a_folder_or_one_object(folder: storage.Folder) -> None:
    for name in ("in/a.parquet", "in/_b", "in.parquet"):
        folder.put_if_absent(name, b"x")
    for uri in (folder.uri_of("in"), f"{folder.uri_of('in')}/"):
        found = storage.resolve_input(uri)
        assert found.uri == found.folder.uri == folder.uri_of("in")
        assert [pin.name for pin in found.pins] == ["_b", "a.parquet"]
    single = storage.resolve_input(folder.uri_of("in.parquet"))
    assert single.uri == folder.uri_of("in.parquet")
    assert single.folder.read(single.pins[0].name) == b"x"
    assert single.pins == (folder.stat("in.parquet"),)
    with pytest.raises(InputError, match="take the slash off"):
        storage.resolve_input(f"{folder.uri_of('in.parquet')}/")


def test_an_input_that_is_not_there_is_refused(folder: storage.Folder) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        storage.resolve_input(folder.uri_of("nothing"))


@pytest.mark.parametrize("name", ["*.parquet", "dt=*", "a?", "[ab]", "{a,b}", "a,s3://b/c", "a, /b"])
def test_a_pattern_or_a_list_that_names_nothing_is_no_input_that_is_missing(folder: storage.Folder, name: str) -> None:
    folder.put_if_absent("in/a.parquet", b"x")
    with pytest.raises(InputError, match=r"nothing has this name, and .*; .* folder") as refused:
        storage.resolve_input(f"{folder.uri}/in/{name}")
    assert not isinstance(refused.value, NoInputError)


def test_an_input_may_be_called_as_a_pattern_is(folder: storage.Folder) -> None:
    for name in ("x[1]/a.parquet", "a,b/a.parquet", "{x}/a*"):
        folder.put_if_absent(name, b"x")
        assert len(storage.resolve_input(folder.uri_of(name.rpartition("/")[0])).pins) == 1


REFUSED = [
    "", "gs://bucket/x", "https://host/x?X-Amz-Signature=n3verpr1nt", "s3:/bucket/x", "file:/x", "s3a://b/x", "s3://",
    "s3:///x", "s3://b", "s3://KEY:n3verpr1nt@bucket/x", "s3://arn:aws:s3/x", "s3://bucket/a/../b", "s3://bucket/./b",
    "s3://bucket/..", "s3://bucket/a//", "s3://bucket//", "s3://buc ket/x", "file://u:n3verpr1nt@host/x", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("uri", REFUSED)
def test_what_is_no_location_is_refused_without_repeating_secrets(uri: str) -> None:
    with pytest.raises(SettingsError) as error:
        storage.open_folder(uri)
    assert "n3verpr1nt" not in str(error.value)


@pytest.mark.parametrize("endpoint", ["http://user:n3verpr1nt@host", "host:8333", "ftp://host", "", "http://"])
def test_what_is_no_endpoint_is_refused_without_repeating_secrets(endpoint: str) -> None:
    with pytest.raises(SettingsError) as error:
        storage.open_folder("s3://bucket/x", storage.S3Access(endpoint))
    assert "n3verpr1nt" not in str(error.value)


def test_an_endpoint_of_the_environment_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no url")
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL"):
        storage.open_folder("s3://bucket/x").read("a")


def test_local_locations_are_absolute_and_free_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    real = tmp_path.resolve() / "re al"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    for uri in ("re al", "./re al/", "link", "re al/x/..", f"{tmp_path}/link", f"file://{tmp_path}/re%20al"):
        assert storage.open_folder(uri).uri == str(real)


KEYS = st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"])), min_size=1).map("/".join)
FOLDER_KEYS = KEYS.filter(lambda key: {".", ".."}.isdisjoint(key.split("/")) and not key.endswith("/"))


@given(key=FOLDER_KEYS, name=KEYS)
def test_s3_uris_are_joined_as_text_and_stay_as_they_are(key: str, name: str) -> None:
    uri = f"s3://bucket/{key}" if key else "s3://bucket"
    opened = storage.open_folder(uri)
    assert opened.uri == uri == storage.open_folder(f"{uri}/").uri
    assert opened.uri_of(name) == f"{uri}/{name}"


OVERLAPS = [
    ("/d/in", "/d/in", True), ("/d/in", "/d/in/out", True), ("/d/in/deep/x", "/d/in", True),
    ("/d/in", "/d/in2", False), ("/d/in", "/d/out", False), ("/", "/d", True), ("/d", "/", True),
    ("/d/in.parquet", "/d", True), ("/d/in.parquet", "/d/out", False), ("/d/in.parquet", "/d/in.parquet", True),
    ("s3://b/x", "s3://b/x", True), ("s3://b", "s3://b/x", True), ("s3://b/x/y", "s3://b/x", True),
    ("s3://b/x", "s3://b/xy", False), ("s3://b/x", "s3://c/x", False), ("s3://b/x//y", "s3://b/x/y", False),
    ("s3://b/x", "/b/x", False), ("/s3:/b", "s3://b", False), ("/", "s3://b", False),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "expected"), OVERLAPS)
def test_overlaps_goes_by_path_segments_in_both_directions(one: str, other: str, *, expected: bool) -> None:
    assert storage.overlaps(one, other) is expected
    assert storage.overlaps(other, one) is expected


def in_threads(call: Callable[[bytes], bool], offers: list[bytes]) -> list[bool]:
    with ThreadPoolExecutor(len(offers)) as threads:
        return list(threads.map(call, offers))
