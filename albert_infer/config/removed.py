"""Refuses flags, variables and keys of earlier versions, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from albert_infer.config.groups import Mark, flag_of, marked, variable_of
from albert_infer.errors import SettingsError


@dataclass(frozen=True)
class Merged:
    """The setting that replaces an old one, and its values."""

    into: str
    values: str


MERGED: Final = {
    "truncation": Merged("long_premise", "with `truncate` for what was `premise`, or `longest_first`"),
    "agreement_sample": Merged("min_agreement", "with SHARE:PAIRS, as 0.99:4000, or `off` for what was 0"),
}


def refuse_flags(argv: Iterable[str], settings: type[BaseModel], program: str) -> None:
    """Raise SettingsError for a flag that was merged into another, and for a setting that has no flag."""
    for word in argv:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--"):
            continue
        if name in marked(settings, Mark.NO_FLAG):
            remedy = f"write {name} in the --config file, or set {variable_of(name)}"
            raise SettingsError(f"the settings of {program}", f"{flag} is not a flag", remedy)
        merged = MERGED.get(name)
        if merged is not None and merged.into in settings.model_fields:
            remedy = f"use {flag_of(merged.into)}, {merged.values}"
            raise SettingsError(f"the settings of {program}", f"{flag} is no longer a setting", remedy)


def refuse_keys(keys: Iterable[str], settings: type[BaseModel], asked: str) -> None:
    """Raise SettingsError for a key of a TOML file that was merged into another."""
    for key in keys:
        merged = MERGED.get(key.replace("-", "_"))
        if merged is not None and merged.into in settings.model_fields:
            raise SettingsError(asked, f"{key} is no longer a setting", f"use {merged.into}, {merged.values}")


def refuse_variables(variables: Iterable[str], asked: str) -> None:
    """Raise SettingsError for a variable whose setting was merged into another."""
    merged = {variable_of(name): merged for name, merged in MERGED.items()}
    for variable in sorted(merged.keys() & set(variables)):
        new = merged[variable]
        remedy = f"use {variable_of(new.into)}, {new.values}"
        raise SettingsError(asked, f"{variable} is no longer a setting", remedy)
