"""`--help` has what most people need, and `--help-all` has every setting."""

from __future__ import annotations

import os
import re

import pytest
from pydantic import BaseModel

from albert_infer.config import (
    DemoSettings,
    FinetuneSettings,
    LabelSettings,
    VerifySettings,
    parse_settings,
)
from albert_infer.config.groups import Mark, flag_of, marked
from albert_infer.operations import commands

# Of the demo some settings are its own.
JOBS = tuple(job.settings for name, job in commands.JOBS.items() if name != "demo")
# What the first help of the labelling job has, beside --config and the two helps. A longer list is not read.
MOST_FLAGS = 30
# The name of a setting, where a line of a panel begins.
ENTRY = re.compile(r"^│ (?:\*  |   )?((?:--)?[a-z][a-z0-9_-]+)[ │]", re.MULTILINE)
LAST_LINE = "--help-all also shows the settings that few people need."


DRAWN: dict[tuple[type[BaseModel], str, tuple[str, ...]], str] = {}


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def shown(settings: type[BaseModel], capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The page, which is drawn once for each width: that takes longer than all that is asked of it."""
    asked = (settings, os.environ.get("COLUMNS", "80"), argv)
    if asked not in DRAWN:
        assert parse_settings(settings, argv, program="job", about="Do it.") is None
        DRAWN[asked] = capsys.readouterr().out
    return DRAWN[asked]


def entries(page: str) -> list[str]:
    return ENTRY.findall(page)


def test_the_first_help_of_the_labelling_job_is_short(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(LabelSettings, capsys, "--help")
    assert len(entries(page)) == len(set(entries(page))) <= MOST_FLAGS
    assert {"--candidates", "--hypotheses"} <= set(entries(page))
    assert {"--input", "--output", "--model", "--carry", "--config", "--help", "--help-all"} <= set(entries(page))
    assert max(map(len, page.splitlines())) <= width


@pytest.mark.parametrize("settings", JOBS)
@pytest.mark.usefixtures("width")
def test_help_all_shows_every_setting_and_help_all_but_the_marked_ones(
    settings: type[BaseModel], capsys: pytest.CaptureFixture[str]
) -> None:
    rare, without_flag = set(marked(settings, Mark.RARE)), set(marked(settings, Mark.NO_FLAG))
    flags = {flag_of(name) for name in settings.model_fields if name not in without_flag}
    common = {*flags, "--config", "--help"}
    helps = {"--help-all"} if rare | without_flag else set()
    assert set(entries(shown(settings, capsys, "--help-all"))) == common | without_flag | {"--help-all"}
    assert set(entries(shown(settings, capsys, "--help"))) == common - {flag_of(name) for name in rare} | helps


@pytest.mark.parametrize("settings", JOBS)
def test_the_last_line_of_help_says_where_the_rest_is(
    settings: type[BaseModel], capsys: pytest.CaptureFixture[str]
) -> None:
    hides = bool(marked(settings, Mark.RARE) or marked(settings, Mark.NO_FLAG))
    assert shown(settings, capsys, "--help").rstrip().endswith(LAST_LINE) == hides
    assert LAST_LINE not in shown(settings, capsys, "--help-all")


def test_help_all_is_shown_whatever_else_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--output", "out", "--help-all", "--unit-rows", "many")
    assert "--unit-rows" in entries(shown(LabelSettings, capsys, *argv))


def test_flags_that_the_first_help_leaves_out_are_taken() -> None:
    argv = ["--input", "in", "--output", "out", "--unit-rows", "7", "--gpus-per-worker", "0"]
    settings = parse_settings(LabelSettings, argv, program="job", about="")
    assert settings is not None
    assert (settings.unit_rows, settings.gpus_per_worker) == (7, 0)


def test_the_recipe_of_fine_tuning_is_not_in_its_first_help(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"--classifier-rate", "--warmup-share", "--weight-decay", "--max-gradient-norm", "--dropout"}
    assert recipe.isdisjoint(entries(shown(FinetuneSettings, capsys, "--help")))


def test_flags_stand_under_headings_and_what_must_be_given_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    panels = {
        panel.split(" ─")[0]: entries(panel) for panel in shown(VerifySettings, capsys, "--help").split("╭─ ")[1:]
    }
    assert panels["Input and output"][0] == "--output"
    assert panels.keys() == {"Input and output", "Limits and safety", "Help"}
    panels = {
        panel.split(" ─")[0]: entries(panel) for panel in shown(LabelSettings, capsys, "--help-all").split("╭─ ")[1:]
    }
    assert list(panels) == [
        "Input and output", "Many questions of one text", "Model", "Speed and resources", "Limits and safety",
        "Only in the --config file, or as ALBERT_INFER_<NAME>", "Help",
    ]  # fmt: skip


def test_the_demo_shows_nothing_that_it_gives_itself(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--input", "--output", "--carry", "--replace"}
    assert given.isdisjoint(entries(shown(DemoSettings, capsys, "--help-all")))
