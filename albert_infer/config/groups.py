"""The headings of `--help`, and the settings that it leaves out."""

from __future__ import annotations

from enum import Enum
from typing import Final

from cyclopts import Group
from pydantic import BaseModel

CLUSTER: Final = Group("Cluster", sort_key=0)
NIGHTS: Final = Group("Nights", sort_key=1)
DATA: Final = Group("Input and output", sort_key=2)
QUESTIONS: Final = Group("Many questions of one text", sort_key=3)
MODEL: Final = Group("Model", sort_key=4)
LEARNING: Final = Group("Learning", sort_key=5)
REPORT: Final = Group("Report", sort_key=5)
SPEED: Final = Group("Speed and resources", sort_key=6)
LIMITS: Final = Group("Limits and safety", sort_key=7)
# For settings without a flag.
NO_FLAGS: Final = Group("Only in the --config file, or as ALBERT_INFER_<NAME>", sort_key=8)
HELP: Final = Group("Help", sort_key=9)

VARIABLE_PREFIX: Final = "ALBERT_INFER_"


class Mark(Enum):
    """How a setting is shown and given, as part of its declaration."""

    # A flag that few people need: `--help-all` shows it.
    RARE = "rare"
    # No flag: the setting is read from the TOML file and the environment.
    NO_FLAG = "no flag"


def marked(settings: type[BaseModel], mark: Mark) -> tuple[str, ...]:
    """The names of the settings with this mark, in order."""
    return tuple(name for name, field in settings.model_fields.items() if mark in field.metadata)


def flag_of(name: str) -> str:
    """The flag of the setting with this name."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The variable of the setting with this name."""
    return f"{VARIABLE_PREFIX}{name.upper()}"
