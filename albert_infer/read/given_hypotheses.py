"""The set of hypotheses that a caller of `Labeler.topics` gives, within the limits of the sets of a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from albert_infer.config.expansion import PLACEHOLDER, checked_template
from albert_infer.errors import SettingsError
from albert_infer.read.hypotheses import checked_set
from albert_infer.read.hypothesis_files import Entry, EntryError
from albert_infer.schema import DEFAULT_TEMPLATE, HypothesisSet

Candidates = Iterable[str] | Mapping[str, str] | HypothesisSet
REMEDY = 'give a list of names, as ["sport", "music"], or a mapping of ids to hypotheses'


def given_set(candidates: Candidates, template: str, *, least: int) -> HypothesisSet:
    """The hypotheses of names in a template, or the hypotheses of a mapping by id, in their order.

    `least` is the number of hypotheses that the rule can rank. Raises SettingsError for another object, for a set with
    a fault, and for a template that is none or that a mapping does not need.
    """
    if isinstance(candidates, HypothesisSet):
        texts = dict(zip(candidates.ids, candidates.texts, strict=True))
    elif isinstance(candidates, Mapping):
        texts = dict(candidates)
    else:
        return _checked(_of_names(candidates, _template(template)), least)
    if template != DEFAULT_TEMPLATE:
        problem = "it is for the names of candidates, and these candidates are whole hypotheses"
        raise SettingsError(f"hypothesis_template={template!r:.50}", problem, "leave it out")
    return _checked([(f"candidate {number:,}", *each) for number, each in enumerate(texts.items(), 1)], least)


def _template(template: Any) -> str:
    try:
        if isinstance(template, str):
            return checked_template(template)
        problem = "it is not a text"
    except ValueError as error:
        problem = str(error)
    remedy = f"give a text with one {PLACEHOLDER}, as {DEFAULT_TEMPLATE!r}"
    raise SettingsError(f"hypothesis_template={template!r:.50}", problem, remedy)


def _of_names(names: Any, template: str) -> list[tuple[str, Any, Any]]:
    # The letters of a string would be candidates, too.
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise SettingsError(f"candidates={names!r:.50}", "it is no list of names", REMEDY)
    return [
        (f"candidate {number:,}", name, template.replace(PLACEHOLDER, name) if isinstance(name, str) else None)
        for number, name in enumerate(names, 1)
    ]


def _checked(entries: list[tuple[str, Any, Any]], least: int) -> HypothesisSet:
    for where, *values in entries:
        if (other := next((value for value in values if not isinstance(value, str)), None)) is not None:
            raise SettingsError("candidates", f"{where} is of type {type(other).__name__}, not a text", REMEDY)
    try:
        hypotheses = checked_set(Entry(*each) for each in entries) if entries else HypothesisSet((), ())
    except EntryError as error:
        raise SettingsError("candidates", error.problem, error.remedy) from error
    if len(hypotheses) < least:
        count = "one candidate, whose share is always 1" if len(hypotheses) else "none"
        remedy = "give two or more" + (", or multi_label=True" if len(hypotheses) else "")
        raise SettingsError("candidates", count, remedy)
    return hypotheses
