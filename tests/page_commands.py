"""The commands of jobs that stand in a page or in a file of `deploy/`, parsed as the job would, and not run."""

from __future__ import annotations

import re
import shlex
from typing import Final

from deployment import PLACEHOLDER
from pydantic import BaseModel

from albert_infer.config import (
    CleanSettings,
    ConvertSettings,
    DemoSettings,
    EvaluateSettings,
    FinetuneSettings,
    LabelSettings,
    NightlySettings,
    SubmitSettings,
    VerifySettings,
    parse_settings,
)

SETTINGS: Final[dict[str, type[BaseModel]]] = {
    "clean_runs.py": CleanSettings,
    "convert_checkpoint.py": ConvertSettings,
    "demo.py": DemoSettings,
    "evaluate.py": EvaluateSettings,
    "finetune.py": FinetuneSettings,
    "label_nightly.py": NightlySettings,
    "label_pairs.py": LabelSettings,
    "submit_nightly.py": SubmitSettings,
    "verify_labels.py": VerifySettings,
}
# A job, and all up to what is the shell's own.
COMMAND: Final = re.compile(r"jobs/(?P<job>\w+\.py)(?P<argv>(?: +(?!\|\|)[^\s>|#`][^\n>|#`]*)?)")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a job in `text`: the job and its arguments, with a date where one is computed."""
    filled = PLACEHOLDER.sub(lambda found: found[0].lower(), text.replace("\\\n", " "))
    filled = re.sub(r'"\$\(date [^)]*\)"|\bDATE\b', "2026-11-27", filled)
    return [(found["job"], shlex.split(found["argv"])) for found in COMMAND.finditer(filled) if found["argv"].strip()]


def parsed(job: str, argv: list[str]) -> BaseModel | None:
    """The settings that the job would have. Raises SettingsError for a command that it refuses."""
    return parse_settings(SETTINGS[job], argv, program=job, about="")
