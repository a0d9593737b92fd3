"""Reads the ids and texts in a file of hypotheses: Parquet, JSON lines or CSV. Does not check the values.

Every message names the line or row. No message has more than a few words of the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.common.json_input import parsed_json
from albert_infer.common.printable import one_line, printable
from albert_infer.read.decoded_size import MAX_DECODED_BYTES, rows_at_a_time
from albert_infer.read.footers import redacted
from albert_infer.schema import HYPOTHESIS, HYPOTHESIS_ID, is_text

# The characters of a file that a message shows.
SHOWN_LETTERS: Final = 80
# One id and one text, each far below this, in any form of JSON.
MAX_LINE_BYTES: Final = 1 << 20
COLUMNS: Final = (HYPOTHESIS_ID, HYPOTHESIS)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_KINDS: Final = {bool: "true or false", float: "a number that is not whole", list: "a list", dict: "an object"}


class EntryError(ValueError):
    """A fault of the file: where it is and what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True)
class Entry:
    """One hypothesis as it was given. `where` names its line or row. Texts of Parquet are bytes, None is null."""

    where: str
    identifier: str | bytes | None
    text: str | bytes | None


def entries_of(name: str) -> Callable[[bytes], Iterator[Entry]] | None:
    """The reader for a file of this name, by its suffix; None for an unknown one. It raises EntryError."""
    return _READERS.get(PurePosixPath(name).suffix.lower())


def shown(text: str) -> str:
    """The beginning of a text, in one line, for a message."""
    return f"`{printable(text[:SHOWN_LETTERS])}{'…' if len(text) > SHOWN_LETTERS else ''}`"


def _json_lines(data: bytes) -> Iterator[Entry]:
    remedy = f'write one JSON object a line, as {{"{HYPOTHESIS_ID}": "a", "{HYPOTHESIS}": "It is about a."}}'
    for number, line in enumerate(io.BytesIO(data.removeprefix(_BYTE_ORDER_MARK)), 1):
        where = f"line {number:,}"
        if not line.strip():
            continue
        try:
            value = parsed_json(line.strip(), max_bytes=MAX_LINE_BYTES)
        except ValueError as error:
            # Of the line, the JSON parser knows only the column.
            raise EntryError(f"{where}: {one_line(error).replace('at line 1, column', 'at column')}", remedy) from error
        if not isinstance(value, dict):
            raise EntryError(f"{where} is {_kind(value)}, and no JSON object", remedy)
        for name in COLUMNS:
            if name not in value:
                raise EntryError(f"{where} has no `{name}`, but {_names(list(value))}", remedy)
        identifier, text = (value[name] for name in COLUMNS)
        if isinstance(identifier, int) and not isinstance(identifier, bool):
            identifier = str(identifier)
        if not isinstance(identifier, str | None):
            raise EntryError(f"{where}: `{HYPOTHESIS_ID}` is {_kind(identifier)}", "give text or a whole number")
        if not isinstance(text, str | None):
            raise EntryError(f"{where}: `{HYPOTHESIS}` is {_kind(text)}", "give text")
        yield Entry(where, identifier, text)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), "text" if isinstance(value, str) else "a number")


def _csv(data: bytes) -> Iterator[Entry]:
    rows = _csv_rows(data)
    first = next(rows, None)
    if first is None:
        return
    header = first[1]
    _refuse_names(header, "begin the file with a line of names between commas, as hypothesis_id,hypothesis")
    positions = [header.index(name) for name in COLUMNS]
    for line, fields in rows:
        where = f"line {line:,}"
        if len(fields) != len(header):
            problem = f"{where} has {len(fields):,} fields, and the first line has {len(header):,}"
            raise EntryError(problem, 'put a text that has a comma between double quotes, as "a, b"')
        identifier, text = (fields[position] for position in positions)
        yield Entry(where, identifier, text)


def _csv_rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with the number of its first line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise EntryError(f"line {line:,} is not UTF-8", "save the file as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            remedy = 'close each double quote, and write a double quote inside a text as ""'
            raise EntryError(f"line {line:,} is not CSV: {one_line(error)}", remedy) from error
        if fields is None:
            return
        if fields:
            yield line, fields


def _parquet(data: bytes) -> Iterator[Entry]:
    try:
        yield from _parquet_entries(data)
    except (pa.ArrowException, OSError) as error:
        problem = f"it cannot be read as Parquet: {redacted(error)[:SHOWN_LETTERS]}"
        raise EntryError(problem, "write the file again") from error


def _parquet_entries(data: bytes) -> Iterator[Entry]:
    buffer = pa.BufferReader(data)
    options = {"arrow_extensions_enabled": False, "pre_buffer": False}
    metadata = pq.read_metadata(buffer)
    file = pq.ParquetFile(buffer, metadata=metadata, **options)
    _refuse_names(file.schema_arrow.names, f"name the columns {HYPOTHESIS_ID} and {HYPOTHESIS}")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    decoded = sum(
        group.column(column).total_uncompressed_size for group in groups for column in range(group.num_columns)
    )
    if decoded > MAX_DECODED_BYTES:
        raise EntryError(f"it has {decoded:,} bytes without compression, at most {MAX_DECODED_BYTES:,}", "shorten it")
    texts = [name for name in COLUMNS if _refuse_type(name, file.schema_arrow.field(name).type)]
    # A dictionary of a few bytes can make gigabytes of text.
    at_a_time = rows_at_a_time(buffer, metadata, list(range(len(groups))), texts)
    row = 0
    for batch in file.iter_batches(at_a_time, columns=list(COLUMNS), use_threads=False):
        ids, hypotheses = (_bytes(batch.column(name)) for name in COLUMNS)
        for identifier, text in zip(ids, hypotheses, strict=True):
            row += 1
            yield Entry(f"row {row:,}", identifier, text)


def _refuse_type(name: str, kind: pa.DataType) -> bool:
    """Whether a column holds text. Raises EntryError for a type that is neither text nor, of ids, a whole number."""
    if is_text(kind) or pa.types.is_null(kind):
        return is_text(kind)
    if name == HYPOTHESIS_ID and pa.types.is_integer(kind):
        return False
    expected = "text or whole numbers" if name == HYPOTHESIS_ID else "text"
    raise EntryError(f"the column `{name}` is of type {kind!s:.{SHOWN_LETTERS}}", f"write it as {expected}")


def _bytes(column: pa.Array) -> list[bytes | None]:
    """The texts as bytes, because texts of Parquet may be no UTF-8."""
    texts: list[bytes | None] = column.cast(pa.string()).cast(pa.binary()).to_pylist()
    return texts


def _refuse_names(names: Sequence[str], remedy: str) -> None:
    for name in COLUMNS:
        if name not in names:
            raise EntryError(f"it has no column `{name}`, but {_names(names)}", remedy)
        if names.count(name) > 1:
            raise EntryError(f"it has {names.count(name):,} columns `{name}`", "leave one of them")


def _names(names: Sequence[str]) -> str:
    return shown(", ".join(names)) if names else "no column"


_READERS: Final[dict[str, Callable[[bytes], Iterator[Entry]]]] = {
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
}
SUFFIXES: Final = tuple(_READERS)
