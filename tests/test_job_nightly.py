"""The nightly job on local folders, with real runs: what is published stays, what changed is told, nobody doubles."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import label_nightly
import pytest
from forked import run_forked
from inline_job import OneThread
from job_runs import (
    RAY_WARNING,
    Outcome,
    labelled_rows,
    made_up_pairs,
    report_of,
    run_main,
    state_of,
    verify,
    visible_files,
    write_pairs,
)

# The job without Ray.
NIGHTLY = partial(label_nightly.main, executor=OneThread())


@dataclass(frozen=True)
class Nights:
    """Two roots with a night's folders below each."""

    inbox: Path
    labels: Path
    checkpoint: Path

    def flags(self, *more: object) -> tuple[object, ...]:
        """Of the job, for the first three nights of March."""
        places = ("--input-root", self.inbox, "--output-root", self.labels, "--model", self.checkpoint)
        return (*places, "--unit-rows", 16, "--since", "2024-03-01", "--until", "2024-03-03", *more)

    def deliver(self, day: int, name: str, *, rows: int) -> None:
        """Put a file into the inbox of that night."""
        write_pairs(self.source(day) / name, made_up_pairs(rows, seed=day))

    def source(self, day: int) -> Path:
        """A night's input."""
        return self.inbox / f"dt=2024-03-0{day}"

    def output(self, day: int) -> Path:
        """A night's output."""
        return self.labels / f"dt=2024-03-0{day}"

    def told(self) -> list[dict[str, Any]]:
        """What `nightly.json` says of each night."""
        nights: list[dict[str, Any]] = json.loads((self.labels / "_runs" / "nightly.json").read_text())["nights"]
        return nights

    def ends(self) -> list[str]:
        """In a word each."""
        return [night["end"] for night in self.told()]


@pytest.fixture
def nights(checkpoint: Path, tmp_path: Path) -> Nights:
    """Pairs on the first and the third; of the second a folder with marks alone."""
    nights = Nights(tmp_path / "inbox", tmp_path / "labels", checkpoint)
    nights.deliver(1, "a.parquet", rows=40)
    nights.deliver(3, "a.parquet", rows=20)
    nights.source(2).mkdir()
    (nights.source(2) / "_SUCCESS").touch()
    (nights.source(2) / "_committed_42").write_text("{}")
    return nights


def label(nights: Nights, *more: object) -> Outcome:
    return run_main(NIGHTLY, *nights.flags(*more))


@pytest.mark.computes
def test_nights_are_labelled_once_and_a_late_file_changes_nothing_until_it_is_asked_for(nights: Nights) -> None:
    first = label(nights)
    assert first.exit_code == 2
    assert len(first.errors) == 1, first.stderr
    assert "2024-03-02" in first.errors[0]
    assert nights.ends() == ["published", "no_input", "published"]
    assert [night["rows"] for night in nights.told()] == [40, None, 20]
    for day in (1, 3):
        verify(nights.output(day), nights.source(day))
    assert not nights.output(2).exists()
    seen = visible_files(nights.labels)
    assert {Path(name).suffix for name in seen} == {".parquet"}, "the root is a folder of labels for any reader"

    before = {day: state_of(nights.output(day)) for day in (1, 3)}
    again = label(nights, "--missing", "skip")
    assert (again.exit_code, again.errors) == (0, []), again.stderr
    assert nights.ends() == ["already_published", "no_input", "already_published"]

    nights.deliver(3, "late.parquet", rows=10)
    refused = label(nights, "--missing", "skip")
    assert refused.exit_code == 6
    assert nights.ends() == ["already_published", "no_input", "another_plan"]
    assert "give --on-change relabel to publish over it" in refused.stderr
    assert {day: state_of(nights.output(day)) for day in (1, 3)} == before, "nothing was touched"

    relabelled = label(nights, "--missing", "skip", "--on-change", "relabel")
    assert (relabelled.exit_code, relabelled.errors) == (0, []), relabelled.stderr
    assert nights.ends() == ["already_published", "no_input", "relabelled"]
    verify(nights.output(3), nights.source(3))
    assert report_of(nights.output(3))["units"] == {"done_before": 2, "labelled": 1}, "only the late file was labelled"
    assert state_of(nights.output(1)) == before[1]


@pytest.mark.process
def test_two_drivers_on_the_same_nights_cost_time_and_no_row(nights: Nights) -> None:
    with ThreadPoolExecutor(2) as both:
        outcomes = list(both.map(lambda _: run_forked(NIGHTLY, *nights.flags("--missing", "skip")), range(2)))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0], [outcome.stderr for outcome in outcomes]
    for day, rows in ((1, 40), (3, 20)):
        assert labelled_rows(nights.output(day)).num_rows == rows
        verify(nights.output(day), nights.source(day))


def test_a_gold_set_that_is_missing_is_no_night_without_input(nights: Nights, tmp_path: Path) -> None:
    outcome = label(nights, "--missing", "skip", "--gold", tmp_path / "nowhere")
    assert outcome.exit_code == 2
    assert nights.ends() == ["failed", "no_input", "failed"]


@pytest.mark.ray
@pytest.mark.filterwarnings(RAY_WARNING)
@pytest.mark.usefixtures("session")
def test_a_night_that_was_delivered_otherwise_is_not_left_out_with_the_empty_ones(nights: Nights) -> None:
    (nights.source(2) / "part-0.parquet.gz").write_bytes(b"\x1f\x8b")
    nights.deliver(1, "_hour=00/b.parquet", rows=8)
    nights.deliver(1, "_hour=00/b.parquet.bak", rows=8)
    # On Ray, whose session both nights share.
    outcome = run_main(label_nightly.main, *nights.flags("--missing", "skip"))
    assert (outcome.exit_code, len(outcome.errors)) == (2, 1)
    assert "2024-03-02" in outcome.errors[0]
    assert "1 as not Parquet, first part-0.parquet.gz" in outcome.errors[0]
    assert nights.ends() == ["published", "failed", "published"]
    assert labelled_rows(nights.output(1)).num_rows == 48
    verify(nights.output(1), nights.source(1))
    assert nights.told()[0]["left_out"] == "1 as a copy or half-written, first _hour=00/b.parquet.bak"
    assert "left out: 1 as a copy or half-written, first _hour=00/b.parquet.bak" in outcome.stdout
