"""A folder of few files appears whole, and never in the place of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from albert_infer import storage
from albert_infer.errors import OutputError

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"card"}


def names(folder: storage.Folder) -> list[str]:
    return [pin.name for pin in folder.objects()]


def test_all_files_are_there_with_their_bytes(folder: storage.Folder) -> None:
    storage.refuse_filled(folder, "--output")
    storage.put_whole(folder, FILES, "--output", last="config.json")
    assert {name: folder.read(name) for name in names(folder)} == FILES
    with pytest.raises(OutputError, match="the folder is not empty; give a new one"):
        storage.refuse_filled(folder, "--output")


def test_files_that_came_meanwhile_are_left_alone(folder: storage.Folder) -> None:
    folder.put_if_absent("config.json", b"of somebody else")
    with pytest.raises(OutputError, match="--output"):
        storage.put_whole(folder, FILES, "--output", last="config.json")
    assert folder.read("config.json") == b"of somebody else"


def test_an_empty_local_folder_is_filled_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    storage.put_whole(storage.open_folder(str(place)), FILES, "--output", last="config.json")
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
