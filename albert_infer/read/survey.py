"""Surveys an input: the objects to read, the objects that cannot be read, and the columns of the run.

Reads footers only. Decodes no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from albert_infer.common import logs
from albert_infer.errors import InputError
from albert_infer.read import selection
from albert_infer.read.class_names import ClassNames, class_names
from albert_infer.read.columns import ColumnSettings, FileColumns, run_columns
from albert_infer.read.fitness import footer_error
from albert_infer.read.footers import Footer, UnreadableError, clean, read_footer, some
from albert_infer.schema import MAX_PAIRS, Expansion, PairColumns
from albert_infer.storage import AccessError, DeadLinkError, Folder, InputObjects, ObjectPin

# Reading a footer mostly waits for the store.
FOOTER_THREADS: Final = 16
# The bytes of an English sentence with its space, in news and in summaries.
SENTENCE_BYTES: Final = 120
# The share of a row's sentences that its hypothesis has, if both texts are split: a summary of a document.
SUMMARY_SHARE: Final = 1 / 8


@dataclass(frozen=True)
class InputFile:
    """A readable input object, pinned, with the number of rows of each row group.

    `classes` are the carried columns with class names, each with its names.
    """

    pin: ObjectPin
    row_groups: tuple[int, ...]
    classes: tuple[tuple[str, ClassNames], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class BadFile:
    """An input object that cannot be read, and the reason. `rows` is None without a readable footer."""

    uri: str
    size: int
    version: str
    reason: str
    detail: str
    rows: int | None


@dataclass(frozen=True)
class Survey:
    """A surveyed input. Every object is in exactly one of `files`, `bad` and `ignored`."""

    folder: Folder
    columns: PairColumns
    files: tuple[InputFile, ...]
    bad: tuple[BadFile, ...]
    # Names of objects that a rule excludes, and the rule.
    ignored: dict[str, str]
    # The columns of the first file with a footer, and the columns of the run that no file has.
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    # Columns that `--carry all` leaves out, because only the paths of files have them.
    in_paths: tuple[str, ...] = ()
    # The bytes of all columns of each file before compression, by the file's name.
    plain_bytes: Mapping[str, int] = field(default_factory=dict)

    def pairs_per_row(self, file: InputFile) -> int:
        """The pairs of a row of the file. For texts in sentences, an estimate by the bytes in the file's footer.

        The footer's bytes of each column are not read, because a damaged footer may end the process there.
        """
        expansion = self.columns.expansion
        if expansion is None:
            return 1
        if expansion.hypotheses is not None and not expansion.split_premise:
            return len(expansion.hypotheses)
        sentences = self.plain_bytes[file.pin.name] / max(file.rows, 1) / SENTENCE_BYTES
        if expansion.hypotheses is not None:
            pairs = sentences * len(expansion.hypotheses)
        elif expansion.split_premise and expansion.split_hypothesis:
            pairs = sentences * (1 - SUMMARY_SHARE) * max(sentences * SUMMARY_SHARE, 1)
        else:
            pairs = sentences
        return min(max(round(pairs), 1), MAX_PAIRS)

    def refuse_unreadable(self, settings: ColumnSettings) -> None:
        """Raise InputError if no row of the files can be read, whatever the limits for bad files allow."""
        if not self.bad or any(file.rows for file in self.files):
            return
        files, first = len(self.bad), self.bad[0]
        if self.absent:
            flags = {
                settings.premise_column: "--premise-column",
                settings.hypothesis_column: "--hypothesis-column",
                settings.id_column: "--id-column",
            }
            named = [flags.get(name, "--carry") for name in self.absent]
            asked = ", ".join(f"{flag} {name}" for flag, name in zip(named, self.absent, strict=True))
            columns = f"none of {files:,} files has it; the columns of the first are {some(self.names)}"
            raise InputError(asked, columns, f"name the columns of the input with {' and '.join(dict.fromkeys(named))}")
        reason = f"none of its {files:,} files can be read, first {first.uri}: {first.reason} ({first.detail})"
        raise InputError(f"the input {self.folder.uri}", reason, "repair or replace the files; only Parquet is read")

    def warn_of_columns_in_paths(self) -> None:
        """Warn of columns that --carry all leaves out: they are in the paths of the files, and not in the files."""
        if self.in_paths:
            names = ", ".join(f"`{name}`" for name in self.in_paths)
            why = "they are in the paths of the files and not in the files; --carry-source keeps each row's path"
            logs.warn("columns_not_carried", f"--carry all leaves out {names}: {why}")

    def refuse_mixed_classes(self) -> None:
        """Raise InputError if two files have different class names for a carried column: the output has one list."""
        first: dict[str, tuple[InputFile, ClassNames]] = {}
        for file in self.files:
            for name, names in file.classes:
                other, before = first.setdefault(name, (file, names))
                if names != before:
                    one, two = (self.folder.uri_of(entry.pin.name) for entry in (other, file))
                    lists = [clean(", ".join(order)) for order in (before, names)]
                    difference = f"{one} calls its numbers {lists[0]}, and {two} calls them {lists[1]}"
                    remedy = "do not carry it, or write its labels as text in every file"
                    raise InputError(f"--carry {clean(name)}", difference, remedy)


def survey_input(input_objects: InputObjects, settings: ColumnSettings, expansion: Expansion | None = None) -> Survey:
    """Read every footer, and decide the columns of the run, with one type for all files.

    Raises NoInputError if there is no input. Raises InputError if all objects are excluded, or without the permission
    to read them. Raises SettingsError for a carried column that is missing or has the name of an output column.
    """
    folder = input_objects.folder
    try:
        candidates, ignored = selection.select(input_objects)
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            footers = list(threads.map(lambda pin: _footer(folder, pin), candidates))
    except (AccessError, DeadLinkError) as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    if not candidates:
        raise selection.no_input(input_objects, ignored)
    readable = {
        pin: FileColumns(folder.uri_of(pin.name), footer.schema)
        for pin, footer in zip(candidates, footers, strict=True)
        if isinstance(footer, Footer)
    }
    # A file without rows does not decide the columns, unless all files are without rows.
    with_rows = [readable[pin] for pin, footer in zip(candidates, footers, strict=True) if _rows(footer)]
    of_run = run_columns(with_rows or [*readable.values()], [pin.name for pin in candidates], settings, expansion)
    columns = of_run.columns
    files, bad = [], []
    for pin, footer in zip(candidates, footers, strict=True):
        fault = footer_error(footer, columns, of_run.origins) if isinstance(footer, Footer) else footer
        if fault is None and isinstance(footer, Footer):
            carried = (field.name for field in columns.carried)
            classes = tuple(class_names(footer.schema, carried).items()) if _rows(footer) else ()
            files.append(InputFile(pin, footer.row_groups, classes))
        elif fault is not None:
            uri, reason = folder.uri_of(pin.name), str(fault.reason)
            bad.append(BadFile(uri, pin.size, pin.version, reason, fault.detail, _rows(footer)))
    columns = replace(columns, classes=_classes_of_all(files, columns))
    names = tuple(next(iter(readable.values())).schema.names) if readable else ()
    in_files = {name for file in readable.values() for name in file.schema.names}
    absent = tuple(name for name in columns.input_names if readable and name not in in_files)
    sizes = {
        pin.name: footer.plain_bytes
        for pin, footer in zip(candidates, footers, strict=True)
        if isinstance(footer, Footer)
    }
    return Survey(folder, columns, tuple(files), tuple(bad), ignored, names, absent, of_run.in_paths, sizes)


def _footer(folder: Folder, pin: ObjectPin) -> Footer | UnreadableError:
    try:
        return read_footer(folder, pin)
    except UnreadableError as error:
        return error


def _rows(footer: Footer | UnreadableError) -> int | None:
    return footer.rows if isinstance(footer, Footer) else None


def _classes_of_all(files: Sequence[InputFile], columns: PairColumns) -> tuple[tuple[str, ClassNames], ...]:
    """The carried columns of whole numbers that have the same class names in all files with rows."""
    by_file = [dict(file.classes) for file in files if file.rows]
    whole = [field.name for field in columns.carried if pa.types.is_integer(field.type)]
    names = {name: {classes.get(name, ()) for classes in by_file} for name in whole}
    return tuple((name, next(iter(lists))) for name, lists in names.items() if len(lists) == 1 and lists != {()})
