"""Selects the input objects by their names and first bytes. Refuses files of a table format, such as Delta Lake.

`storage.input_names` has the rules for names. Reads only the first bytes of objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from albert_infer import storage
from albert_infer.errors import InputError, LeftOutError, NoInputError, TableError
from albert_infer.read import footers as reading
from albert_infer.storage import AccessError, DeadLinkError, Folder, InputObjects, ObjectPin, S3Access
from albert_infer.storage.input_names import (
    TABLE_FORMATS,
    LeftOut,
    TableFormat,
    is_mark,
    is_named_parquet,
    is_partition,
    left_out,
    left_out_text,
    may_be_parquet,
    table_of,
)

RULES: Final = "docs/reference/inputs.md"


def find_input(uri: str, access: S3Access, *, ignore_table_format: bool = False) -> InputObjects:
    """The objects at an input URI. Raises like `storage.resolve_input`.

    Raises TableError for the files of a table format, unless `ignore_table_format` is set or the URI names one file.
    """
    input_objects = storage.resolve_input(uri, access)
    if input_objects.uri == input_objects.folder.uri and not ignore_table_format:
        refuse_tables(input_objects, access)
    return input_objects


def select(input_objects: InputObjects) -> tuple[list[ObjectPin], dict[str, str]]:
    """The objects that are input, and the other objects with the reason. A file that the URI names is always input."""
    if input_objects.uri != input_objects.folder.uri:
        return list(input_objects.pins), {}
    candidates, ignored = [], {}
    for pin in input_objects.pins:
        reason = left_out(pin.name)
        if reason is None and not is_named_parquet(pin.name) and not _begins_as_parquet(input_objects.folder, pin):
            reason = LeftOut.NOT_PARQUET
        if reason is None:
            candidates.append(pin)
        else:
            ignored[pin.name] = str(reason)
    return candidates, ignored


def _begins_as_parquet(folder: Folder, pin: ObjectPin) -> bool:
    """Whether the first bytes are those of Parquet. Raises if they cannot be read and the name does not decide."""
    try:
        return reading.begins_as_parquet(folder, pin)
    except (AccessError, DeadLinkError):
        if may_be_parquet(pin.name):
            raise
        return False


def no_input(input_objects: InputObjects, ignored: dict[str, str]) -> InputError:
    """The error for an input without a file to read: NoInputError if it is empty, else LeftOutError."""
    asked = f"the input {input_objects.uri}"
    pins = input_objects.pins
    if all(is_mark(pin.name, pin.size) for pin in pins):
        marks = f"no Parquet file, but {len(pins):,} marks and empty objects, first {pins[0].name}"
        return NoInputError(asked, marks, "point --input at a folder with .parquet files, or at one file")
    reason = f"no Parquet file to read, all objects are left out: {left_out_text(ignored)}"
    remedy = f"rename, convert or unpack files with data (see {RULES}), or remove them if there is nothing to label"
    return LeftOutError(asked, reason, remedy)


def refuse_tables(input_objects: InputObjects, access: S3Access) -> None:
    """Raise TableError if objects of the input belong to a table below the input, at the input, or above it."""
    names = [pin.name for pin in input_objects.pins if left_out(pin.name) is None]
    tables = dict.fromkeys(table for table in (table_of(pin.name) for pin in input_objects.pins) if table is not None)
    for table_format, folder in tables:
        if any(name.startswith(folder) for name in names):
            folder_uri = input_objects.folder.uri_of(folder.rstrip("/")) if folder else input_objects.uri
            raise _refused(input_objects, table_format, folder_uri)
    if names:
        for uri in _parents(input_objects.uri):
            parent_format = _format_at(uri, access)
            if parent_format is not None:
                raise _refused(input_objects, parent_format, uri)


def _parents(uri: str) -> Iterator[str]:
    """The parent folders of the input, as long as the path below looks like a partition."""
    while is_partition(uri.rpartition("/")[2]):
        uri = uri.rpartition("/")[0]
        if not uri or uri == "s3:/":
            return
        yield uri


def _format_at(uri: str, access: S3Access) -> TableFormat | None:
    """The format of the table in this folder. None if there is none, or without the permission to list the folder."""
    folder = storage.open_folder(uri, access)
    for table_format in TABLE_FORMATS:
        try:
            marks = folder.stored(table_format.log)
        except AccessError:
            continue  # credentials that may list only the input cannot decide this
        if any(table_of(mark.name) is not None for mark in marks):
            return table_format
    return None


def _refused(input_objects: InputObjects, table_format: TableFormat, table: str) -> TableError:
    where = table_format.name if table == input_objects.uri else f"{table_format.name} ({table})"
    reason = f"its files belong to {where}, and may have rows that were deleted, replaced or never committed"
    remedy = (
        f"export the rows with spark.read.{table_format.reader}(TABLE).write.parquet(FOLDER), and label FOLDER; "
        "or read every file anyway with --ignore-table-format"
    )
    return TableError(f"the input {input_objects.uri}", reason, remedy)
