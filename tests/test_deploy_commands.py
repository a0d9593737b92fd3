"""The commands in `deploy/`, in the operator's page and in that of the checkpoints are ones that the jobs take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest
from deployment import DEPLOY, PLACEHOLDER, ROOT, documents
from pydantic import BaseModel

from albert_infer.config import (
    CleanSettings,
    ConvertSettings,
    LabelSettings,
    NightlySettings,
    SubmitSettings,
    VerifySettings,
    parse_settings,
)

SETTINGS: Final[dict[str, type[BaseModel]]] = {
    "clean_runs.py": CleanSettings,
    "convert_checkpoint.py": ConvertSettings,
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
    return parse_settings(SETTINGS[job], argv, program=job, about="")


@pytest.mark.parametrize("path", [DEPLOY / "crontab", DEPLOY / "rayjob.yaml"], ids=lambda path: path.name)
def test_a_nights_command_is_taken_and_waits_for_gpus_that_come_on_demand(path: Path) -> None:
    text = documents(path)[0]["spec"]["entrypoint"] if path.suffix == ".yaml" else cron_line(path)
    [(job, argv)] = commands(text)
    settings = parsed(job, argv)
    assert isinstance(settings, NightlySettings)
    assert (settings.partition, settings.missing, settings.on_change) == ("dt={date}", "skip", "report")
    assert settings.gpu_wait_minutes is not None, "without it the night is labelled on CPUs"


@pytest.mark.parametrize("page", ["operations.md", "checkpoints.md"])
def test_every_command_of_a_page_is_taken(page: str) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    found = [command for block in blocks for command in commands(block) if command[0] in SETTINGS]
    assert len(found) >= 5
    for job, argv in found:
        assert parsed(job, argv) is not None, f"{job} {shlex.join(argv)}"


def cron_line(path: Path) -> str:
    return next(line for line in path.read_text().splitlines() if line[:1].isdigit())
