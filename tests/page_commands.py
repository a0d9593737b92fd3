"""The commands of jobs that stand in a page or in a file of `deploy/`, parsed as the job would, and not run."""

from __future__ import annotations

import re
import shlex
from typing import Final

from deployment import PLACEHOLDER
from pydantic import BaseModel

from albert_infer.config import parse_settings
from albert_infer.operations.commands import JOBS

# The script of each command of `albert-infer`.
SCRIPTS: Final = {
    "clean": "clean_runs.py",
    "convert": "convert_checkpoint.py",
    "demo": "demo.py",
    "evaluate": "evaluate.py",
    "finetune": "finetune.py",
    "label": "label_pairs.py",
    "nightly": "label_nightly.py",
    "plan": "plan_labels.py",
    "submit": "submit_nightly.py",
    "verify": "verify_labels.py",
    "report": "report_labels.py",
    "review": "review_labels.py",
}
SETTINGS: Final[dict[str, type[BaseModel]]] = {SCRIPTS[name]: job.settings for name, job in JOBS.items()}
# A job, and all up to what is the shell's own.
COMMAND: Final = re.compile(
    r"(?:jobs/(?P<job>\w+\.py)|\balbert-infer (?P<command>[a-z]+))(?P<argv>(?: +(?!\|\|)[^\s>|#`][^\n>|#`]*)?)"
)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a job in `text`: the job and its arguments, with a date where one is computed."""
    filled = PLACEHOLDER.sub(lambda found: found[0].lower(), text.replace("\\\n", " "))
    filled = re.sub(r'"\$\(date [^)]*\)"|\bDATE\b', "2026-11-27", filled)
    found = [match for match in COMMAND.finditer(filled) if match["argv"].strip()]
    return [(match["job"] or SCRIPTS[match["command"]], shlex.split(match["argv"])) for match in found]


def parsed(job: str, argv: list[str]) -> BaseModel | None:
    """The settings that the job would have. Raises SettingsError for a command that it refuses."""
    return parse_settings(SETTINGS[job], argv, program=job, about="")
