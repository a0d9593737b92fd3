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
# The errors that Arrow and libraries of tables raise for values that do not fit.
UNFIT: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class CallerPairs:
    """The pairs of a caller. Columns are added to `table`; `texts` has its two text columns as strings.

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
            for name in PAIR:
                column, _ = utf8.cleaned(table[name])
                table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
        return table


def caller_pairs(pairs: Iterable[Any] | Any) -> CallerPairs:
    """The pairs of a caller. Raises InputError for an object that does not have pairs."""
    if hasattr(pairs, "with_format") and hasattr(pairs, "column_names"):
        return _of_dataset(pairs)
    if hasattr(pairs, "assign") and hasattr(pairs, "dtypes"):
        return _of_frame(pairs)
    if hasattr(pairs, "__arrow_c_stream__") or hasattr(pairs, "__arrow_c_array__"):
        return _of_table(pairs)
    return _of_items(pairs)


def _of_dataset(pairs: Any) -> CallerPairs:
    """A Hugging Face data set. Its Arrow format is a table that respects its selection and order of rows."""
    try:
        rows = pairs.with_format("arrow")[:]
    except (*UNFIT, NotImplementedError, LookupError) as error:
        rows = error
    if not isinstance(rows, pa.Table):
        remedy = "give one split, as a Dataset that is not streamed"
        raise InputError("pairs of a data set", f"{type(pairs).__name__} gives no table of all its rows", remedy)
    return _of_table(rows)


def _of_frame(pairs: Any) -> CallerPairs:
    """A pandas frame. Its columns of type `object` may have any value."""
    columns: dict[str, pa.ChunkedArray] = {}
    not_texts: dict[int, str] = {}
    for name in PAIR:
        if list(pairs.columns).count(name) == 1 and str(pairs[name].dtype) == "object":
            columns[name], not_texts_of_column = _text_column(pairs[name].tolist(), name)
            not_texts = {**not_texts_of_column, **not_texts}
    readable = {name: utf8.cleaned(column)[0].to_pylist() for name, column in columns.items()}
    table = _arrow(pairs.assign(**readable), lambda: _unfit_columns(pairs))
    return CallerPairs(table, _texts(table, columns), not_texts)


def _unfit_columns(frame: Any) -> str:
    """The columns of a pandas frame that Arrow cannot hold, as the end of a message."""
    unfit = []
    for index, name in enumerate(frame.columns):
        try:
            pa.array(frame.iloc[:, index], from_pandas=True)
        except UNFIT:
            unfit.append(str(name))
    return f" in column {', '.join(unfit)}" if unfit else ""


def _of_table(pairs: Any) -> CallerPairs:
    table = _arrow(pairs)
    return CallerPairs(table, _texts(table, {}))


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
    (premises, no_premises), (hypotheses, no_hypotheses) = map(_text_column, columns, PAIR)
    texts = pa.table([premises, hypotheses], names=PAIR)
    readable = [utf8.cleaned(texts[name])[0] for name in PAIR]
    return CallerPairs(pa.table(readable, names=PAIR), texts, {**no_hypotheses, **no_premises})


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


def _texts(table: pa.Table, converted_columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """The two text columns as strings: from `converted_columns`, and otherwise from `table`."""
    return pa.table(
        {name: converted_columns[name] if name in converted_columns else _text_of(table, name) for name in PAIR}
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
