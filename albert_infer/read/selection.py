"""An input to the objects that are read: by their names and first bytes, and never out of a table behind its back.

`input_names` has the rules for names. Reads the first bytes of an object at most.
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
    """What an input URI names. Raises as `storage.resolve_input`, and TableError unless tables are ignored.

    A file that was named is read whatever it belongs to.
    """
    found = storage.resolve_input(uri, access)
    if found.uri == found.folder.uri and not ignore_table_format:
        refuse_tables(found, access)
    return found


def select(found: InputObjects) -> tuple[list[ObjectPin], dict[str, str]]:
    """The objects that are input, and the others with the reason. A file that was named is input."""
    if found.uri != found.folder.uri:
        return list(found.pins), {}
    candidates, ignored = [], {}
    for pin in found.pins:
        reason = left_out(pin.name)
        if reason is None and not is_named_parquet(pin.name) and not _begins_as_parquet(found.folder, pin):
            reason = LeftOut.NOT_PARQUET
        if reason is None:
            candidates.append(pin)
        else:
            ignored[pin.name] = str(reason)
    return candidates, ignored


def _begins_as_parquet(folder: Folder, pin: ObjectPin) -> bool:
    """Whether the first bytes are Parquet's. Raises if they cannot be seen and the name leaves it open."""
    try:
        return reading.begins_as_parquet(folder, pin)
    except (AccessError, DeadLinkError):
        if may_be_parquet(pin.name):
            raise
        return False


def no_input(found: InputObjects, ignored: dict[str, str]) -> InputError:
    """Why there is nothing to read: a night may be empty, but one whose objects were all left out is not."""
    asked = f"the input {found.uri}"
    if all(is_mark(pin.name, pin.size) for pin in found.pins):
        marks = f"no Parquet file, but {len(found.pins):,} marks and empty objects, first {found.pins[0].name}"
        return NoInputError(asked, marks, "point --input at a folder with .parquet files, or at one file")
    every = f"no Parquet file to read, all objects are left out: {left_out_text(ignored)}"
    remedy = f"rename, convert or unpack what is data (see {RULES}), or remove it if there is nothing to label"
    return LeftOutError(asked, every, remedy)


def refuse_tables(found: InputObjects, access: S3Access) -> None:
    """Raise TableError if objects that would be read lie in a table: below the input, at it, or above it."""
    names = [pin.name for pin in found.pins if left_out(pin.name) is None]
    tables = dict.fromkeys(table for table in (table_of(pin.name) for pin in found.pins) if table is not None)
    for table_format, folder in tables:
        if any(name.startswith(folder) for name in names):
            raise _refused(found, table_format, found.folder.uri_of(folder.rstrip("/")) if folder else found.uri)
    if names:
        for uri in _around(found.uri):
            above = _format_at(uri, access)
            if above is not None:
                raise _refused(found, above, uri)


def _around(uri: str) -> Iterator[str]:
    """The folders above that the input may be a partition of."""
    while is_partition(uri.rpartition("/")[2]):
        uri = uri.rpartition("/")[0]
        if not uri or uri == "s3:/":
            return
        yield uri


def _format_at(uri: str, access: S3Access) -> TableFormat | None:
    """The format of the table at this folder; None also where there is no right to see it."""
    folder = storage.open_folder(uri, access)
    for table_format in TABLE_FORMATS:
        try:
            marks = folder.stored(table_format.log)
        except AccessError:
            continue  # who may list the input alone cannot know
        if any(table_of(mark.name) is not None for mark in marks):
            return table_format
    return None


def _refused(found: InputObjects, table_format: TableFormat, table: str) -> TableError:
    where = table_format.name if table == found.uri else f"{table_format.name} ({table})"
    told = f"its files are those of {where}, and may hold rows that were deleted, replaced or never committed"
    remedy = (
        f"export the rows first, as spark.read.{table_format.reader}(TABLE).write.parquet(FOLDER), and label FOLDER; "
        "or read every file all the same with --ignore-table-format"
    )
    return TableError(f"the input {found.uri}", told, remedy)
