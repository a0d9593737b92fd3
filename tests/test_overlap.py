"""Jobs of several plans, and clean-ups, that overlap at one output: each of nine situations that once lost rows.

A job is stopped at a fail point, another one goes its whole way, and the first goes on. What lies there afterwards is
counted by the code of this test as both kinds of readers count it, and by jobs/verify_labels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import clean_later
import clean_runs
import pyarrow as pa
import pytest
import verify_labels
from flips import flip
from forked import Forked, Main, forked
from job_runs import (
    INLINE_JOB,
    PATIENCE_SECONDS,
    RAY_WARNING,
    Outcome,
    in_open_session,
    made_up_pairs,
    run_here,
    run_inline,
    run_main,
    wait_until,
)
from label_pairs import main
from output_places import (
    LocalPlace,
    Place,
    S3Place,
    deliver_pairs,
    ids_in_folder,
    ids_in_manifest,
    manifest_at,
    other_bytes,
    untrue_files,
    visible_names,
)
from s3_faults import FaultProxy, Rule
from s3_server import S3Server

from albert_infer.common.failpoints import VARIABLE

# Without Ray, but for one test of each kind: what overlaps here comes after all units are labelled.
pytestmark = [pytest.mark.s3, pytest.mark.usefixtures("s3_credentials")]

REPLACE = ("--replace",)
# Another plan over the same input, none of whose units is a unit of the first.
OTHER = ("--max-length", 16)
# More than the 30 that a clean-up keeps.
DAYS = 40


@dataclass
class Stopped:
    """A program that waits at a fail point."""

    process: Forked
    faults: Path

    def go_on(self) -> Outcome:
        """Let it go on, to its end."""
        (self.faults / "go").touch()
        return self.process.outcome()


@dataclass
class Night:
    """An input of three units, one with a rejected row, and the output that all drivers of a test share."""

    place: Place
    checkpoint: Path
    folder: Path
    # Whether its starts label on Ray.
    on_ray: bool = False
    ids: Counter[str] = field(default_factory=Counter)

    def deliver(self, name: str, *, rows: int, seed: int) -> None:
        """Another input file; its first row gets no label."""
        pairs = made_up_pairs(rows, seed=seed)
        premises = pa.array([None, *pairs["premise"].to_pylist()[1:]], pa.string())
        deliver_pairs(self.place, name, pairs.set_column(1, "premise", premises))
        self.ids.update(pairs["pair_id"].to_pylist()[1:])

    def flags(self, *more: object, rejected_share: float = 0.5) -> tuple[object, ...]:
        """The command of the first plan; with `OTHER` of the second."""
        places = ("--input", f"{self.place.uri}/in/", "--output", f"{self.place.uri}/out/", *self.place.flags)
        limits = ("--unit-rows", 16, "--max-rejected-share", rejected_share)
        return (*places, "--model", self.checkpoint, *limits, *more)

    def run(self, *more: object) -> dict[str, Any]:
        """A start to its end, which is 0; what is published then."""
        run = run_here if self.on_ray else run_inline
        outcome = run(*self.flags(*more))
        assert outcome.exit_code == 0, outcome.stderr
        return manifest_at(self.place)

    def forsake(self, *more: object) -> None:
        """A start that labels everything and publishes nothing."""
        outcome = run_inline(*self.flags(*more, rejected_share=0))
        assert outcome.exit_code == 3, outcome.stderr

    @contextmanager
    def stopped(self, point: str, *more: object, hit: int = 1) -> Iterator[Stopped]:
        """A start that waits at the fail point; it is killed at the end of the block, if it has not gone on."""
        env = in_open_session({}) if self.on_ray else {}
        with self._stopped(main if self.on_ray else INLINE_JOB, self.flags(*more), point, hit, env) as driver:
            yield driver

    @contextmanager
    def cleaning(self, point: str) -> Iterator[Stopped]:
        """A clean-up in 40 days that deletes, and waits at the fail point."""
        if isinstance(self.place, LocalPlace):
            self.place.age(DAYS)
        program = clean_runs.main if isinstance(self.place, LocalPlace) else clean_later.main
        root = ("--output-root", f"{self.place.uri}/out/", *self.place.flags, "--delete")
        with self._stopped(program, root, point, 1, {}) as cleaner:
            yield cleaner

    @contextmanager
    def _stopped(
        self, program: Main, flags: Sequence[object], point: str, hit: int, env: Mapping[str, str]
    ) -> Iterator[Stopped]:
        faults = self.folder / f"faults-{uuid4().hex[:8]}"
        faults.mkdir()
        armed = {VARIABLE: f"{point}:wait:{hit}:{faults}"}
        with forked(program, *flags, env={**armed, **env}) as process:
            wait_until((faults / f"{point}.{hit}").exists, process)
            yield Stopped(process, faults)

    def assert_whole(self) -> None:
        """Every reader sees each row once, and nothing else is there to be seen."""
        assert untrue_files(self.place) == []
        assert sorted(visible_names(self.place)) == sorted(file["path"] for file in manifest_at(self.place)["files"])
        assert ids_in_folder(self.place) == self.ids
        assert ids_in_manifest(self.place) == self.ids
        flags = ("--input", f"{self.place.uri}/in/", "--output", f"{self.place.uri}/out/", *self.place.flags)
        verified = run_main(verify_labels.main, *flags)
        assert verified.exit_code == 0, verified.stdout

    def report(self) -> dict[str, Any]:
        """The report of the last start of the published plan."""
        report: dict[str, Any] = json.loads(self.place.read(f"_runs/{manifest_at(self.place)['plan_id']}/report.json"))
        return report


def night_at(place: Place, checkpoint: Path, folder: Path, *, on_ray: bool = False) -> Night:
    night = Night(place, checkpoint, folder, on_ray)
    night.deliver("a.parquet", rows=32, seed=41)
    night.deliver("b.parquet", rows=16, seed=42)
    return night


@pytest.fixture(params=["local", "s3"])
def night(request: pytest.FixtureRequest, checkpoint: Path, s3_server: S3Server, tmp_path: Path) -> Night:
    """On each kind of storage; on Ray where a test asks for it."""
    store, _, on_ray = request.param.partition(" on ")
    if on_ray:
        request.getfixturevalue("session")
    place = LocalPlace(tmp_path) if store == "local" else S3Place(s3_server.location(uuid4().hex[:12]))
    return night_at(place, checkpoint, tmp_path, on_ray=bool(on_ray))


@pytest.fixture
def local_night(checkpoint: Path, tmp_path: Path) -> Night:
    return night_at(LocalPlace(tmp_path), checkpoint, tmp_path)


def nights(*names: str) -> pytest.MarkDecorator:
    """The nights that a test is run on, each a kind of storage, with ` on ray` behind it where jobs label on Ray."""
    marks = {name: (pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)) for name in names if "ray" in name}
    cases = [pytest.param(name, marks=marks.get(name, ())) for name in names]
    return pytest.mark.parametrize("night", cases, indirect=True)


# --- drivers of two plans


@nights("local", "s3", "s3 on ray")
def test_a_driver_that_is_replaced_right_after_it_published_leaves_no_row_of_its_own(night: Night) -> None:
    with night.stopped("success_put") as overtaken:
        winner = night.run(*OTHER, *REPLACE)
        end = overtaken.go_on()
    assert manifest_at(night.place) == winner
    night.assert_whole()
    assert end.exit_code == 6, end.stderr
    assert winner["plan_id"] in end.stderr


def test_a_sealed_driver_that_another_plan_overtakes_makes_nothing_visible(night: Night) -> None:
    with night.stopped("sealed") as overtaken:
        winner = night.run(*OTHER)
        end = overtaken.go_on()
    assert end.exit_code == 6, end.stderr
    assert manifest_at(night.place) == winner
    night.assert_whole()
    night.run(*OTHER)
    night.assert_whole()


def test_files_of_a_plan_that_is_published_again_survive_the_deletes_of_the_one_between(night: Night) -> None:
    first = night.run()
    with night.stopped("deleting", *OTHER, *REPLACE) as between:
        again = night.run(*REPLACE)
        assert again["plan_id"] == first["plan_id"]
        end = between.go_on()
    assert manifest_at(night.place) == again
    night.assert_whole()
    assert end.exit_code == 6, end.stderr


def test_a_delete_that_s3_gets_only_after_the_next_publications_takes_nothing_they_name(
    checkpoint: Path, s3_server: S3Server, tmp_path: Path
) -> None:
    location, more = s3_server.location(uuid4().hex[:12]), (*OTHER, *REPLACE)
    night = night_at(S3Place(location), checkpoint, tmp_path)
    night.run()
    with FaultProxy(location.endpoint, [Rule("hold", "POST", r"\?delete", times=None)]) as proxy:
        through = Night(S3Place(location, proxy.endpoint), checkpoint, tmp_path)
        with forked(INLINE_JOB, *through.flags(*more)) as between:
            wait_until(lambda: proxy.faults["hold"] > 0, between)
            again = night.run(*REPLACE)
            proxy.set_rules([])
            _, stderr = between.communicate(timeout=PATIENCE_SECONDS)
    assert manifest_at(night.place) == again
    night.assert_whole()
    assert between.returncode == 6, stderr


FLIP_ROUNDS = 3


def test_four_starts_at_once_that_flip_between_two_plans_leave_one_of_them_whole(local_night: Night) -> None:
    night, plans = local_night, [(), OTHER]
    plan_ids: dict[str, tuple[object, ...]] = {}
    for plan in plans:
        night.forsake(*plan)
    # So that a start of either plan has nothing to label, and publishes within milliseconds.
    staged = {name: night.place.read(name) for name in night.place.names() if name.startswith("_units/")}
    for plan in reversed(plans):
        plan_ids[night.run(*plan, *REPLACE)["plan_id"]] = plan
    with ExitStack() as drivers:
        for number in range(4):
            flags = night.flags(*plans[number % 2], *REPLACE)
            drivers.enter_context(forked(partial(flip, night.folder, f"driver-{number}", FLIP_ROUNDS), *flags))
        wait_until(lambda: len(list(night.folder.glob("driver-*.ready"))) == 4)
        for number in range(FLIP_ROUNDS):
            for name, data in staged.items():
                night.place.put(name, data)
            (night.folder / f"go.{number}").touch()
            ended = [night.folder / f"driver-{driver}.{number}" for driver in range(4)]
            wait_until(lambda ended=ended: all(path.exists() for path in ended))  # type: ignore[misc]
            assert {path.read_text() for path in ended} <= {"0", "6"}
            assert untrue_files(night.place) == []
            standing = manifest_at(night.place)["plan_id"]
            assert night.run(*plan_ids[standing])["plan_id"] == standing
            night.assert_whole()


# --- clean-ups


def forsake_in_two_ways(night: Night, left: str) -> None:
    """Leave a run of the other plan unpublished: with all its units staged, or with final names too beside another."""
    if left == "labelled":
        night.forsake(*OTHER)
        return
    night.run()
    with night.stopped("files_published", *OTHER, *REPLACE):
        pass  # it is killed


def test_a_clean_up_takes_nothing_of_a_forsaken_run_that_is_published_after_it_was_listed(night: Night) -> None:
    forsake_in_two_ways(night, "files_published")
    with night.cleaning("leftovers_listed") as cleaner:
        resumed = night.run(*OTHER, *REPLACE)
        end = cleaner.go_on()
    assert end.exit_code == 4, f"{end.stdout}\n{end.stderr}"
    assert manifest_at(night.place) == resumed
    night.assert_whole()


@pytest.mark.parametrize("left", ["files_published", "labelled"])
def test_a_clean_up_whose_delete_s3_gets_only_after_the_forsaken_run_was_published_takes_nothing_it_names(
    checkpoint: Path, s3_server: S3Server, tmp_path: Path, left: str
) -> None:
    location = s3_server.location(uuid4().hex[:12])
    night = night_at(S3Place(location), checkpoint, tmp_path)
    forsake_in_two_ways(night, left)
    with FaultProxy(location.endpoint, [Rule("hold", "POST", r"\?delete", times=None)]) as proxy:
        flags = ("--output-root", f"{night.place.uri}/out/", "--delete", "--s3-endpoint", proxy.endpoint)
        with forked(clean_later.main, *flags) as cleaner:
            wait_until(lambda: proxy.faults["hold"] > 0, cleaner)
            night.run(*OTHER, *REPLACE)
            proxy.set_rules([])
            _, stderr = cleaner.communicate(timeout=PATIENCE_SECONDS)
    assert untrue_files(night.place) == []
    assert cleaner.returncode == 4, stderr
    night.run(*OTHER)
    night.assert_whole()


@nights("local", "local on ray")
def test_a_clean_up_keeps_old_units_that_the_first_start_of_a_new_plan_counts_on(night: Night) -> None:
    night.forsake()
    units = {name: night.place.read(name) for name in night.place.names() if name.startswith("_units/")}
    LocalPlace(night.folder).age(DAYS)
    night.deliver("c.parquet", rows=16, seed=43)
    with night.stopped("planned") as first:
        cleaned = run_main(clean_runs.main, "--output-root", f"{night.place.uri}/out", "--delete")
        assert cleaned.exit_code == 0, cleaned.stderr
        assert {name: night.place.read(name) for name in units} == units
        end = first.go_on()
    assert end.exit_code == 0, end.stderr
    assert night.report()["units"] == {"done_before": 3, "labelled": 1}
    night.assert_whole()


# --- files that go, or change


def test_a_published_file_that_was_removed_is_labelled_again_by_any_start_of_the_plan(local_night: Night) -> None:
    night = local_night
    night.place.remove(night.run()["files"][1]["path"])
    night.run()
    assert night.report()["units"]["labelled"] == 1
    night.assert_whole()


def test_a_published_file_that_was_removed_is_labelled_again_by_the_plan_that_replaces_its_own(
    local_night: Night,
) -> None:
    night = local_night
    night.place.remove(night.run()["files"][1]["path"])
    night.deliver("c.parquet", rows=16, seed=43)
    night.run(*REPLACE)
    assert night.report()["units"] == {"done_before": 2, "labelled": 2}
    night.assert_whole()


def test_two_drivers_of_one_plan_end_well_however_slow_one_is_at_a_listing(local_night: Night) -> None:
    night = local_night
    with night.stopped("looked", hit=2) as slow:
        assert len([name for name in night.place.names() if name.startswith("_units/")]) == 5
        night.run()
        night.assert_whole()
        end = slow.go_on()
    assert end.exit_code == 0, end.stderr
    night.assert_whole()


def test_other_bytes_of_the_same_size_under_a_final_name_are_not_published(night: Night) -> None:
    with night.stopped("sealed") as driver:
        (seal,) = [name for name in night.place.names() if name.endswith("/sealed.json")]
        entry = json.loads(night.place.read(seal))["files"][0]
        staged = night.place.read(f"_units/{entry['unit_id']}.parquet")
        night.place.put(entry["path"], other_bytes(staged))
        end = driver.go_on()
    assert end.exit_code == 0, end.stderr
    assert entry["path"] in {file["path"] for file in manifest_at(night.place)["files"]}
    night.assert_whole()


def test_other_bytes_of_the_same_size_in_a_published_file_are_labelled_again(local_night: Night) -> None:
    night = local_night
    name = night.run()["files"][1]["path"]
    night.place.put(name, other_bytes(night.place.read(name)))
    assert untrue_files(night.place) == [name]
    night.run()
    assert night.report()["units"]["labelled"] == 1
    night.assert_whole()
