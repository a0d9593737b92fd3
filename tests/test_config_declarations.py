"""A setting means the same in every job that has it: one declaration gives its type and its bounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from cyclopts import Parameter
from pydantic import BaseModel, TypeAdapter

from albert_infer.config import (
    DemoSettings,
    EvaluateSettings,
    FinetuneSettings,
    LabelSettings,
)
from albert_infer.config.groups import Mark
from albert_infer.operations import commands

JOBS = tuple(job.settings for job in commands.JOBS.values())
# Every job says in its own words what these are; each has one type, in `config/shared.py`.
IN_EACH_JOBS_WORDS = {"input", "output", "run", "output_root", "replace", "workers"}
# Where a job does something else with a setting that is declared for all, and says so.
IN_OTHER_WORDS = {
    ("model", "ConvertSettings"),
    ("model", "FinetuneSettings"),
    ("max_length", "FinetuneSettings"),
    ("precision", "FinetuneSettings"),
    ("allow_cpu", "FinetuneSettings"),
    ("review_below", "EvaluateSettings"),
    ("gold_column", "GoldGate"),
    # What the demo gives itself.
    ("carry", "DemoSettings"),
}
# The built-in checkpoint needs no conversion; a run can be recounted without its input; the demo gives its own.
OTHER_DEFAULTS = {("model", "ConvertSettings"), ("input", "VerifySettings")}


def declaring() -> Iterator[type[BaseModel]]:
    """Every class that declares settings."""
    classes = dict.fromkeys(base for job in JOBS for base in job.__mro__ if issubclass(base, BaseModel))
    return iter([declared for declared in classes if declared is not BaseModel])


def declarations() -> dict[str, dict[str, Any]]:
    """For each setting the classes that declare it, and its type there."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for declared in declaring():
        hints = get_type_hints(declared, include_extras=True)
        for name in declared.__annotations__.keys() & declared.model_fields.keys():
            found[name][declared.__name__] = hints[name]
    return found


def bounds(hint: Any) -> tuple[Any, ...]:
    """The type with all that it refuses, without what is said of it, and whether it may be left out."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        kept = [repr(entry) for entry in metadata if not isinstance(entry, Parameter | Mark)]
        return (*bounds(inner), *kept)
    parts = [part for part in get_args(hint) if part is not type(None)]
    if len(parts) == 1 and type(None) in get_args(hint):
        return bounds(parts[0])
    return (hint,)


def test_each_setting_is_declared_once_or_says_why_not() -> None:
    assert len(declarations()) > 75
    again = {name: classes for name, classes in declarations().items() if len(classes) > 1}
    assert again.keys() == IN_EACH_JOBS_WORDS | {name for name, _ in IN_OTHER_WORDS}
    for name, classes in again.items():
        others = {declared for changed, declared in IN_OTHER_WORDS if changed == name}
        assert name in IN_EACH_JOBS_WORDS or len(classes.keys() - others) == 1


def test_a_setting_has_one_type_and_one_set_of_bounds() -> None:
    for name, classes in declarations().items():
        assert len({bounds(hint) for hint in classes.values()}) == 1, (name, classes)


def test_a_setting_has_one_default() -> None:
    defaults: dict[str, set[str]] = defaultdict(set)
    for job in JOBS:
        for name, field in job.model_fields.items():
            if (name, job.__name__) not in OTHER_DEFAULTS and job is not DemoSettings:
                defaults[name].add(repr(field.default))
    assert {name: found for name, found in defaults.items() if len(found) > 1} == {}


def test_no_module_of_settings_is_long() -> None:
    from pathlib import Path

    import albert_infer.config

    folder = Path(albert_infer.config.__file__).parent
    lengths = {path.name: len(path.read_text().splitlines()) for path in folder.glob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_every_job_takes_the_same_thresholds_of_review(value: float) -> None:
    assert LabelSettings(input="a", output="b", review_below=value).review_below == value
    assert EvaluateSettings(run="a", output="b", review_below=value).review_below == value


@pytest.mark.parametrize(("workers", "told"), [("2", None), ("1:4", "the number of training workers does not change")])
def test_training_takes_one_number_of_workers(workers: str, told: str | None) -> None:
    make = TypeAdapter(FinetuneSettings).validate_python
    given = {"train": "a", "eval": "b", "output": "c", "workers": workers}
    if told is None:
        assert make(given).worker_count == 2
        return
    with pytest.raises(ValueError, match=told):
        make(given)


def test_training_computes_in_floats() -> None:
    with pytest.raises(ValueError, match="int8 is for labelling"):
        FinetuneSettings(train="a", eval="b", output="c", precision="int8")
