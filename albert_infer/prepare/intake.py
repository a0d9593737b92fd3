"""Pairs in the forms that callers of `Labeler` hold them in, as Arrow. A text that is none is its row's trouble.

Knows tables by what they can do, and imports no library of theirs.
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
# What Arrow and whoever hands it a table raise for values that do not fit.
UNFIT: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class TakenPairs:
    """What a caller gave: `given` is the table to add columns to, `texts` are its two columns, as strings.

    `texts` may hold what is no UTF-8, and nulls for values that are no texts: `not_texts` says, by row, what these are.
    """

    given: pa.Table
    texts: pa.Table
    not_texts: Mapping[int, str] = field(default_factory=dict)

    def judged(self) -> pa.Table:
        """The texts, each row with its `rejection` and `detail`, as `validation` has them."""
        judged = validation.mark_rejected(self.texts)
        if not self.not_texts:
            return judged
        details = judged[DETAIL].to_pylist()
        for row, detail in self.not_texts.items():
            if details[row] == f"{detail.partition(' ')[0]} is null":
                details[row] = detail
        return judged.set_column(judged.column_names.index(DETAIL), DETAIL, pa.array(details, pa.string()))

    def readable(self, judged: pa.Table) -> pa.Table:
        """`given` with null for texts that are no UTF-8: nobody could read the column. `detail` has their bytes."""
        given = self.given
        if Rejection.BAD_UTF8 in judged[REJECTION].to_pylist():
            for name in PAIR:
                column, _ = utf8.cleaned(given[name])
                given = given.set_column(given.column_names.index(name), given.schema.field(name), column)
        return given


def taken(pairs: Iterable[Any] | Any) -> TakenPairs:
    """The pairs that a caller gave. Raises InputError for what are no pairs."""
    if hasattr(pairs, "with_format") and hasattr(pairs, "column_names"):
        return _of_dataset(pairs)
    if hasattr(pairs, "assign") and hasattr(pairs, "dtypes"):
        return _of_frame(pairs)
    if hasattr(pairs, "__arrow_c_stream__") or hasattr(pairs, "__arrow_c_array__"):
        return _of_table(pairs)
    return _of_items(pairs)


def _of_dataset(pairs: Any) -> TakenPairs:
    """A Hugging Face data set: in Arrow's format its rows are a table, chosen and ordered as it shows them."""
    try:
        rows = pairs.with_format("arrow")[:]
    except (*UNFIT, NotImplementedError, LookupError) as error:
        rows = error
    if not isinstance(rows, pa.Table):
        remedy = "give one split, as a Dataset that is not streamed"
        raise InputError("pairs of a data set", f"{type(pairs).__name__} gives no table of all its rows", remedy)
    return _of_table(rows)


def _of_frame(pairs: Any) -> TakenPairs:
    """A pandas frame, whose columns of objects may hold anything."""
    columns: dict[str, pa.ChunkedArray] = {}
    not_texts: dict[int, str] = {}
    for name in PAIR:
        if list(pairs.columns).count(name) == 1 and str(pairs[name].dtype) == "object":
            columns[name], found = _text_column(pairs[name].tolist(), name)
            not_texts = {**found, **not_texts}
    readable = {name: utf8.cleaned(column)[0].to_pylist() for name, column in columns.items()}
    given = _arrow(pairs.assign(**readable), lambda: _unfit_columns(pairs))
    return TakenPairs(given, _texts(given, columns), not_texts)


def _unfit_columns(frame: Any) -> str:
    """The columns of a pandas frame that Arrow cannot hold."""
    unfit = []
    for place, name in enumerate(frame.columns):
        try:
            pa.array(frame.iloc[:, place], from_pandas=True)
        except UNFIT:
            unfit.append(str(name))
    return f" in column {', '.join(unfit)}" if unfit else ""


def _of_table(pairs: Any) -> TakenPairs:
    given = _arrow(pairs)
    return TakenPairs(given, _texts(given, {}))


def _arrow(pairs: Any, where: Callable[[], str] = str) -> pa.Table:
    """The table in Arrow's memory; `where` says what of it does not fit there."""
    try:
        return pa.table(pairs)
    except UNFIT as error:
        found = f"{reason_of(error)}{where()}"
        raise InputError("pairs as a table", found, "give columns that Arrow can hold") from error


def _of_items(pairs: Iterable[Any]) -> TakenPairs:
    if isinstance(pairs, Mapping | str | bytes) or not isinstance(pairs, Iterable):
        raise InputError("pairs of a premise and a hypothesis", f"found {type(pairs).__name__}", REMEDY)
    columns: tuple[list[Any], list[Any]] = ([], [])
    for place, pair in enumerate(pairs):
        # A text of two letters would unfold into a pair, too.
        if isinstance(pair, tuple) and any(_is_series(part) for part in pair):
            found = f"item {place} holds a {type(pair[-1]).__name__} of a table"
            raise InputError("pairs of a premise and a hypothesis", found, "give the table itself")
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != len(columns):
            raise InputError("pairs of a premise and a hypothesis", f"item {place} is {pair!r:.200}", REMEDY)
        for column, text in zip(columns, pair, strict=True):
            column.append(text)
    (premises, no_premises), (hypotheses, no_hypotheses) = map(_text_column, columns, PAIR)
    texts = pa.table([premises, hypotheses], names=PAIR)
    readable = [utf8.cleaned(texts[name])[0] for name in PAIR]
    return TakenPairs(pa.table(readable, names=PAIR), texts, {**no_hypotheses, **no_premises})


def _is_series(part: Any) -> bool:
    """Whether it is a row or a column of a pandas frame, as `iterrows` and `items` give them beside their names."""
    return hasattr(part, "iloc")


def _text_column(values: Sequence[Any], name: str) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """The values as strings, which need not be UTF-8, with null for what is no text; and what that is, by row."""
    raw: list[bytes | None] = []
    not_texts: dict[int, str] = {}
    for row, value in enumerate(values):
        # Half a character, which Python's texts may hold, becomes bytes that are not UTF-8: a rejection as any other.
        raw.append(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None)
        if raw[-1] is None and not _is_missing(value):
            not_texts[row] = f"{name} is of type {type(value).__name__}, not a text"
    return pa.chunked_array([pa.array(raw, pa.large_binary()).view(pa.large_string())]).cast(pa.string()), not_texts


def _is_missing(value: Any) -> bool:
    """Whether this stands for no value: None, NaN, pandas's NA and NaT."""
    try:
        return bool(pa.array([value], from_pandas=True).null_count)
    except UNFIT:
        return False


def _texts(given: pa.Table, known: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """The two columns as strings: those that are known already, and the others as the table has them."""
    return pa.table({name: known[name] if name in known else _text_of(given, name) for name in PAIR})


def _has_no_values(column: pa.ChunkedArray) -> bool:
    """Whether nothing but nulls is there; of numbers NaN is one."""
    missing = pc.is_null(column, nan_is_null=True) if pa.types.is_floating(column.type) else column.is_null()
    return bool(pc.all(missing, min_count=0).as_py())


def _text_of(given: pa.Table, name: str) -> pa.ChunkedArray:
    if given.column_names.count(name) != 1:
        found = f"{given.column_names.count(name)} among {', '.join(given.column_names)}"
        raise InputError(f"one column {name}", found, "rename the columns of the pairs")
    kind = given.schema.field(name).type
    # Whoever makes a table may not have said what a column holds that has no values: pandas takes it for numbers.
    if _has_no_values(given[name]):
        return pa.chunked_array([pa.nulls(given.num_rows, pa.string())])
    if not is_text(kind):
        raise InputError(f"texts in column {name}", f"found {kind}", "cast it to strings")
    try:
        chunks = [converted(chunk, pa.string()) for chunk in given[name].chunks]
    except UNFIT as error:
        raise InputError(f"texts in column {name}", reason_of(error), "cast it to strings") from error
    return pa.chunked_array(chunks, pa.string())
