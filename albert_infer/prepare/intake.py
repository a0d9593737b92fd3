"""Converts the pairs that callers give to `Labeler` into Arrow. A value that is not a text rejects only its row.

Recognizes tables by their methods, and imports no library of tables except Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from albert_infer.common.column_values import converted
from albert_infer.common.printable import reason_of
from albert_infer.errors import InputError
from albert_infer.prepare import utf8, validation
from albert_infer.schema import DETAIL, HYPOTHESIS, PREMISE, REJECTION, Rejection, is_text

PAIR: Final = (PREMISE, HYPOTHESIS)
REMEDY: Final = "give (premise, hypothesis) tuples, or a table with the columns premise and hypothesis"
TEXTS_REMEDY: Final = "give a list of texts, or a table with the column premise"
# The errors that Arrow and libraries of tables raise for values that do not fit.
UNFIT: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class CallerPairs:
    """The pairs or texts of a caller. Columns are added to `table`; `texts` has its text columns as strings.

    `texts` may have bytes that are not UTF-8, and has nulls for values that are not texts. `not_texts` describes these
    values, by row.
    """

    table: pa.Table
    texts: pa.Table
    not_texts: Mapping[int, str] = field(default_factory=dict)

    def validated(self) -> pa.Table:
        """The texts with the columns `rejection` and `detail` of `validation.mark_rejected`."""
        validated = validation.mark_rejected(self.texts)
        if not self.not_texts:
            return validated
        details = validated[DETAIL].to_pylist()
        for row, detail in self.not_texts.items():
            if details[row] == f"{detail.partition(' ')[0]} is null":
                details[row] = detail
        return validated.set_column(validated.column_names.index(DETAIL), DETAIL, pa.array(details, pa.string()))

    def readable(self, validated: pa.Table) -> pa.Table:
        """`table` with null for texts that are not UTF-8, which no reader accepts. `detail` has their bytes."""
        table = self.table
        if Rejection.BAD_UTF8 in validated[REJECTION].to_pylist():
            for name in self.texts.column_names:
                column, _ = utf8.cleaned(table[name])
                table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
        return table


def caller_pairs(pairs: Iterable[Any] | Any) -> CallerPairs:
    """The pairs of a caller. Raises InputError for an object that does not have pairs."""
    return _of_table(pairs, PAIR) if is_table(pairs) or _has_protocol(pairs) else _of_items(pairs)


def caller_texts(texts: Iterable[Any] | Any) -> CallerPairs:
    """The premises of a caller: a table with this column, or texts. Raises InputError for another object."""
    return _of_table(texts, (PREMISE,)) if is_table(texts) else _of_columns({PREMISE: texts})


def caller_columns(premises: Any, hypotheses: Any) -> CallerPairs:
    """The pairs of two sequences of texts. Raises InputError for other objects, and for two lengths."""
    return _of_columns({PREMISE: premises, HYPOTHESIS: hypotheses})


def is_table(given: Any) -> bool:
    """Whether the object is a table of any library, and no column of one."""
    if hasattr(given, "with_format") or hasattr(given, "assign"):
        return hasattr(given, "column_names") or hasattr(given, "dtypes")
    return _has_protocol(given) and not _is_column(given)


def _has_protocol(given: Any) -> bool:
    """Whether the object gives its data by Arrow's protocol."""
    return hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__")


def _is_column(given: Any) -> bool:
    """Whether an object with Arrow's protocol is one column: it has a type of its own, and no columns."""
    kind = getattr(given, "type", getattr(given, "dtype", None))
    return kind is not None and not hasattr(given, "columns") and not isinstance(kind, pa.StructType)


def _of_table(given: Any, names: Sequence[str]) -> CallerPairs:
    if hasattr(given, "with_format") and hasattr(given, "column_names"):
        given = _rows_of_dataset(given)
    elif hasattr(given, "assign") and hasattr(given, "dtypes"):
        return _of_frame(given, names)
    table = _arrow(given)
    return CallerPairs(table, _texts(table, {}, names))


def _rows_of_dataset(pairs: Any) -> pa.Table:
    """The rows of a Hugging Face data set. Its Arrow format respects its selection and order of rows."""
    try:
        rows = pairs.with_format("arrow")[:]
    except (*UNFIT, NotImplementedError, LookupError) as error:
        rows = error
    if not isinstance(rows, pa.Table):
        remedy = "give one split, as a Dataset that is not streamed"
        raise InputError("pairs of a data set", f"{type(pairs).__name__} gives no table of all its rows", remedy)
    return rows


def _of_frame(pairs: Any, names: Sequence[str]) -> CallerPairs:
    """A pandas frame. Its columns of type `object` may have any value."""
    columns: dict[str, pa.ChunkedArray] = {}
    not_texts: dict[int, str] = {}
    for name in names:
        if list(pairs.columns).count(name) == 1 and str(pairs[name].dtype) == "object":
            columns[name], not_texts_of_column = _text_column(pairs[name].tolist(), name)
            not_texts = {**not_texts_of_column, **not_texts}
    readable = {name: utf8.cleaned(column)[0].to_pylist() for name, column in columns.items()}
    table = _arrow(pairs.assign(**readable), lambda: _unfit_columns(pairs))
    return CallerPairs(table, _texts(table, columns, names), not_texts)


def _unfit_columns(frame: Any) -> str:
    """The columns of a pandas frame that Arrow cannot hold, as the end of a message."""
    unfit = []
    for index, name in enumerate(frame.columns):
        try:
            pa.array(frame.iloc[:, index], from_pandas=True)
        except UNFIT:
            unfit.append(str(name))
    return f" in column {', '.join(unfit)}" if unfit else ""


def _arrow(pairs: Any, where: Callable[[], str] = str) -> pa.Table:
    """The table as an Arrow table. `where` names the columns that Arrow cannot hold. Raises InputError for these."""
    try:
        return pa.table(pairs)
    except UNFIT as error:
        reason = f"{reason_of(error)}{where()}"
        raise InputError("pairs as a table", reason, "give columns that Arrow can hold") from error


def _of_items(pairs: Iterable[Any]) -> CallerPairs:
    if isinstance(pairs, Mapping | str | bytes) or not isinstance(pairs, Iterable):
        raise InputError("pairs of a premise and a hypothesis", f"found {type(pairs).__name__}", REMEDY)
    columns: tuple[list[Any], list[Any]] = ([], [])
    for index, pair in enumerate(pairs):
        if isinstance(pair, tuple) and any(_is_series(part) for part in pair):
            reason = f"item {index} holds a {type(pair[-1]).__name__} of a table"
            raise InputError("pairs of a premise and a hypothesis", reason, "give the table itself")
        # A string of two letters would unpack into a pair, too.
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != len(columns):
            raise InputError("pairs of a premise and a hypothesis", f"item {index} is {pair!r:.200}", REMEDY)
        for column, text in zip(columns, pair, strict=True):
            column.append(text)
    return _of_values(dict(zip(PAIR, columns, strict=True)))


def _of_values(values: Mapping[str, Sequence[Any]]) -> CallerPairs:
    """Columns of any values, by name."""
    columns = {name: _text_column(each, name) for name, each in values.items()}
    texts = pa.table({name: column for name, (column, _) in columns.items()})
    readable = pa.table({name: utf8.cleaned(texts[name])[0] for name in values})
    # A row with several such values gets the description of its first one.
    not_texts: dict[int, str] = {}
    for _, described in columns.values():
        not_texts = described | not_texts
    return CallerPairs(readable, texts, not_texts)


def _of_columns(given: Mapping[str, object]) -> CallerPairs:
    """Columns of texts, by name: of Arrow or Polars, or any values in order."""
    columns = {name: _values(column) for name, column in given.items()}
    lengths = [len(column) for column in columns.values()]
    if len(set(lengths)) > 1:
        problem = " and ".join(f"{length:,}" for length in lengths)
        raise InputError("two columns of texts", f"they have {problem} texts", "give one summary for each document")
    return _of_values(columns)


def _values(given: Any) -> Sequence[Any]:
    if is_table(given) or isinstance(given, Mapping | str | bytes) or not isinstance(given, Iterable):
        raise InputError("a list of texts", f"found {type(given).__name__}", TEXTS_REMEDY)
    return given.to_pylist() if isinstance(given, pa.Array | pa.ChunkedArray) else list(given)


def _is_series(part: Any) -> bool:
    """Whether `part` is a row or a column of a pandas frame. `iterrows` and `items` yield these with their names."""
    return hasattr(part, "iloc")


def _text_column(values: Sequence[Any], name: str) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """The values as strings, with null for values that are not texts, and a description of these values by row.

    The strings may have bytes that are not UTF-8.
    """
    raw: list[bytes | None] = []
    not_texts: dict[int, str] = {}
    for row, value in enumerate(values):
        # A Python string may have half a surrogate pair. Its bytes are not UTF-8, so validation rejects the row.
        raw.append(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None)
        if raw[-1] is None and not _is_missing(value):
            not_texts[row] = f"{name} is of type {type(value).__name__}, not a text"
    return pa.chunked_array([pa.array(raw, pa.large_binary()).view(pa.large_string())]).cast(pa.string()), not_texts


def _is_missing(value: Any) -> bool:
    """Whether `value` is a missing value: None, NaN, or NA and NaT of pandas."""
    try:
        return bool(pa.array([value], from_pandas=True).null_count)
    except UNFIT:
        return False


def _texts(table: pa.Table, converted_columns: Mapping[str, pa.ChunkedArray], names: Sequence[str]) -> pa.Table:
    """The text columns as strings: from `converted_columns`, and otherwise from `table`."""
    return pa.table(
        {name: converted_columns[name] if name in converted_columns else _text_of(table, name) for name in names}
    )


def _has_no_values(column: pa.ChunkedArray) -> bool:
    """Whether every value is null. NaN counts as null."""
    missing = pc.is_null(column, nan_is_null=True) if pa.types.is_floating(column.type) else column.is_null()
    return bool(pc.all(missing, min_count=0).as_py())


def _text_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    if table.column_names.count(name) != 1:
        count = f"{table.column_names.count(name)} among {', '.join(table.column_names)}"
        raise InputError(f"one column {name}", count, "rename the columns of the pairs")
    kind = table.schema.field(name).type
    # A column without values may have any type: pandas makes it a column of numbers.
    if _has_no_values(table[name]):
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    if not is_text(kind):
        raise InputError(f"texts in column {name}", f"found {kind}", "cast it to strings")
    try:
        chunks = [converted(chunk, pa.string()) for chunk in table[name].chunks]
    except UNFIT as error:
        raise InputError(f"texts in column {name}", reason_of(error), "cast it to strings") from error
    return pa.chunked_array(chunks, pa.string())
