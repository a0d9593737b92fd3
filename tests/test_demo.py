"""The demo says what to do next, and that command works as it is printed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import demo
import pytest

from albert_infer.config import LabelSettings, parse_settings
from albert_infer.operations.demo import next_command
from albert_infer.operations.work import PAIRS


@pytest.mark.process
@pytest.mark.parametrize("inside", [True, False])
def test_the_next_command_works_where_the_demo_was_called(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.ROOT if inside else tmp_path)
    command = next_command(demo.LABEL, str(PAIRS))
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "label_pairs.py --input" in shown.stdout
    settings = parse_settings(LabelSettings, command[2:], program="label_pairs.py", about="")
    assert settings is not None
    assert Path(settings.input).exists()
    assert not Path(settings.output).is_absolute()


def test_the_demo_shows_its_help_and_labels_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Usage: demo.py")
    assert "summary" not in told


def test_the_help_shows_what_may_be_given_and_nothing_as_required(capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(["--help"])
    told = capsys.readouterr().out
    assert "required" not in told
    flags = re.findall(r"^│ (--[a-z0-9-]+)", told, re.MULTILINE)
    assert {"--model", "--carry-source", "--config"} <= {*flags}
    assert {"--input", "--output", "--carry", "--replace"}.isdisjoint(flags)
