"""Review files of rows with a score: a person names the topic of a text, or says whether a summary is consistent.

A file of topics has no hypotheses. A file of consistency has documents as premises, and summaries as hypotheses.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from albert_infer.operations.review_files import ANSWER, NO_AGREEMENT, kind_of, majority, refused
from albert_infer.output.distribution import MAX_FILES, MAX_ROWS, drawn_files, read_columns
from albert_infer.output.manifest import Manifest
from albert_infer.schema import BEST, HYPOTHESIS, NEEDS_REVIEW, PAIR_ID, PREMISE, SCORE, Expansion
from albert_infer.storage import Folder

CONSISTENCY: Final = ("consistent", "inconsistent")
# What each row of a gold set has, if the file has it.
GOLD_COLUMNS: Final = (PAIR_ID, PREMISE, HYPOTHESIS, ANSWER)


def _text(value: object) -> object:
    text = str(value).strip() if value is not None else ""
    return text or None


Text = Annotated[str | None, BeforeValidator(_text)]


class ScoredRow(BaseModel):
    """A row with its score, and with the answer of a person once there is one. `best` is the id of a topic."""

    pair_id: Text = None
    premise: str
    hypothesis: str | None = None
    best: Text = None
    score: float
    gold_label: Text = None


class _Value(BaseModel):
    choices: tuple[str, ...] = ()


class _Result(BaseModel):
    value: _Value = _Value()


class _Annotation(BaseModel):
    result: tuple[_Result, ...] = ()
    was_cancelled: bool = False


class _Task(BaseModel):
    """A task of Label Studio, as it is imported or exported."""

    data: ScoredRow
    annotations: tuple[_Annotation, ...] = ()

    def row(self) -> ScoredRow:
        """The row with the answer of most annotators."""
        given = [
            choice
            for each in self.annotations
            if not each.was_cancelled
            for choice in [choice for result in each.result for choice in result.value.choices][:1]
        ]
        return self.data.model_copy(update={ANSWER: majority(given)}) if given else self.data


_ROWS: Final = TypeAdapter(list[ScoredRow])
_TASKS: Final = TypeAdapter(list[_Task])


@dataclass(frozen=True)
class Candidate:
    """A row that may be reviewed. `needs_review` is False in a run that does not mark rows."""

    row: ScoredRow
    needs_review: bool


def candidates(manifest: Manifest, output: Folder) -> Iterator[Candidate]:
    """The rows of the run with a score, or those of files drawn from it, the same ones each time."""
    columns = (PAIR_ID, PREMISE, HYPOTHESIS, BEST, SCORE, NEEDS_REVIEW)
    for entry in drawn_files(manifest.files, max_rows=MAX_ROWS, max_files=MAX_FILES):
        for batch in read_columns(entry.path, output, columns):
            for row in batch.to_pylist():
                yield Candidate(ScoredRow(**row), bool(row.get(NEEDS_REVIEW)))


def choices_of(expansion: Expansion) -> tuple[str, ...]:
    """What a person chooses from: the ids of the set, or whether a summary is consistent."""
    return expansion.hypotheses.ids if expansion.hypotheses is not None else CONSISTENCY


def interface_of(expansion: Expansion) -> str:
    """What to paste into the labelling interface of a project of Label Studio."""
    texts = (
        [("Text", PREMISE)] if expansion.hypotheses is not None else [("Document", PREMISE), ("Summary", HYPOTHESIS)]
    )
    shown = [f'  <Header value="{title}"/><Text name="{name}" value="${name}"/>' for title, name in texts]
    choices = "".join(f"<Choice value={quoteattr(choice)}/>" for choice in choices_of(expansion))
    answer = (
        f'  <Choices name="{ANSWER}" toName="{PREMISE}" choice="single" required="true">\n    {choices}\n  </Choices>'
    )
    return "\n".join(["<View>", *shown, answer, "</View>", ""])


def written(rows: Sequence[ScoredRow], name: str, expansion: Expansion) -> bytes:
    """The review file of that name."""
    left_out = {HYPOTHESIS} if expansion.hypotheses is not None else {BEST}
    if kind_of(name) == ".json":
        return json.dumps([_task(row, left_out) for row in rows], indent=1, ensure_ascii=False).encode()
    fields = {column: pa.float64() if column == SCORE else pa.string() for column in ScoredRow.model_fields}
    schema = pa.schema([(column, kind) for column, kind in fields.items() if column not in left_out])
    table = pa.Table.from_pylist([row.model_dump(exclude=left_out) for row in rows], schema)
    buffer = io.BytesIO()
    write = pa_csv.write_csv if kind_of(name) == ".csv" else pq.write_table
    write(table, buffer)
    return buffer.getvalue()


def _task(row: ScoredRow, left_out: set[str]) -> dict[str, object]:
    task: dict[str, object] = {"data": row.model_dump(exclude={*left_out, ANSWER})}
    if row.best is not None:
        choice = {"from_name": ANSWER, "to_name": PREMISE, "type": "choices", "value": {"choices": [row.best]}}
        task["predictions"] = [{"model_version": "albert-infer", "score": row.score, "result": [choice]}]
    return task


def read(data: bytes, name: str) -> list[ScoredRow] | None:
    """The rows of a review file with scores; None for a file of another kind. Raises InputError for a wrong answer."""
    try:
        if kind_of(name) == ".json":
            parsed = json.loads(data)
            if not (isinstance(parsed, list) and parsed and SCORE in _data_of(parsed[0])):
                return None
            return _checked([task.row() for task in _TASKS.validate_python(parsed)], name)
        source = pa.BufferReader(data)
        table = pa_csv.read_csv(source) if kind_of(name) == ".csv" else pq.read_table(source)
        if SCORE not in table.column_names:
            return None
        texts = [column for column in table.column_names if column != SCORE]
        for column in texts:
            table = table.set_column(table.column_names.index(column), column, table[column].cast(pa.string()))
        return _checked(_ROWS.validate_python(table.to_pylist()), name)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise refused(name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (pa.ArrowException, ValueError, RecursionError):
        # Not a table, or no JSON: the reader of labels says so.
        return None


def _data_of(task: Any) -> Any:
    return task.get("data") if isinstance(task, dict) and isinstance(task.get("data"), dict) else ()


def _checked(rows: list[ScoredRow], name: str) -> list[ScoredRow]:
    """The rows, with answers of consistency in lower case. Raises InputError for another answer."""
    checked = []
    for row in rows:
        if row.hypothesis is None or row.gold_label is None:
            checked.append(row)
            continue
        answer = row.gold_label.lower()
        if answer not in (*CONSISTENCY, NO_AGREEMENT):
            raise refused(name, f"the answer `{answer:.80}` is none of {', '.join(CONSISTENCY)}, {NO_AGREEMENT}")
        checked.append(row.model_copy(update={ANSWER: answer}))
    return checked


def gold_set(rows: Sequence[ScoredRow]) -> pa.Table:
    """The rows with an answer, as a gold set."""
    answered = [row.model_dump() for row in rows if row.gold_label is not None]
    columns = [name for name in GOLD_COLUMNS if name != HYPOTHESIS or any(row[HYPOTHESIS] for row in answered)]
    return pa.Table.from_pylist(answered, pa.schema([(name, pa.string()) for name in columns]))
