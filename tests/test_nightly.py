"""Nights one after the other: what becomes of each, what stops the others, and what is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from albert_infer import storage
from albert_infer.config import LabelSettings, NightlySettings
from albert_infer.errors import (
    AlbertInferError,
    InfrastructureError,
    InputError,
    IntegrityError,
    LimitError,
    NoInputError,
    SupersededError,
)
from albert_infer.job.report import Report, Seconds
from albert_infer.operations.nightly import Nights, label_each

WEEK = [f"2024-03-0{day}" for day in range(1, 8)]
PUBLISHED = Report(plan_id="a" * 16, rows=9, labelled=7, rejected={"null_text": 2}, seconds=Seconds(publishing=0.1))
RELABELLED = Report(plan_id="b" * 16, rows=1, labelled=1, seconds=Seconds(publishing=0.1), replaced_plan="a" * 16)
NOTHING_DONE = Report(plan_id="c" * 16, rows=1, labelled=1)
NOTHING_THERE = NoInputError("the input", "nothing is there", "wait")


class Label:
    """Labels nights as told by date, and remembers with what it was called."""

    def __init__(self, ends: Mapping[str, Report | Exception]) -> None:
        self.ends = ends
        self.seen: list[LabelSettings] = []

    def __call__(self, settings: LabelSettings) -> Report:
        """Label a night."""
        self.seen.append(settings)
        end = self.ends.get(Path(settings.input).name.removeprefix("dt="), PUBLISHED)
        if isinstance(end, Exception):
            raise end
        return end

    @property
    def nights(self) -> list[str]:
        """The dates, in the order in which they came."""
        return [Path(settings.input).name.removeprefix("dt=") for settings in self.seen]


def told(folder: Path, label: Label, **settings: Any) -> Nights:
    nightly = NightlySettings(
        **{
            "input_root": str(folder / "in"),
            "output_root": str(folder / "out"),
            "since": WEEK[0],
            "until": WEEK[-1],
            **settings,
        }
    )
    return label_each(nightly, storage.open_folder(str(folder / "out" / "_runs")), label)


def ends(nights: Nights) -> list[str]:
    return [str(night.end) for night in nights.nights]


def test_every_night_is_labelled_in_order_in_its_own_folder_with_the_settings_of_all(tmp_path: Path) -> None:
    label = Label({})
    nights = told(tmp_path, label, unit_rows=5, carry=("a", "b"), partition="x/dt={date}/y")
    assert [settings.output for settings in label.seen] == [f"{tmp_path}/out/x/dt={night}/y/" for night in WEEK]
    assert [settings.input for settings in label.seen] == [f"{tmp_path}/in/x/dt={night}/y/" for night in WEEK]
    assert {(settings.unit_rows, settings.carry, settings.replace) for settings in label.seen} == {
        (5, ("a", "b"), False)
    }
    assert (ends(nights), nights.worst) == (["published"] * 7, None)


def test_a_summary_that_cannot_be_written_fails_the_start_and_stops_no_night(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_runs").write_text("a file where a folder should be")
    label = Label({})
    nights = told(tmp_path, label)
    assert (label.nights, ends(nights)) == (WEEK, ["published"] * 7)
    with pytest.raises(InfrastructureError, match=r"nightly\.json"):
        nights.refuse_failures()


def test_a_root_on_s3_is_joined_as_text(tmp_path: Path) -> None:
    label = Label({})
    told(tmp_path, label, input_root="s3://inbox/a%20b", since=None, until=None, date=WEEK[0])
    assert label.seen[0].input == f"s3://inbox/a%20b/dt={WEEK[0]}/"


def test_what_happened_to_each_night_stands_in_nightly_json(tmp_path: Path) -> None:
    label = Label(
        {
            WEEK[1]: NOTHING_DONE,
            WEEK[2]: NOTHING_THERE,
            WEEK[3]: SupersededError("publish", "plan x is there", "look"),
            WEEK[4]: LimitError("--max-rows 1", "more", "raise it"),
            WEEK[5]: ValueError("a\nsurprise"),
            WEEK[6]: RELABELLED,
        }
    )
    nights = told(tmp_path, label)
    document = json.loads((tmp_path / "out" / "_runs" / "nightly.json").read_text())
    assert (document["format"], document["exit_code"]) == (1, 6)
    assert [night["date"] for night in document["nights"]] == WEEK
    assert [(night["end"], night["exit_code"]) for night in document["nights"]] == [
        ("published", 0),
        ("already_published", 0),
        ("no_input", 2),
        ("another_plan", 6),
        ("failed", 3),
        ("failed", 4),
        ("relabelled", 0),
    ]
    first = document["nights"][0]
    assert [first[name] for name in ("plan_id", "rows", "labelled", "rejected")] == ["a" * 16, 9, 7, 2]
    assert document["nights"][4]["error"] == "--max-rows 1: more; raise it"
    assert "ValueError: a surprise" in document["nights"][5]["error"]
    assert all(night in nights.to_text() for night in WEEK)
    assert nights.facts() == {"nights": {**dict.fromkeys({*ends(nights)}, 1), "failed": 2}}


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ((LimitError, InfrastructureError), 4),
        ((SupersededError, LimitError), 6),
        ((InputError, IntegrityError, InfrastructureError), 5),
    ],
)
def test_a_failed_night_stops_no_other_and_the_largest_exit_code_is_that_of_all(
    tmp_path: Path, failures: tuple[type[AlbertInferError], ...], code: int
) -> None:
    label = Label({night: kind(night, "b", "c") for night, kind in zip(WEEK, failures, strict=False)})
    nights = told(tmp_path, label)
    assert label.nights == WEEK
    with pytest.raises(AlbertInferError) as raised:
        nights.refuse_failures()
    assert raised.value.exit_code == code
    assert all(night in raised.value.asked for night in WEEK[: len(failures)])


def test_stop_on_failure_begins_no_later_night_and_says_so(tmp_path: Path) -> None:
    label = Label({WEEK[2]: LimitError("a", "b", "c")})
    nights = told(tmp_path, label, stop_on_failure=True)
    assert label.nights == WEEK[:3]
    assert ends(nights) == ["published"] * 2 + ["failed"] + ["not_started"] * 4


def test_a_night_without_input_is_an_error_or_left_out_as_missing_says(tmp_path: Path) -> None:
    nights = told(tmp_path, Label({WEEK[0]: NOTHING_THERE}))
    assert nights.worst is NOTHING_THERE
    skipped = told(tmp_path, Label({WEEK[0]: NOTHING_THERE}), missing="skip", stop_on_failure=True)
    assert (skipped.worst, skipped.nights[0].exit_code, ends(skipped)[1:]) == (None, 0, ["published"] * 6)


def test_an_input_that_may_not_be_read_is_not_one_that_is_missing(tmp_path: Path) -> None:
    nights = told(tmp_path, Label({WEEK[0]: InputError("the input", "no right", "ask for it")}), missing="skip")
    assert (ends(nights)[0], nights.nights[0].exit_code) == ("failed", 2)


def test_only_on_change_relabel_labels_over_what_is_published(tmp_path: Path) -> None:
    for choice, replace in (("report", False), ("relabel", True)):
        label = Label({})
        told(tmp_path, label, on_change=choice)
        assert {settings.replace for settings in label.seen} == {replace}


def test_a_line_tells_of_each_night_when_it_has_ended_and_cannot_be_forged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(tmp_path, Label({WEEK[1]: LimitError("a\nnight 2024-03-02: published", "\x1b[31m", "c")}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"night {night}" for night in WEEK]
    assert lines[0].startswith(f"night {WEEK[0]}: published, 7 of 9 rows labelled in ")
    assert "failed" in lines[1]
    assert r"\x1b[31m" in lines[1]


def test_nights_after_a_kill_are_told_as_not_started(tmp_path: Path) -> None:
    class Killed(BaseException):
        """What no job catches."""

    class Dies(Label):
        def __call__(self, settings: LabelSettings) -> Report:
            if len(self.seen) == 2:
                raise Killed
            return super().__call__(settings)

    with pytest.raises(Killed):
        told(tmp_path, Dies({}))
    document = json.loads((tmp_path / "out" / "_runs" / "nightly.json").read_text())
    assert [night["end"] for night in document["nights"]] == ["published"] * 2 + ["not_started"] * 5
