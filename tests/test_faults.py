"""Every event that may befall a run on its way: nothing is lost, nothing is there twice, nothing is visible too early.

A fault is made by a named fail point, or by a real kill. After each the same command goes on from what is there.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from forked import Forked, forked, run_forked
from job_runs import (
    INLINE_JOB,
    RAY_WARNING,
    Outcome,
    break_page,
    in_open_session,
    labelled_rows,
    made_up_pairs,
    manifest_of,
    report_of,
    run_here,
    run_inline,
    staged_units,
    state_of,
    verify,
    visible_files,
    wait_until,
    write_pairs,
)
from label_pairs import main

from albert_infer.common.failpoints import VARIABLE
from albert_infer.schema import Precision

pytestmark = pytest.mark.filterwarnings(RAY_WARNING)

# A start that is to be killed at a point, and what may be seen of it then.
BEFORE_ANY_UNIT = ("planned", "plan_put", "reading", "classifying")
AROUND_A_UNIT = ("classified", "rejected_put", "quarantine_put", "part_ready", "local_staged", "part_put")
AFTER_ALL_UNITS = ("labelled", "accounted", "sealed")
WHILE_PUBLISHING = ("file_published", "files_published", "success_put")
# While a unit is worked on; the others show less.
ALWAYS_RUN = {"part_put"}


@dataclass(frozen=True)
class Night:
    """An input with rows to label, to reject and to quarantine, and where its labels go."""

    source: Path
    output: Path
    checkpoint: Path
    faults: Path

    @property
    def flags(self) -> tuple[object, ...]:
        """The command, with limits that accept what is wrong with the input."""
        return self.accepting(bad_files=1)

    def accepting(self, *, bad_files: int) -> tuple[object, ...]:
        """The command with that limit on files that cannot be read."""
        limits = ("--max-bad-files", bad_files, "--max-rejected-share", 0.2)
        return ("--input", self.source, "--output", self.output, "--model", self.checkpoint, "--unit-rows", 16, *limits)

    def armed(self, *points: str) -> dict[str, str]:
        """The environment that arms `points`, each `POINT[@TEXT]:ACTION:HITS`, in one process."""
        self.faults.mkdir(exist_ok=True)
        return {VARIABLE: ";".join(f"{point}:{self.faults}" for point in points)}

    def on_ray(self, *points: str) -> dict[str, str]:
        """The environment that arms `points` in a driver of the open session, and in its workers."""
        armed = self.armed(*points)
        return {**armed, **in_open_session(armed)}

    @contextmanager
    def started(self, point: str, *more: object, bad_files: int = 1) -> Iterator[Forked]:
        """A driver without Ray, in which a point is armed; it is killed at the end of the block."""
        with forked(INLINE_JOB, *self.accepting(bad_files=bad_files), *more, env=self.armed(point)) as process:
            yield process

    def hits(self, point: str) -> int:
        """How often any process has come to an armed point."""
        return len(list(self.faults.glob(f"{point}.*")))

    def go_on(self, *more: object) -> Outcome:
        """The same command again, in this process and without Ray."""
        return run_inline(*self.flags, *more)

    @property
    def manifest_stands(self) -> bool:
        """Whether anything is published."""
        return (self.output / "_SUCCESS").exists()


@pytest.fixture
def night(checkpoint: Path, tmp_path: Path) -> Night:
    """Two files, seven units: one with rejected rows, one that cannot be read."""
    pairs = made_up_pairs(112, seed=21)
    premises = pairs["premise"].to_pylist()
    premises[20], premises[100] = None, "   "
    pairs = pairs.set_column(1, "premise", pa.array(premises, pa.string()))
    source = tmp_path / "in"
    write_pairs(source / "a.parquet", pairs.slice(0, 64))
    break_page(write_pairs(source / "b.parquet", pairs.slice(64)), 1)
    return Night(source, tmp_path / "out", checkpoint, tmp_path / "faults")


LABELLED, REJECTED, QUARANTINED = 94, 2, 16


def assert_published_whole(night: Night) -> None:
    """The recount from the files alone, and the counts that this input must give."""
    verify(night.output, night.source)
    manifest = manifest_of(night.output)
    counts = (manifest["labelled"], sum(manifest["rejected"].values()), manifest["quarantined"]["rows_known"])
    assert counts == (LABELLED, REJECTED, QUARANTINED)


# --- the driver dies


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=() if point in ALWAYS_RUN else pytest.mark.slow)
        for point in (*BEFORE_ANY_UNIT, *AROUND_A_UNIT)
    ],
)
def test_a_driver_killed_while_it_labels_publishes_nothing_and_the_next_start_goes_on(night: Night, point: str) -> None:
    hit = 2 if point in {"part_put", "local_staged"} else 1

    with forked(main, *night.flags, env=night.on_ray(f"{point}:wait:{hit}-99")) as process:
        wait_until(lambda: night.hits(point) >= hit, process)

    assert (night.manifest_stands, visible_files(night.output)) == (False, [])
    goes_on(night, run_here)


@pytest.mark.process
@pytest.mark.parametrize("point", [*AFTER_ALL_UNITS, *WHILE_PUBLISHING])
def test_a_driver_killed_while_it_publishes_publishes_nothing_by_halves_and_the_next_start_goes_on(
    night: Night, point: str
) -> None:
    hit = 2 if point == "file_published" else 1
    with night.started(f"{point}:wait:{hit}-99") as process:
        wait_until(lambda: night.hits(point) >= hit, process)

    assert night.manifest_stands == (point == "success_put")
    assert bool(visible_files(night.output)) == (point in WHILE_PUBLISHING), "data is visible before the run is sealed"
    goes_on(night, run_inline, with_report=point in AFTER_ALL_UNITS[:-1])


def goes_on(night: Night, run: Callable[..., Outcome], *, with_report: bool = True) -> None:
    """The next start publishes the night, and labels what is not finished; the one after it touches nothing."""
    before = {*state_of(night.output, "_units/*.parquet").values(), *state_of(night.output, "part-*").values()}
    done = len(staged_units(night.output)) + len(list(night.output.glob("_units/*.quarantine.json")))

    again = run(*night.flags)

    assert (again.exit_code, again.errors) == (0, []), again.stderr
    assert_published_whole(night)
    assert before <= {*state_of(night.output, "*.parquet").values()}, "a finished unit was labelled again"
    if with_report:
        assert report_of(night.output)["units"] == {"done_before": done, "labelled": 7 - done}
    finished = state_of(night.output)
    once_more = night.go_on()
    assert (once_more.exit_code, once_more.errors) == (0, [])
    assert state_of(night.output) == finished, "a run that is published is touched by nothing"


@pytest.mark.ray
@pytest.mark.usefixtures("session")
def test_a_driver_that_is_asked_to_end_while_workers_read_says_so_and_the_next_start_goes_on(night: Night) -> None:
    with forked(main, *night.flags, env=night.on_ray("reading:wait:1-99")) as process:
        ends_in_one_line(night, process, "reading", signal.SIGTERM)


@pytest.mark.process
@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(("point", "number"), [("sealed", signal.SIGTERM), ("files_published", signal.SIGHUP)])
def test_a_driver_that_is_asked_to_end_says_so_and_the_next_start_goes_on(
    night: Night, point: str, number: signal.Signals
) -> None:
    with night.started(f"{point}:wait:1-99") as process:
        ends_in_one_line(night, process, point, number)


def ends_in_one_line(night: Night, process: Forked, point: str, number: signal.Signals) -> None:
    """A driver that gets the signal at the point ends with 4, and the next start publishes the night."""
    wait_until(lambda: night.hits(point) >= 1, process)
    process.send_signal(number)
    ended = process.outcome(60)
    told = str(ended.summary["error"])
    assert told.startswith(f"the job: ended from outside by {number.name}; ")
    assert "run the same command again" in told
    assert (ended.exit_code, ended.errors) == (4, [f"label_pairs.py: {told}"])
    assert not night.manifest_stands
    assert report_of(night.output)["exit_code"] == 4
    assert night.go_on().exit_code == 0
    assert_published_whole(night)


@pytest.mark.process
def test_a_driver_killed_while_it_replaces_a_run_leaves_the_old_manifest_whole(night: Night) -> None:
    assert night.go_on().exit_code == 0
    old = {name: state for name, state in state_of(night.output).items() if "_runs" not in name}
    write_pairs(night.source / "c.parquet", made_up_pairs(20, seed=22))

    with night.started("files_published:wait:1", "--replace") as process:
        wait_until(lambda: night.hits("files_published") == 1, process)

    assert old.items() <= state_of(night.output).items()
    assert night.go_on("--replace").exit_code == 0
    verify(night.output, night.source)
    assert manifest_of(night.output)["labelled"] == LABELLED + 20


# --- a worker dies


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    "precision", [Precision.INT8, *(pytest.param(each, marks=pytest.mark.slow) for each in ("fp32", "bf16"))]
)
def test_two_workers_killed_at_every_point_cost_nothing_but_time_and_change_no_bit_of_a_label(
    night: Night, precision: str
) -> None:
    # What one process makes of the same files in another order.
    alone = Night(night.source.with_name("in-turned"), night.output.with_name("alone"), night.checkpoint, night.faults)
    shutil.copytree(night.source, alone.source)
    (alone.source / "a.parquet").rename(alone.source / "z.parquet")
    labels = ("--precision", precision, "--min-agreement", "off")
    assert alone.go_on(*labels).exit_code == 0

    units = units_of(night, *labels)
    # Each with a unit of its own, for one that loses three workers is given up; two have rows to reject.
    points = {
        "reading": "a.parquet",
        "classifying": units[0],
        "classified": units[2],
        "rejected_put": units[1],
        "part_ready": units[3],
        "local_staged": f"_units/{units[4]}",
        "part_put": units[6],
    }
    armed = night.on_ray(*(f"{point}@{working_on}:kill:1" for point, working_on in points.items()))
    # Without a core of their own there is room for two.
    outcome = run_forked(main, *night.flags, *labels, "--workers", 2, "--cpus-per-worker", 0, env=armed)

    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert {point for point in points if not night.hits(point)} == set()
    assert_published_whole(night)
    assert report_of(night.output)["workers"]["max_workers"] == 2
    expected, found = (labelled_rows(output) for output in (alone.output, night.output))
    assert len(set(expected["label"].to_pylist())) > 1
    assert expected["pair_id"].to_pylist() != found["pair_id"].to_pylist(), "the units came in another order"
    assert found.sort_by("pair_id").equals(expected.sort_by("pair_id"))


# --- a unit that kills its workers


# A unit that kills its readers does so in the sample too, which int8 takes.
SAMPLED = ("--precision", "int8", "--min-agreement", 0)


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("step", ["reading", "classifying", pytest.param("part_ready", marks=pytest.mark.slow)])
def test_a_unit_that_kills_its_workers_is_given_up_and_tried_again_when_asked_for(night: Night, step: str) -> None:
    if step == "reading":
        write_pairs(night.source / "poison.parquet", made_up_pairs(16, seed=23))
    working_on, more = ("poison", SAMPLED) if step == "reading" else (units_of(night)[2], ())
    armed = night.on_ray(f"{step}@{working_on}:segfault:1-99")
    outcome = run_forked(main, *night.accepting(bad_files=0), *more, env=armed)

    assert outcome.exit_code == 3, outcome.stderr
    assert "--max-bad-files 0" in outcome.errors[0]
    assert not night.manifest_stands
    assert night.hits(step) == 3, "three attempts, no more"
    if step == "reading":
        assert report_of(night.output)["preflight"]["agreement"]["pairs"] == LABELLED
    told = [json.loads(path.read_text()) for path in (night.output / "_units").glob("*.quarantine.json")]
    assert sorted(unit["reason"] for unit in told) == ["bad_page", "poison_unit"]

    accepted = run_inline(*night.accepting(bad_files=2), *more)
    assert accepted.exit_code == 0, accepted.stderr
    verify(night.output, night.source)
    assert report_of(night.output)["quarantined"]["reasons"] == {"bad_page": 1, "poison_unit": 1}
    labelled = state_of(night.output, "part-*")

    retried = run_inline(*night.accepting(bad_files=2), *more, "--retry-quarantined")
    assert retried.exit_code == 0, retried.stderr
    verify(night.output, night.source)
    assert report_of(night.output)["quarantined"]["reasons"] == {"bad_page": 1}
    assert report_of(night.output)["units"]["labelled"] == 2
    assert labelled.items() < state_of(night.output, "part-*").items()


@pytest.mark.ray
@pytest.mark.usefixtures("session")
def test_a_unit_that_loses_the_gpu_of_three_workers_is_given_up_and_the_others_are_labelled(night: Night) -> None:
    armed = night.on_ray(f"classifying@{units_of(night)[2]}:lose_gpu:1-99")
    outcome = run_forked(main, *night.accepting(bad_files=2), env=armed)

    assert outcome.exit_code == 0, outcome.stderr
    assert night.hits("classifying") == 3, "three processes, no more"
    verify(night.output, night.source)
    assert report_of(night.output)["quarantined"]["reasons"] == {"bad_page": 1, "poison_unit": 1}
    warnings = [line for line in outcome.stderr.splitlines() if line.startswith("warning: the GPU of a worker on ")]
    assert len(warnings) == 3, outcome.stderr
    assert all("CUDA error: unspecified launch failure" in line for line in warnings)


def units_of(night: Night, *more: object) -> list[str]:
    """The ids of the seven units, in the order of the input, from a plan; the output is as it was."""
    assert run_inline(*night.accepting(bad_files=0), *more).exit_code == 3, "the broken page is not accepted yet"
    plan = json.loads(next(night.output.glob("_runs/*/plan.json")).read_text())
    shutil.rmtree(night.output)
    return [unit["unit_id"] for unit in plan["units"]]


# --- several drivers


@pytest.mark.ray
@pytest.mark.usefixtures("session")
def test_two_drivers_of_one_night_cost_time_and_no_row(night: Night) -> None:
    with ThreadPoolExecutor(2) as both:
        outcomes = list(both.map(lambda _: run_forked(main, *night.flags, env=in_open_session({})), range(2)))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0], [outcome.stderr for outcome in outcomes]
    assert_published_whole(night)


@pytest.mark.process
def test_a_driver_that_was_overtaken_by_another_plan_publishes_nothing(night: Night) -> None:
    with night.started("sealed:wait:1") as slow:
        wait_until(lambda: night.hits("sealed") == 1, slow)
        write_pairs(night.source / "c.parquet", made_up_pairs(20, seed=24))
        assert night.go_on().exit_code == 0
        winner = manifest_of(night.output)
        (night.faults / "go").touch()
        _, stderr = slow.communicate(timeout=60)
    assert slow.returncode == 6, stderr
    assert winner["plan_id"] in stderr
    assert manifest_of(night.output) == winner
    # The overtaken run's files are named by no manifest; the next start that publishes sweeps them up.
    write_pairs(night.source / "d.parquet", made_up_pairs(4, seed=25))
    assert night.go_on("--replace").exit_code == 0
    verify(night.output, night.source)


# --- the input changes


CHANGES = {"replaced": 4, "gone": 4, "mended": 4, "late": 0}


@pytest.mark.process
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("point", ["plan_put", "labelled"])
def test_an_input_that_changes_while_the_run_goes_on_is_never_published_as_it_was(
    night: Night, change: str, point: str
) -> None:
    (night.source / "c.parquet").write_bytes(b"PAR1 and no more")
    flags = night.accepting(bad_files=2)
    with night.started(f"{point}:wait:1", bad_files=2) as process:
        wait_until(lambda: night.hits(point) == 1, process)
        spoil(night.source, change)
        (night.faults / "go").touch()
        _, stderr = process.communicate(timeout=120)

    assert process.returncode == CHANGES[change], stderr
    assert night.manifest_stands == (change == "late")
    if change == "late":
        assert report_of(night.output)["late_inputs"] == [str(night.source / "late.parquet")]
        refused = run_inline(*flags)
        assert refused.exit_code == 6
    else:
        assert f"{ {'replaced': 'a', 'gone': 'a', 'mended': 'c'}[change] }.parquet" in stderr
        assert visible_files(night.output) == []
    again = run_inline(*flags, "--replace")
    assert again.exit_code == 0, again.stderr
    verify(night.output, night.source)
    assert manifest_of(night.output)["labelled"] == {"replaced": 52, "gone": 31, "mended": 104, "late": 104}[change]


def spoil(source: Path, change: str) -> None:
    if change == "gone":
        (source / "a.parquet").unlink()
    else:
        name = {"replaced": "a", "mended": "c", "late": "late"}[change]
        rows = 21 if change == "replaced" else 10
        made = write_pairs(source.parent / "made.parquet", made_up_pairs(rows, seed=26))
        made.replace(source / f"{name}.parquet")
