"""Cleaning takes what no run needs any more, and never what a `_SUCCESS` names or a run may come back to."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clean_runs as job
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_runs import (
    PROGRAM_PATH,
    Outcome,
    made_up_pairs,
    run_inline,
    run_main,
    run_program,
    state_of,
    verify,
    write_pairs,
)
from pairs import FILE_PROPERTY
from published_runs import PublishedRun

from albert_infer.config import CleanSettings
from albert_infer.operations.cleaning import clean_runs
from albert_infer.operations.leftovers import outputs_of
from albert_infer.output.inspection import look
from albert_infer.output.publish import mark_begun
from albert_infer.storage import Folder, ObjectPin, StoredObject, open_folder

NOW = datetime.now(UTC)
# Before and within the 30 days that are kept.
OLD, YOUNG = 31, 29
PUBLISHED, OTHER = "aa" * 8, "bb" * 8
UNIT, SECOND, STRAY = "11" * 8, "22" * 8, "33" * 8
PART, SECOND_PART, STRAY_PART = (f"part-{unit}.parquet" for unit in (UNIT, SECOND, STRAY))


@dataclass(frozen=True)
class Output:
    """An output whose objects are made up, each so many days old."""

    path: Path

    def put(self, name: str, text: str = "x", *, days: int = OLD) -> None:
        """Write an object."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        age(path, days)

    def publish(self, *units: str, plan: str = PUBLISHED, days: int = OLD) -> None:
        """A run of these units, with the manifest that names their files."""
        for unit in units:
            self.put(f"part-{unit}.parquet", days=days)
        self.put("_SUCCESS", json.dumps(manifest(plan, units)), days=days)
        self.plan(plan, *units, days=days)

    def plan(self, plan: str, *units: str, days: int = OLD) -> None:
        """The folder of a run of these units."""
        self.put(f"_runs/{plan}/plan.json", json.dumps({"units": [{"unit_id": unit} for unit in units]}), days=days)

    def names(self) -> set[str]:
        """Every object."""
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "labels" / "dt=2024-03-01")


def age(path: Path, days: int) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def manifest(plan: str, units: Sequence[str]) -> dict[str, object]:
    """As version 1 wrote it."""
    none = {"labelled": 0, "rejected": {}, "labels": {}, "tokens": 0, "truncated": 0, "replaces": [], "inputs": []}
    summary = {"rows_in": 1, **{name: none[name] for name in ("labelled", "rejected", "labels", "tokens", "truncated")}}
    files = [
        {"path": f"part-{unit}.parquet", "unit_id": unit, "bytes": 1, "rows": 1, "sha256": "0" * 64}
        | {"summary": {"unit_id": unit, **summary}}
        for unit in units
    ]
    return {
        **none,
        "format": 1,
        "plan_id": plan,
        "rows_in": len(units),
        "files": files,
        "rejected_files": [],
        "quarantined": {"files": [], "units": [], "rows_known": 0},
        "model": {},
    }


def clean(root: Path, *more: object) -> Outcome:
    return run_main(job.main, "--output-root", root, *more)


def gone(output: Output) -> set[str]:
    """What a clean-up deletes; it is what the dry run before it has listed."""
    before = output.names()
    listed = clean(output.path)
    assert (listed.exit_code, output.names()) == (0, before), listed.stderr
    deleted = clean(output.path, "--delete")
    assert deleted.exit_code == 0, deleted.stderr
    taken = before - output.names()
    for text in (listed.stdout, deleted.stdout):
        assert {line.split()[0] for line in text.splitlines() if line.startswith("  ")} == {
            str(output.path / name) for name in taken
        }
    return taken


def test_a_published_run_keeps_all_that_it_needs(output: Output) -> None:
    output.publish(UNIT, SECOND)
    output.put(f"_runs/{PUBLISHED}/report.json")
    assert gone(output) == set()


def test_old_leftovers_of_a_published_run_go(output: Output) -> None:
    output.publish(UNIT)
    leftovers = {f"_units/{UNIT}.parquet", f"_units/{STRAY}.rejected.parquet", f"_units/{STRAY}.quarantine.json"}
    leftovers |= {STRAY_PART, f"_rejected/{STRAY_PART}", f"_runs/{OTHER}/report.json"}
    for name in leftovers:
        output.put(name)
    assert gone(output) == leftovers


def test_young_leftovers_stay(output: Output) -> None:
    output.publish(UNIT)
    for name in (f"_units/{UNIT}.parquet", STRAY_PART, f"_runs/{OTHER}/report.json"):
        output.put(name, days=YOUNG)
    assert gone(output) == set()


def test_what_no_run_of_ours_made_is_nobodys_business(output: Output) -> None:
    output.publish(UNIT)
    for name in (
        "notes.txt",
        "part-0.parquet",
        "_units/notes",
        f"_units/{STRAY}.csv",
        "_runs/nightly.json",
        "_runs/x/y",
    ):
        output.put(name)
    assert gone(output) == set()


@pytest.mark.parametrize("young", [f"_runs/{OTHER}/sealed.json", f"_units/{SECOND}.parquet"])
def test_a_run_that_wrote_anything_lately_keeps_all_of_its_units(output: Output, young: str) -> None:
    """It may be publishing at this moment, its files under their final names and named by nobody yet."""
    output.publish(UNIT)
    output.plan(OTHER, SECOND, STRAY)
    for name in (f"_units/{SECOND}.parquet", f"_units/{STRAY}.parquet", SECOND_PART, STRAY_PART):
        output.put(name)
    output.put(young, days=YOUNG)
    assert gone(output) == set()


def test_a_start_that_goes_on_from_old_units_keeps_them_though_it_has_labelled_nothing_yet(output: Output) -> None:
    output.publish(UNIT)
    output.plan(OTHER, SECOND)
    for name in (f"_units/{SECOND}.parquet", SECOND_PART):
        output.put(name)
    folder = open_folder(str(output.path))
    mark_begun(OTHER, look(folder), folder, NOW)
    assert gone(output) == set()


def test_a_retry_of_the_published_run_keeps_what_it_has_staged(output: Output) -> None:
    output.publish(UNIT)
    output.plan(PUBLISHED, UNIT, SECOND, STRAY)
    output.put(f"_units/{SECOND}.parquet")
    output.put(f"_units/{STRAY}.parquet", days=YOUNG)
    assert gone(output) == set()


def test_a_location_without_any_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    outcome = clean(tmp_path)
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1)


def test_days_beyond_the_calendar_are_refused(output: Output) -> None:
    output.publish(UNIT)
    assert clean(output.path, "--keep-days", 1_000_000).exit_code == 2


def test_a_run_that_was_forsaken_goes_whole(output: Output) -> None:
    output.publish(UNIT)
    output.plan(OTHER, SECOND)
    output.put(f"_units/{SECOND}.parquet")
    output.put(f"_runs/{OTHER}/sealed.json")
    assert gone(output) == {
        f"_units/{SECOND}.parquet",
        f"_runs/{OTHER}/plan.json",
        f"_runs/{OTHER}/sealed.json",
    }


def test_where_nothing_is_published_files_of_labels_and_a_sealed_run_stay(output: Output) -> None:
    output.plan(OTHER, SECOND)
    output.put(f"_runs/{OTHER}/sealed.json")
    for name in (SECOND_PART, STRAY_PART, f"_units/{SECOND}.parquet", f"_units/{STRAY}.parquet"):
        output.put(name)
    assert gone(output) == {f"_units/{STRAY}.parquet"}


def test_a_run_that_was_never_sealed_nor_published_goes_when_it_is_old(output: Output) -> None:
    output.plan(OTHER, SECOND)
    output.put(f"_units/{SECOND}.parquet")
    assert gone(output) == {f"_units/{SECOND}.parquet", f"_runs/{OTHER}/plan.json"}


def not_the_marker(output: Output) -> Path:
    """The place of `_SUCCESS`, empty."""
    (output.path / "_SUCCESS").unlink()
    return output.path / "_SUCCESS"


DAMAGES: dict[str, Callable[[Output], object]] = {
    "not JSON": lambda output: output.put("_SUCCESS", ""),
    "another format": lambda output: output.put("_SUCCESS", '{"format": 2}'),
    "an empty entry": lambda output: output.put("_SUCCESS", json.dumps({**manifest(PUBLISHED, [UNIT]), "files": [{}]})),
    "very deep": lambda output: output.put("_SUCCESS", "[" * 100_000),
    "a link to nothing": lambda output: not_the_marker(output).symlink_to("gone"),
    "a folder": lambda output: not_the_marker(output).mkdir(),
    "a missing file": lambda output: (output.path / PART).rename(output.path / SECOND_PART),
    "a plan that is none": lambda output: output.put(f"_runs/{OTHER}/plan.json", "{}"),
    "a plan that is very deep": lambda output: output.put(f"_runs/{OTHER}/plan.json", '{"units":' * 10_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_output_that_cannot_be_judged_is_left_alone_and_the_others_are_done(output: Output, damage: str) -> None:
    other = Output(output.path.with_name("dt=2024-03-02"))
    for one in (output, other):
        one.publish(UNIT)
        one.put(STRAY_PART)
    DAMAGES[damage](output)
    before = output.names()
    outcome = clean(output.path.parent, "--delete")
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (5, 1), outcome.stderr
    assert str(output.path) in outcome.stderr
    assert output.names() == before
    assert STRAY_PART not in other.names()
    assert PART in other.names()


@pytest.mark.process
@pytest.mark.parametrize("damage", ["", "_SUCCESS"])
def test_a_name_is_listed_on_one_line_and_to_a_terminal_of_any_encoding(tmp_path: Path, damage: str) -> None:
    names = ["dt=1\nsummary {}\x1b[31m", "dt=2\u202e", "dt=é"]
    for name in names:
        output = Output(tmp_path / "labels" / name)
        output.publish(UNIT)
        output.put(damage or STRAY_PART)
    command = [sys.executable, Path(job.__file__), "--output-root", tmp_path / "labels"]
    outcome = run_program(command, env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": PROGRAM_PATH})
    assert outcome.exit_code == (5 if damage else 0), outcome.stderr
    assert outcome.stdout.isascii()
    lines = outcome.stdout.splitlines()[:-1]
    assert len(lines) == (4 if damage else 7), "one for each object, one for each output, and the total"
    for told in (r"dt=1\nsummary {}\x1b[31m", r"dt=2\u202e", r"dt=\xe9"):
        assert any(told in line for line in lines)
    assert outcome.summary["exit_code"] == outcome.exit_code


def test_outputs_are_found_at_any_depth_and_told_apart() -> None:
    names = ["_SUCCESS", "a/_units/" + UNIT + ".parquet", f"a/b/_rejected/{PART}", f"a/b/_runs/{OTHER}/x/y", "a/b/else"]
    found = outputs_of([StoredObject(ObjectPin(name, 1, "1"), NOW) for name in names])
    assert {output: [entry.name for entry in objects] for output, objects in found.items()} == {
        "": ["_SUCCESS"],
        "a/": [f"_units/{UNIT}.parquet"],
        "a/b/": [f"_rejected/{PART}", f"_runs/{OTHER}/x/y"],
    }


@pytest.mark.parametrize("days", [YOUNG, OLD])
def test_the_same_holds_on_every_storage_by_the_clock_of_the_store(folder: Folder, days: int) -> None:
    folder.put_if_absent(f"night/{PART}", b"x")
    folder.put_if_absent("night/_SUCCESS", json.dumps(manifest(PUBLISHED, [UNIT])).encode())
    folder.put_if_absent(f"night/_units/{STRAY}.parquet", b"four")
    endpoint = getattr(getattr(folder, "access", None), "endpoint", None)
    settings = CleanSettings(output_root=folder.uri, s3_endpoint=endpoint, delete=True)
    cleaning = clean_runs(settings, now=datetime.now(UTC) + timedelta(days=days))
    left = {pin.name for pin in folder.objects()}
    assert {f"night/{PART}", "night/_SUCCESS"} <= left
    assert (f"night/_units/{STRAY}.parquet" in left) == (days == YOUNG)
    assert sum(output.size for output in cleaning.outputs) == (4 if days == OLD else 0)


# --- with a real run


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """Three units of two files."""
    folder = tmp_path_factory.mktemp("published")
    for seed, name in enumerate("ab"):
        write_pairs(folder / "in" / f"{name}.parquet", made_up_pairs(24, seed=seed))
    run = PublishedRun(folder / "in", folder / "out")
    outcome = run_inline("--input", run.source, "--output", run.output, "--model", checkpoint, "--unit-rows", 16)
    assert outcome.exit_code == 0, outcome.stderr
    return run


LITTER = st.sampled_from(["copy", "staged", "quarantine", "file", "rejected", "run"])


@pytest.mark.computes
@FILE_PROPERTY
@given(litter=st.lists(st.tuples(LITTER, st.sampled_from([OLD, YOUNG]), st.integers(0, 3)), max_size=8))
@example(litter=[("copy", OLD, 0), ("copy", YOUNG, 1)])
def test_whatever_lies_about_a_clean_run_passes_its_verification(
    published: PublishedRun, tmp_path_factory: pytest.TempPathFactory, litter: list[tuple[str, int, int]]
) -> None:
    run = published.copied(tmp_path_factory.mktemp("littered"))
    manifest = run.manifest
    # What is published keeps its time: with another it would look changed, and its staged copies would be needed.
    named = {run.output / entry["path"] for entry in (*manifest["files"], *manifest["rejected_files"])}
    for path in {*run.output.rglob("*")} - named:
        age(path, OLD)
    before, output = state_of(run.output), Output(run.output)
    units = [entry["unit_id"] for entry in manifest["files"]]
    young: set[str] = set()
    for kind, days, number in litter:
        stray = f"{number:016x}"
        name = {
            "copy": f"_units/{units[number % len(units)]}.parquet",
            "staged": f"_units/{stray}.parquet",
            "quarantine": f"_units/{stray}.quarantine.json",
            "file": f"part-{stray}.parquet",
            "rejected": f"_rejected/part-{stray}.parquet",
            "run": f"_runs/{stray}/report.json",
        }[kind]
        output.put(name, days=days)
        young = young | {name} if days == YOUNG else young - {name}
    assert clean(run.output, "--delete").exit_code == 0
    assert output.names() == before.keys() | young
    assert clean(run.output, "--delete", "--keep-days", 20).exit_code == 0
    assert state_of(run.output) == before
    verify(run.output, run.source)
