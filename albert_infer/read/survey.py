"""An input as it is found: which objects are read, which cannot be, and the columns that they have together.

Footers only; no row is decoded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from albert_infer.errors import InputError
from albert_infer.read import selection
from albert_infer.read.class_names import ClassNames, class_names
from albert_infer.read.columns import ColumnSettings, FileColumns, run_columns
from albert_infer.read.fitness import unfit
from albert_infer.read.footers import Footer, UnreadableError, clean, read_footer, some
from albert_infer.schema import PairColumns
from albert_infer.storage import AccessError, DeadLinkError, Folder, InputObjects, ObjectPin

# Footers are waits, not work.
FOOTER_THREADS: Final = 16


@dataclass(frozen=True)
class InputFile:
    """A readable input object, pinned, with the rows of each of its row groups.

    `classes` are the carried columns whose numbers the file names, each with its names.
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
    """An input object that cannot be read, and why. `rows` is None where it has no readable footer."""

    uri: str
    size: int
    version: str
    reason: str
    detail: str
    rows: int | None


@dataclass(frozen=True)
class Survey:
    """The input as found: every object is in exactly one of `files`, `bad` and `ignored`."""

    folder: Folder
    columns: PairColumns
    files: tuple[InputFile, ...]
    bad: tuple[BadFile, ...]
    # Names of objects that are no input by rule, and the rule.
    ignored: dict[str, str]
    # The columns of the first file that has a footer, and those of the run that no file has.
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    # Columns that were asked for with all others, and that only the paths of the files hold.
    in_paths: tuple[str, ...] = ()

    def refuse_unreadable(self, settings: ColumnSettings) -> None:
        """Raise InputError if no row of the files can be read: nothing would be published, whatever limits allow."""
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
            has = f"none of {files:,} files has it; the columns of the first are {some(self.names)}"
            raise InputError(asked, has, f"name the columns of the input with {' and '.join(dict.fromkeys(named))}")
        found = f"none of its {files:,} files can be read, first {first.uri}: {first.reason} ({first.detail})"
        raise InputError(f"the input {self.folder.uri}", found, "mend or replace the files; only Parquet is read")

    def refuse_mixed_classes(self) -> None:
        """Raise InputError where two files give the numbers of a carried column other names: the output has one."""
        first: dict[str, tuple[InputFile, ClassNames]] = {}
        for file in self.files:
            for name, names in file.classes:
                other, before = first.setdefault(name, (file, names))
                if names != before:
                    one, two = (self.folder.uri_of(entry.pin.name) for entry in (other, file))
                    told = [clean(", ".join(order)) for order in (before, names)]
                    found = f"{one} calls its numbers {told[0]}, and {two} calls them {told[1]}"
                    remedy = "do not carry it, or write its labels as text in every file"
                    raise InputError(f"--carry {clean(name)}", found, remedy)


def survey_input(found: InputObjects, settings: ColumnSettings) -> Survey:
    """Read every footer and decide which columns the run has, of one type for all its files.

    Raises NoInputError if there is nothing, InputError if all of it is left out or there is no right to read it,
    SettingsError for a carried column that is not there or clashes.
    """
    folder = found.folder
    try:
        candidates, ignored = selection.select(found)
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            footers = list(threads.map(lambda pin: _footer(folder, pin), candidates))
    except (AccessError, DeadLinkError) as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    if not candidates:
        raise selection.no_input(found, ignored)
    readable = {
        pin: FileColumns(folder.uri_of(pin.name), footer.schema)
        for pin, footer in zip(candidates, footers, strict=True)
        if isinstance(footer, Footer)
    }
    # A file without rows does not decide, unless no file has any.
    full = [readable[pin] for pin, footer in zip(candidates, footers, strict=True) if _rows(footer)]
    found_columns = run_columns(full or [*readable.values()], [pin.name for pin in candidates], settings)
    columns = found_columns.columns
    files, bad = [], []
    for pin, footer in zip(candidates, footers, strict=True):
        trouble = unfit(footer, columns, found_columns.origins) if isinstance(footer, Footer) else footer
        if trouble is None and isinstance(footer, Footer):
            carried = (field.name for field in columns.carried)
            classes = tuple(class_names(footer.schema, carried).items()) if _rows(footer) else ()
            files.append(InputFile(pin, footer.row_groups, classes))
        elif trouble is not None:
            bad.append(
                BadFile(
                    folder.uri_of(pin.name), pin.size, pin.version, str(trouble.reason), trouble.detail, _rows(footer)
                )
            )
    columns = replace(columns, classes=_classes_of_all(files, columns))
    names = tuple(next(iter(readable.values())).schema.names) if readable else ()
    there = {name for file in readable.values() for name in file.schema.names}
    absent = tuple(name for name in columns.input_names if readable and name not in there)
    return Survey(folder, columns, tuple(files), tuple(bad), ignored, names, absent, found_columns.in_paths)


def _footer(folder: Folder, pin: ObjectPin) -> Footer | UnreadableError:
    try:
        return read_footer(folder, pin)
    except UnreadableError as error:
        return error


def _rows(footer: Footer | UnreadableError) -> int | None:
    return footer.rows if isinstance(footer, Footer) else None


def _classes_of_all(files: Sequence[InputFile], columns: PairColumns) -> tuple[tuple[str, ClassNames], ...]:
    """The carried columns of whole numbers that all files with rows give the same names."""
    told = [dict(file.classes) for file in files if file.rows]
    whole = [field.name for field in columns.carried if pa.types.is_integer(field.type)]
    names = {name: {classes.get(name, ()) for classes in told} for name in whole}
    return tuple((name, next(iter(found))) for name, found in names.items() if len(found) == 1 and found != {()})
