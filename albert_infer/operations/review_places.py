"""Where review files are: reads one, and writes one that is not there yet."""

from __future__ import annotations

from albert_infer import storage
from albert_infer.errors import InputError, ObjectMissingError, OutputError
from albert_infer.storage import Folder, S3Access


def split_place(file: str, access: S3Access) -> tuple[Folder, str]:
    """The folder of a file, and its name there."""
    folder, _, name = file.rpartition("/")
    return storage.open_folder(folder or ("/" if file.startswith("/") else "."), access), name


def read_file(folder: Folder, name: str) -> bytes:
    """The bytes of a review file. Raises InputError if it is not there."""
    with storage.refused(InputError):
        try:
            return folder.read(name)
        except ObjectMissingError as error:
            raise InputError(f"--file {folder.uri_of(name)}", "there is no such file", "correct the name") from error


def put_new(folder: Folder, name: str, data: bytes, flag: str) -> None:
    """Write an object that is not there yet. Raises OutputError if another one is."""
    if not folder.put_if_absent(name, data) and folder.read(name) != data:
        raise OutputError(f"{flag} {folder.uri_of(name)}", "there is another file of this name", "give another name")
