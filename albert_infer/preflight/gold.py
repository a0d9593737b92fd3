"""Reads pairs with gold labels by the rules of the labelling job, and defines the forms of a gold label.

Fine-tuning, evaluation and the gate before a run use it. A gold set with an unreadable file is refused as a whole,
because figures over the other files would not describe the gold set. Does not use tokens, devices or Ray.
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
from albert_infer.read.decoding import cached_reader
from albert_infer.read.footers import RowRange, UnreadableError, clean, some
from albert_infer.read.planning import unit_ranges
from albert_infer.read.survey import BadFile, survey_input
from albert_infer.schema import (
    HYPOTHESIS,
    LABEL,
    NO_IDS,
    PREMISE,
    RESERVED_NAMES,
    THREE_LABELS,
    TWO_LABELS,
    LabelSet,
    LongPremiseRule,
    PairColumns,
    folded,
    is_text,
)
from albert_infer.storage import DEFAULT_ACCESS, Folder, ObjectPin, S3Access

# The column that `read_slice` adds: the index of the gold label in `GoldSet.labels`; NO_GOLD for a row without one.
GOLD: Final = "_gold"
NO_GOLD: Final = -1
# SNLI's marks for pairs without agreement of the annotators: as text, and as a number by Hugging Face.
UNLABELLED: Final = frozenset({"", "-", "-1"})
# Hugging Face data sets of GLUE, SNLI and MultiNLI number the labels in the order of `NliLabel`. Numbers without names
# have this order. Of two labels, 0 is `entailment`, as in QNLI and RTE of GLUE, and 1 and 2 are `not_entailment`.
CODES: Final[Mapping[LabelSet, Mapping[str, int]]] = {
    labels: {
        **{str(label): labels.index(folded(label, labels)) for label in (*THREE_LABELS, *labels)},
        **{str(number): labels.index(folded(label, labels)) for number, label in enumerate(THREE_LABELS)},
        **dict.fromkeys(UNLABELLED, NO_GOLD),
    }
    for labels in (THREE_LABELS, TWO_LABELS)
}
# The names and the numbers that a gold label may have, for messages.
NAMES: Final = {
    THREE_LABELS: ", ".join(THREE_LABELS),
    TWO_LABELS: ", ".join(dict.fromkeys((*TWO_LABELS, *THREE_LABELS))),
}
NUMBERS: Final = {THREE_LABELS: "0, 1, 2 in this order", TWO_LABELS: "0 for entailment, 1 or 2 for not_entailment"}
# Rows per slice: the default unit of the labelling job.
SLICE_ROWS: Final = 16_384


@dataclass(frozen=True)
class GoldColumns:
    """The columns of a gold set, in the form for `survey_input`. `extra` are further columns to read."""

    gold_column: str = "gold_label"
    premise_column: str = PREMISE
    hypothesis_column: str = HYPOTHESIS
    extra: tuple[str, ...] = ()
    # Ids are not read, and a column with that name need not have ids.
    id_column: str | None = NO_IDS
    carry_source: bool = False
    review_below: float | None = None
    long_premise: LongPremiseRule = "truncate"

    @property
    def carry(self) -> tuple[str, ...]:
        """The column of gold labels, and the further columns."""
        return (self.gold_column, *(name for name in self.extra if name != self.gold_column))

    @property
    def reserved_names(self) -> frozenset[str]:
        """Names that a further column must not have. The gold column may be `label`, as in many data sets."""
        return RESERVED_NAMES - ({LABEL} & {self.gold_column.lower()})


@dataclass(frozen=True)
class GoldSlice:
    """Consecutive rows of one pinned file. `names` are the file's class names of the gold column, if it has any."""

    pin: ObjectPin
    range: RowRange
    names: ClassNames = ()


@dataclass(frozen=True)
class GoldSet:
    """The files and columns of a gold set. Every row is in exactly one slice, in input order. Small and picklable.

    `labels` are those of the checkpoint that the set measures. A set with three labels measures two labels too: neutral
    and contradiction are then `not_entailment`.
    """

    uri: str
    folder: Folder
    columns: PairColumns
    gold_column: str
    slices: tuple[GoldSlice, ...]
    labels: LabelSet = THREE_LABELS

    @property
    def rows(self) -> int:
        """The number of rows, with or without a gold label."""
        return sum(piece.range.rows for piece in self.slices)

    @property
    def pins(self) -> list[list[object]]:
        """The name, size and version of each file with rows, as JSON."""
        files = dict.fromkeys(piece.pin for piece in self.slices)
        return [[self.folder.uri_of(pin.name), pin.size, pin.version] for pin in files]

    @property
    def classes(self) -> list[ClassNames]:
        """The class names of the gold column in each of these files."""
        return [names for _, names in dict.fromkeys((piece.pin, piece.names) for piece in self.slices)]


def survey_gold(
    flag: str,
    uri: str,
    columns: GoldColumns,
    access: S3Access = DEFAULT_ACCESS,
    slice_rows: int = SLICE_ROWS,
    labels: LabelSet = THREE_LABELS,
) -> GoldSet:
    """The gold set at `uri`, from its footers, for a checkpoint with these `labels`. `flag` names the setting.

    Raises InputError if it is missing or empty, has no gold column or an unreadable file, or if its label numbers are
    ambiguous.
    """
    try:
        survey = survey_input(selection.find_input(uri, access), columns)
    except (NoInputError, LeftOutError) as error:
        # A night may have no input, but a gold set must exist. So this is another error, with the flag.
        raise InputError(f"{flag} {uri}", error.problem, "give pairs with gold labels") from error
    except TableError as error:
        raise InputError(f"{flag} {uri}", error.problem, "export the rows to plain Parquet and give those") from error
    except SettingsError as error:
        remedy = "name the column that holds the labels with --gold-column, and columns of the input"
        raise InputError(f"{flag} {uri} with column `{columns.gold_column}`", error.problem, remedy) from error
    if survey.absent:
        problem = f"no file has a column `{survey.absent[0]}`; the first has the columns {some(survey.names)}"
        remedy = "name the columns of the texts with --premise-column and --hypothesis-column"
        raise InputError(f"{flag} {uri}", problem, remedy)
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
    gold_type = next(field.type for field in survey.columns.carried if field.name == columns.gold_column)
    _refuse_type(_kind(plain_type(gold_type)), asked, f"use {NAMES[labels]}, or their numbers")
    refuse_unclear_numbers(asked, {piece.names: piece.pin.name for piece in slices}, labels)
    return GoldSet(uri, survey.folder, survey.columns, columns.gold_column, slices, labels)


def read_slice(gold: GoldSet, piece: GoldSlice) -> pa.Table:
    """The rows of one slice, in order, with `_gold` (int8) instead of the gold column, `rejection` and `detail`.

    Rows that the labelling job would reject have their rejection. Reading is fastest in the order of the slices. Not
    thread-safe. Raises InputError for pages that cannot be decoded, and for an invalid gold label.
    """
    where = gold.folder.uri_of(piece.pin.name)
    try:
        reader = cached_reader(gold.folder, gold.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed
        pairs = reader.read(piece.pin, piece.range)
    except UnreadableError as error:
        raise InputError(
            f"the gold labels in {where}", f"{error.reason}: {error.detail}", "replace the file"
        ) from error
    codes = gold_codes(pairs[gold.gold_column], f"column `{gold.gold_column}` of {where}", piece.names, gold.labels)
    pairs = pairs.drop_columns([gold.gold_column])
    return validation.mark_rejected(pairs).append_column(GOLD, pa.array(codes))


def gold_codes(
    gold: pa.ChunkedArray, where: str, names: ClassNames = (), labels: LabelSet = THREE_LABELS
) -> NDArray[np.int8]:
    """The index of each gold label in `labels`; NO_GOLD for null, `-` and -1 (int8, one for each of `gold`).

    Gold labels are the names of labels in any case, or whole numbers, also as floats. Numbers mean the file's class
    `names`, or without names 0 entailment, 1 neutral, 2 contradiction. Raises InputError for other names, and for the
    first value that is not a label.
    """
    gold = _whole(pa.chunked_array([plain(chunk) for chunk in gold.chunks], plain_type(gold.type)), where)
    kind = _kind(gold.type)
    numbered = pa.types.is_integer(kind) and bool(names)
    known = codes_of_numbers(names, where, labels) if numbered else CODES[labels]
    numbers = f"the number of one of its classes {', '.join(names)}" if numbered else NUMBERS[labels]
    expected = clean(f"use {NAMES[labels]}, or {numbers}, and - or -1 for no label")
    _refuse_type(kind, where, expected)
    distinct = _as_texts(gold, where, expected).dictionary_encode().combine_chunks()
    codes = np.full(len(distinct.dictionary) + 1, NO_GOLD, np.int8)
    for index, label in enumerate(distinct.dictionary.to_pylist()):
        code = known.get(label.strip().lower())
        if code is None:
            raise InputError(where, f"the gold label `{clean(label)}`", expected)
        codes[index] = code
    # A null is not in the dictionary. It gets the last index, whose code is NO_GOLD.
    indices = distinct.indices.fill_null(len(distinct.dictionary)).to_numpy(zero_copy_only=False)
    label_codes: NDArray[np.int8] = codes[indices]
    return label_codes


def _kind(column_type: pa.DataType) -> pa.DataType:
    return column_type.value_type if pa.types.is_dictionary(column_type) else column_type


def _refuse_type(kind: pa.DataType, where: str, expected: str) -> None:
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (is_text(kind) or _is_bytes(kind) or numbers or pa.types.is_null(kind)):
        raise InputError(where, f"gold labels of type {kind}", expected)


def codes_of_numbers(names: ClassNames, where: str, labels: LabelSet = THREE_LABELS) -> dict[str, int]:
    """The index in `labels` of each number, as text, by these class names; NO_GOLD for -1 and for names such as `-`.

    Raises InputError unless the names have each of the three labels once, or each of `labels`.
    """
    called = [label_called(name) for name in names]
    unknown = [name for name, label in zip(names, called, strict=True) if label is None and name not in UNLABELLED]
    if unknown or sorted(filter(None, called)) not in (sorted(THREE_LABELS), sorted(labels)):
        problem = clean(f"numbers of {len(names)} classes: {', '.join(names)}")
        raise InputError(where, problem, f"give each pair one of {NAMES[labels]}, or - for no label, as text")
    codes = {
        str(number): labels.index(folded(label, labels)) if label else NO_GOLD for number, label in enumerate(called)
    }
    return {**dict.fromkeys(UNLABELLED, NO_GOLD), **codes}


def refuse_unclear_numbers(asked: str, file_with: Mapping[ClassNames, str], labels: LabelSet = THREE_LABELS) -> None:
    """Raise InputError for unknown class names, and if only some files name their classes, in another order.

    `file_with` has one file for each tuple of class names of the gold column.
    """
    for names, file in file_with.items():
        if names and not codes_of_numbers(names, asked, labels).items() <= CODES[labels].items() and () in file_with:
            problem = f"{file} names its numbers {', '.join(names)}, but {file_with[()]} has no names for its numbers"
            raise InputError(asked, clean(problem), "write the labels of every file as text")


def _whole(gold: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Floats as whole numbers, and NaN as null: pandas stores integers with missing values as floats."""
    if not pa.types.is_floating(gold.type):
        return gold
    try:
        return pc.if_else(pc.is_nan(gold), pa.scalar(None, gold.type), gold).cast(pa.int64())
    except pa.ArrowInvalid as error:
        problem = f"gold labels of type {gold.type} that are not whole numbers"
        raise InputError(where, problem, "give labels, not scores or probabilities") from error


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether Arrow reads these texts as bytes, as it reads an ENUM of Parquet."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_texts(labels: pa.ChunkedArray, where: str, expected: str) -> pa.ChunkedArray:
    try:
        return labels.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise InputError(where, "gold labels that are not UTF-8", expected) from error


def _unreadable(flag: str, bad: BadFile) -> InputError:
    remedy = "replace or remove the file: a gold set is read completely, or not at all"
    return InputError(f"{flag} with {bad.uri}", f"{bad.reason}: {bad.detail}", remedy)
