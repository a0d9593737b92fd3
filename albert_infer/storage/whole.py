"""Writes a folder of few files atomically: it appears whole, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from albert_infer.common import failpoints
from albert_infer.common.durable import sync_folder
from albert_infer.errors import OutputError
from albert_infer.storage.folder import Folder
from albert_infer.storage.local import LocalFolder
from albert_infer.storage.probing import UNFINISHED


def refuse_filled(folder: Folder, asked: str) -> None:
    """Raise `OutputError` if the folder is not empty; `asked` is the setting that names the folder."""
    if folder.objects():
        raise OutputError(f"{asked} {folder.uri}", "the folder is not empty", "give a new one")


def put_whole(folder: Folder, files: Mapping[str, bytes], asked: str, *, last: str) -> None:
    """Write the files into the folder, which is empty or missing.

    A local folder gets its name once it holds all files. On S3 the file `last` is written last; readers ignore a folder
    without it. Raises `OutputError` if another program wrote into the folder meanwhile.
    """
    if isinstance(folder, LocalFolder):
        _renamed_into_place(Path(folder.uri), files, asked)
        return
    for name in sorted(files, key=lambda name: name == last):
        failpoints.reach("putting_whole", name)
        _put(folder, name, files[name], asked)


def _renamed_into_place(final: Path, files: Mapping[str, bytes], asked: str) -> None:
    staged = final.parent / f"{UNFINISHED}{uuid4().hex}"
    try:
        for name, data in files.items():
            _put(LocalFolder(str(staged)), name, data, asked)
            failpoints.reach("putting_whole", name)
        # The rename replaces an empty folder, and fails for any other.
        staged.rename(final)
    except OSError as error:
        remedy = "give a new folder, on a file system that this user may write"
        raise OutputError(f"{asked} {final}", f"it cannot be written: {error.strerror}", remedy) from error
    finally:
        rmtree(staged, ignore_errors=True)
    sync_folder(final.parent)


def _put(folder: Folder, name: str, data: bytes, asked: str) -> None:
    if not folder.put_if_absent(name, data) and folder.read(name) != data:
        problem = f"another program wrote {name} meanwhile"
        raise OutputError(f"{asked} {folder.uri}", problem, "give a folder that no other program writes")
