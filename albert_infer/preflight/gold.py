"""Pairs with gold labels: found and read by the labelling job's own rules, and what a gold label may look like.

For fine-tuning, evaluation and the gate before a run. A gold set is refused as a whole where a file of it cannot be
read: a figure over the rest would be one over something else. Knows nothing of tokens, devices or Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.common.column_types import plain_type
from albert_infer.common.column_values import plain
from albert_infer.errors import InputError, LeftOutError, NoInputError, SettingsError, TableError
from albert_infer.model.label_order import label_called
from albert_infer.prepare import validation
from albert_infer.read import selection
from albert_infer.read.class_names import ClassNames
from albert_infer.read.decoding import kept_reader
from albert_infer.read.footers import RowRange, UnreadableError, clean, some
from albert_infer.read.planning import unit_ranges
from albert_infer.read.survey import BadFile, survey_input
from albert_infer.schema import (
    HYPOTHESIS,
    LABEL,
    NO_IDS,
    PREMISE,
    RESERVED_NAMES,
    LongPremiseRule,
    NliLabel,
    PairColumns,
    is_text,
)
from albert_infer.storage import DEFAULT_ACCESS, Folder, ObjectPin, S3Access

# The column that `read_slice` adds: the place of the gold label in `NliLabel`, NO_GOLD where the row has none.
GOLD: Final = "_gold"
NO_GOLD: Final = -1
# SNLI's mark for pairs on which the annotators did not agree, as text and as Hugging Face's number.
UNLABELLED: Final = frozenset({"", "-", "-1"})
# Hugging Face data sets of GLUE, SNLI and MultiNLI number the labels in the order of `NliLabel`. Numbers without names
# are read so.
CODES: Final = {
    **{str(label): code for code, label in enumerate(NliLabel)},
    **{str(code): code for code in range(len(NliLabel))},
    **dict.fromkeys(UNLABELLED, NO_GOLD),
}
# Rows read at a time: as many as a unit of the labelling job.
SLICE_ROWS: Final = 16_384


@dataclass(frozen=True)
class GoldColumns:
    """What the columns of a gold set are called, and which others are kept; as `planning.survey_input` asks for it."""

    gold_column: str = "gold_label"
    premise_column: str = PREMISE
    hypothesis_column: str = HYPOTHESIS
    kept: tuple[str, ...] = ()
    # Nobody looks at them, and a column that is called so need not hold any.
    id_column: str | None = NO_IDS
    carry_source: bool = False
    review_below: float | None = None
    long_premise: LongPremiseRule = "truncate"

    @property
    def carry(self) -> tuple[str, ...]:
        """The gold label, and the columns that are kept beside it."""
        return (self.gold_column, *(name for name in self.kept if name != self.gold_column))

    @property
    def reserved_names(self) -> frozenset[str]:
        """What a kept column must not be called; the gold labels may be called `label`, as many data sets have it."""
        return RESERVED_NAMES - ({LABEL} & {self.gold_column.lower()})


@dataclass(frozen=True)
class GoldSlice:
    """Consecutive rows of one pinned file; `names` are those that it gives the numbers of its gold column, if any."""

    pin: ObjectPin
    range: RowRange
    names: ClassNames = ()


@dataclass(frozen=True)
class GoldSet:
    """A gold set as found; every row of it is in exactly one slice, in input order. Small and picklable."""

    uri: str
    folder: Folder
    columns: PairColumns
    gold_column: str
    slices: tuple[GoldSlice, ...]

    @property
    def rows(self) -> int:
        """All rows, with a gold label or without."""
        return sum(piece.range.rows for piece in self.slices)

    @property
    def pins(self) -> list[list[object]]:
        """What was found, as JSON: the name, size and version of each file that has rows."""
        files = dict.fromkeys(piece.pin for piece in self.slices)
        return [[self.folder.uri_of(pin.name), pin.size, pin.version] for pin in files]

    @property
    def classes(self) -> list[ClassNames]:
        """What each of these files calls the numbers of its gold column."""
        return [names for _, names in dict.fromkeys((piece.pin, piece.names) for piece in self.slices)]


def survey_gold(
    flag: str, uri: str, columns: GoldColumns, access: S3Access = DEFAULT_ACCESS, slice_rows: int = SLICE_ROWS
) -> GoldSet:
    """The gold set at `uri`, from its footers. `flag` names the setting in messages.

    Raises InputError for one that is missing, empty, has no gold column, has a file that cannot be read, or numbers its
    labels so that nobody can say which is which.
    """
    try:
        survey = survey_input(selection.find_input(uri, access), columns)
    except (NoInputError, LeftOutError) as error:
        # Of the flag, not of the run: a night may have no input, but a gold set that is named must be there.
        raise InputError(f"{flag} {uri}", error.found, "give pairs with gold labels") from error
    except TableError as error:
        raise InputError(f"{flag} {uri}", error.found, "export the rows to plain Parquet and give those") from error
    except SettingsError as error:
        remedy = "name the column that holds the labels with --gold-column, and columns of the input"
        raise InputError(f"{flag} {uri} with column `{columns.gold_column}`", error.found, remedy) from error
    if survey.absent:
        found = f"no file has a column `{survey.absent[0]}`; the columns of the first are {some(survey.names)}"
        remedy = "name the columns of the texts with --premise-column and --hypothesis-column"
        raise InputError(f"{flag} {uri}", found, remedy)
    if survey.bad:
        raise _unreadable(flag, survey.bad[0])
    slices = tuple(
        GoldSlice(file.pin, cut, dict(file.classes).get(columns.gold_column, ()))
        for file in survey.files
        for cut in unit_ranges(file.row_groups, slice_rows)
    )
    if not slices:
        raise InputError(f"{flag} {uri}", "its files have no rows", "give pairs with gold labels")
    asked = f"{flag} {uri} with column `{columns.gold_column}`"
    found_type = next(field.type for field in survey.columns.carried if field.name == columns.gold_column)
    _refuse_type(_kind(plain_type(found_type)), asked, f"use {', '.join(NliLabel)}, or their numbers")
    refuse_unclear_numbers(asked, {piece.names: piece.pin.name for piece in slices})
    return GoldSet(uri, survey.folder, survey.columns, columns.gold_column, slices)


def read_slice(gold: GoldSet, piece: GoldSlice) -> pa.Table:
    """The rows of one slice, in order: `_gold` (int8) in the gold column's place, `rejection` and `detail` added.

    Rows that the labelling job would reject carry their rejection. Fastest in the order of the slices, and not for
    several threads. Raises InputError for pages that cannot be decoded and for a gold label that is none.
    """
    where = gold.folder.uri_of(piece.pin.name)
    try:
        reader = kept_reader(gold.folder, gold.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed
        pairs = reader.read(piece.pin, piece.range)
    except UnreadableError as error:
        raise InputError(
            f"the gold labels in {where}", f"{error.reason}: {error.detail}", "replace the file"
        ) from error
    codes = gold_codes(pairs[gold.gold_column], f"column `{gold.gold_column}` of {where}", piece.names)
    pairs = pairs.drop_columns([gold.gold_column])
    return validation.mark_rejected(pairs).append_column(GOLD, pa.array(codes))


def gold_codes(labels: pa.ChunkedArray, where: str, names: ClassNames = ()) -> NDArray[np.int8]:
    """The place of each label in `NliLabel`, NO_GOLD for null, `-` and -1 (int8, as many as `labels`).

    Labels are the three names in any case, or whole numbers, as floats too: of the `names` that their file gives them,
    else 0 entailment, 1 neutral, 2 contradiction. Raises InputError for other names, and with the first value that is
    no label.
    """
    labels = _whole(pa.chunked_array([plain(chunk) for chunk in labels.chunks], plain_type(labels.type)), where)
    kind = _kind(labels.type)
    numbered = pa.types.is_integer(kind)
    known = codes_of_numbers(names, where) if numbered and names else CODES
    numbers = "0, 1, 2 in this order" if known is CODES else f"the number of one of its classes {', '.join(names)}"
    expected = clean(f"use {', '.join(NliLabel)}, or {numbers}, and - or -1 for none")
    _refuse_type(kind, where, expected)
    distinct = _as_texts(labels, where, expected).dictionary_encode().combine_chunks()
    codes = np.full(len(distinct.dictionary) + 1, NO_GOLD, np.int8)
    for place, label in enumerate(distinct.dictionary.to_pylist()):
        code = known.get(label.strip().lower())
        if code is None:
            raise InputError(where, f"the gold label `{clean(label)}`", expected)
        codes[place] = code
    # A null has no place in the dictionary: it is sent to the last, which is no label.
    places = distinct.indices.fill_null(len(distinct.dictionary)).to_numpy(zero_copy_only=False)
    found: NDArray[np.int8] = codes[places]
    return found


def _kind(told: pa.DataType) -> pa.DataType:
    return told.value_type if pa.types.is_dictionary(told) else told


def _refuse_type(kind: pa.DataType, where: str, expected: str) -> None:
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (is_text(kind) or _is_bytes(kind) or numbers or pa.types.is_null(kind)):
        raise InputError(where, f"gold labels of type {kind}", expected)


def codes_of_numbers(names: ClassNames, where: str) -> dict[str, int]:
    """The place in `NliLabel` of each number, as text, by these names; NO_GOLD for -1 and for names of no label.

    Raises InputError unless each of the three labels is named once.
    """
    labels = [label_called(name) for name in names]
    unknown = [name for name, label in zip(names, labels, strict=True) if label is None and name not in UNLABELLED]
    if unknown or sorted(filter(None, labels)) != sorted(NliLabel):
        found = clean(f"numbers of {len(names)} classes: {', '.join(names)}")
        raise InputError(where, found, f"give each pair one of {', '.join(NliLabel)}, or - for none, as text")
    order = list(NliLabel)
    codes = {str(number): order.index(label) if label else NO_GOLD for number, label in enumerate(labels)}
    return {**dict.fromkeys(UNLABELLED, NO_GOLD), **codes}


def refuse_unclear_numbers(asked: str, file_with: Mapping[ClassNames, str]) -> None:
    """Raise InputError for names that are not ours, and where only some files say that they have another order.

    `file_with` has one file for each tuple of names that any file gives the numbers of its gold column.
    """
    for names, file in file_with.items():
        if names and not codes_of_numbers(names, asked).items() <= CODES.items() and () in file_with:
            found = f"{file} calls its numbers {', '.join(names)}, and {file_with[()]} does not say what its own mean"
            raise InputError(asked, clean(found), "write the labels of every file as text")


def _whole(labels: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Floats as the whole numbers that they are, null for NaN: pandas has integers with a hole so."""
    if not pa.types.is_floating(labels.type):
        return labels
    try:
        return pc.if_else(pc.is_nan(labels), pa.scalar(None, labels.type), labels).cast(pa.int64())
    except pa.ArrowInvalid as error:
        found = f"gold labels of type {labels.type} that are no whole numbers"
        raise InputError(where, found, "give labels, and no scores or probabilities") from error


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether these are texts to Parquet that Arrow takes for bytes, as an ENUM's names are."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_texts(labels: pa.ChunkedArray, where: str, expected: str) -> pa.ChunkedArray:
    try:
        return labels.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise InputError(where, "gold labels that are not UTF-8", expected) from error


def _unreadable(flag: str, bad: BadFile) -> InputError:
    remedy = "replace or remove the file: a gold set is read whole or not at all"
    return InputError(f"{flag} with {bad.uri}", f"{bad.reason}: {bad.detail}", remedy)
