"""The commands in `deploy/` are ones that the jobs take; those of the pages are in `test_pages.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployment import DEPLOY, documents
from page_commands import commands, parsed

from albert_infer.config import NightlySettings


@pytest.mark.parametrize("path", [DEPLOY / "crontab", DEPLOY / "rayjob.yaml"], ids=lambda path: path.name)
def test_a_nights_command_is_taken_and_waits_for_gpus_that_come_on_demand(path: Path) -> None:
    text = documents(path)[0]["spec"]["entrypoint"] if path.suffix == ".yaml" else cron_line(path)
    [(job, argv)] = commands(text)
    settings = parsed(job, argv)
    assert isinstance(settings, NightlySettings)
    assert (settings.partition, settings.missing, settings.on_change) == ("dt={date}", "skip", "report")
    assert settings.gpu_wait_minutes is not None, "without it the night is labelled on CPUs"


def cron_line(path: Path) -> str:
    return next(line for line in path.read_text().splitlines() if line[:1].isdigit())
