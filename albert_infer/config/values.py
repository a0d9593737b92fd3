"""What a setting may be: lists, and locations, with the mistakes that would else be labelled into the wrong place."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from cyclopts import Parameter
from pydantic import AfterValidator, BeforeValidator

from albert_infer import schema
from albert_infer.common.schemes import checked_scheme
from albert_infer.config.nights import checked_nights

# How a file is called, and not a folder that a job fills.
FILE_NAME: Final = re.compile(
    r"\.(?:parquet|pq|parq|csv|tsv|jsonl?|txt|html?|orc|avro|arrow|gz|zip|safetensors|bin|pt)$", re.I
)


def checked_folder(value: str) -> str:
    """The location as it is; raises ValueError for what is no one folder, though a file system would make it."""
    if FILE_NAME.search(value):
        name = value.rpartition("/")[2]
        raise ValueError(f"`{name}` is called as a file is, and a folder is written; if it is to be one, write {name}/")
    if re.search(r"[*?]|,\s*\w+://", value):
        raise ValueError("one folder is written; a pattern is not expanded, nor a list taken apart")
    return value


def _split_commas(value: Any) -> Any:
    """`a,b` on the command line, `a, b` and ["a", "b"] in a file mean the same."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return tuple(name for part in value for name in map(str.strip, str(part).split(",")) if name)


def _each_label_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if value and sorted(value) != sorted(schema.NliLabel):
        raise ValueError("expected each of entailment, neutral, contradiction once")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas), Parameter(show_default=False)]
LabelOrder = Annotated[Names, AfterValidator(_each_label_once)]
Place = Annotated[str, AfterValidator(checked_scheme)]
Location = Annotated[Place, AfterValidator(checked_nights)]
OutputFolder = Annotated[Location, AfterValidator(checked_folder)]
