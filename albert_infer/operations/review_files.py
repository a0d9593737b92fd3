"""Review files: pairs for a person to label, and the answers, as Label Studio's JSON, CSV or Parquet.

Label Studio: https://labelstud.io/guide/task_format, https://labelstud.io/guide/export.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from albert_infer.common.printable import one_line
from albert_infer.errors import InputError
from albert_infer.schema import HYPOTHESIS, LABEL, PAIR_ID, PREMISE, THREE_LABELS, Label, LabelSet

# The answer of a person. An empty one is a pair without an answer.
ANSWER: Final = "gold_label"
PROBABILITY: Final = "probability"
COLUMNS: Final = (PAIR_ID, PREMISE, HYPOTHESIS, LABEL, PROBABILITY, ANSWER)
# Annotators who do not agree: as SNLI marks it.
NO_AGREEMENT: Final = "-"


def label_studio_interface(labels: LabelSet) -> str:
    """What to paste into a project's labelling interface; names and values are those of the tasks."""
    choices = "".join(f'<Choice value="{label}"/>' for label in labels)
    return f"""<View>
  <Header value="Premise"/><Text name="premise" value="$premise"/>
  <Header value="Hypothesis"/><Text name="hypothesis" value="$hypothesis"/>
  <Choices name="label" toName="hypothesis" choice="single" required="true">
    {choices}
  </Choices>
</View>
"""


LABEL_STUDIO_INTERFACE: Final = label_studio_interface(THREE_LABELS)


@dataclass(frozen=True)
class ReviewPair:
    """A pair with the label of the run, and with the answer of a person once there is one."""

    pair_id: str | None
    premise: str
    hypothesis: str
    label: str
    probability: float
    answer: str | None = None


def written(pairs: Sequence[ReviewPair], name: str) -> bytes:
    """The review file of that name."""
    if kind_of(name) == ".json":
        return json.dumps([_task(pair) for pair in pairs], indent=1, ensure_ascii=False).encode()
    table = _table(pairs)
    buffer = io.BytesIO()
    if kind_of(name) == ".csv":
        pa_csv.write_csv(table, buffer)
    else:
        pq.write_table(table, buffer)
    return buffer.getvalue()


def read(data: bytes, name: str) -> list[ReviewPair]:
    """The pairs of a review file, with the answers that it has. Raises InputError for a file of another form."""
    try:
        if kind_of(name) == ".json":
            return [task.pair() for task in _TASKS.validate_json(data)]
        source = pa.BufferReader(data)
        table = _as_text(pa_csv.read_csv(source) if kind_of(name) == ".csv" else pq.read_table(source))
        return [_ROW.validate_python(row).pair() for row in table.to_pylist()]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise refused(name, f"{where}: {first['msg']}") from error
    except (pa.ArrowException, ValueError) as error:
        raise refused(name, one_line(error)) from error


def refused(name: str, why: str) -> InputError:
    """The error for a file of another form."""
    remedy = "give a file that albert-infer review wrote, with answers in it, or an export of Label Studio as JSON"
    return InputError(f"--file {name}", f"it is no review file ({why})", remedy)


def majority(given: Sequence[str]) -> str:
    """The answer that most annotators gave; NO_AGREEMENT where two answers have as many. There is at least one."""
    best = Counter(given).most_common(2)
    return NO_AGREEMENT if len(best) > 1 and best[0][1] == best[1][1] else best[0][0]


def kind_of(name: str) -> str:
    """The ending of a file's name."""
    return PurePosixPath(name).suffix


def _task(pair: ReviewPair) -> dict[str, object]:
    choice = {"from_name": "label", "to_name": "hypothesis", "type": "choices", "value": {"choices": [pair.label]}}
    data = {PREMISE: pair.premise, HYPOTHESIS: pair.hypothesis, PAIR_ID: pair.pair_id}
    prediction = {"model_version": "albert-infer", "score": round(pair.probability, 4), "result": [choice]}
    return {"data": {**data, PROBABILITY: round(pair.probability, 4), LABEL: pair.label}, "predictions": [prediction]}


def _table(pairs: Iterable[ReviewPair]) -> pa.Table:
    rows = [(pair.pair_id, pair.premise, pair.hypothesis, pair.label, pair.probability, pair.answer) for pair in pairs]
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    types = [pa.float64() if name == PROBABILITY else pa.string() for name in COLUMNS]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    return pa.table(dict(zip(COLUMNS, arrays, strict=True)))


def _as_text(table: pa.Table) -> pa.Table:
    """Ids that look like numbers are texts all the same."""
    for name in {PAIR_ID, PREMISE, HYPOTHESIS, LABEL, ANSWER} & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table


def _answer(value: object) -> object:
    """A label as people type it; None for no answer."""
    text = str(value).strip().lower() if value is not None else ""
    return text or None


Answer = Annotated[
    Literal["entailment", "neutral", "contradiction", "not_entailment", "-"] | None, BeforeValidator(_answer)
]


class _Row(BaseModel):
    """A row of a table, and the data of a task."""

    premise: str
    hypothesis: str
    pair_id: str | None = None
    label: str = ""
    probability: float = 0.0
    gold_label: Answer = None

    def pair(self) -> ReviewPair:
        """The same, with its answer."""
        known = self.pair_id, self.premise, self.hypothesis, self.label, self.probability
        return ReviewPair(*known, answer=self.gold_label)


class _Value(BaseModel):
    choices: tuple[Annotated[Label, BeforeValidator(_answer)], ...] = ()


class _Result(BaseModel):
    value: _Value = _Value()


class _Annotation(BaseModel):
    result: tuple[_Result, ...] = ()
    was_cancelled: bool = False

    @property
    def label(self) -> str | None:
        """The choice of one annotator; None for a task that was skipped."""
        choices = [str(choice) for result in self.result for choice in result.value.choices]
        return choices[0] if choices and not self.was_cancelled else None


class _Task(BaseModel):
    """A task of Label Studio, as it is imported or exported."""

    data: _Row
    annotations: tuple[_Annotation, ...] = ()

    def pair(self) -> ReviewPair:
        """The pair with the label that most annotators gave; `-` where two labels have as many."""
        given = [label for each in self.annotations if (label := each.label) is not None]
        row = self.data
        answer = majority(given) if given else row.gold_label
        return ReviewPair(row.pair_id, row.premise, row.hypothesis, row.label, row.probability, answer)


_ROW: Final = TypeAdapter(_Row)
_TASKS: Final = TypeAdapter(list[_Task])
