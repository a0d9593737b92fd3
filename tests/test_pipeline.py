"""The three stages on clusters of every kind: none hangs, and a unit stays one block, one call and one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from forked import PATH, run_probe
from job_runs import (
    in_open_session,
    labelled_rows,
    made_up_pairs,
    report_of,
    tiny_checkpoint,
    write_pairs,
)
from pipeline_probe import probe

pytestmark = pytest.mark.ray
PAIRS = made_up_pairs(72, seed=10)


@dataclass(frozen=True)
class Mode:
    """A cluster's logical size; Ray schedules by it whether or not the GPUs are there."""

    cpus: int
    gpus: int


MODES = {
    "one core": Mode(1, 0),
    "two cores": Mode(2, 0),
    "two cores and two GPUs": Mode(2, 2),
}


@dataclass(frozen=True)
class Seen:
    """What `pipeline_probe.py` told of a mode, and what it left in a folder: `out`, and `job` if the job ran too."""

    mode: Mode
    told: dict[str, Any]
    folder: Path
    picklings: int


# The size of the open session.
JOINED = "two cores"
# Where the whole job runs too.
WITH_A_JOB = "two cores and two GPUs"


@pytest.fixture(scope="module")
def seen_in(session: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Seen]:
    """Run the probe in a mode when it is first asked for."""
    return cache(lambda name: probed(name, tmp_path_factory.mktemp("mode")))


@pytest.fixture(params=MODES)
def seen(request: pytest.FixtureRequest, seen_in: Callable[[str], Seen]) -> Seen:
    return seen_in(request.param)


def probed(name: str, folder: Path) -> Seen:
    mode = MODES[name]
    write_pairs(folder / "in" / "a.parquet", PAIRS.slice(0, 40))
    write_pairs(folder / "in" / "b.parquet", PAIRS.slice(40))
    checkpoint = tiny_checkpoint(folder / "checkpoint")
    job = ("--input", folder / "in", "--output", folder / "job", "--model", checkpoint)
    flags = job if name == WITH_A_JOB else ()
    env = in_open_session({"PYTHONPATH": PATH}) if name == JOINED else {}
    told = run_probe(probe, mode.cpus, mode.gpus, folder, flags, env=env)
    return Seen(mode, told, folder, len((folder / "picklings").read_text().splitlines()))


def test_reading_classifying_and_committing_are_operators_of_their_own(seen: Seen) -> None:
    assert seen.told["operators"] == ["ReadUnits", "MapBatches(ClassifyActor)", "Write"]


def test_the_classify_actor_is_called_once_a_unit_with_all_its_rows(seen: Seen) -> None:
    # It tells the board how many rows the call had: two units in one call would be one unit too few, a unit in two
    # calls would be rows too few.
    assert (seen.told["told"]["units"], seen.told["told"]["rows"]) == (5, 72)


def test_every_unit_is_committed_whole_and_in_order(seen: Seen) -> None:
    units = seen.told["units"]
    staged = [pq.read_table(seen.folder / "out" / "_units" / f"{unit_id}.parquet") for unit_id in units]
    assert [rows.num_rows for rows in staged] == [16, 16, 8, 16, 16]
    assert pa.concat_tables(staged)["pair_id"].equals(PAIRS["pair_id"])


def test_the_checkpoint_is_put_into_the_object_store_once(seen: Seen) -> None:
    assert seen.picklings == 1


def test_the_preflight_runs_where_the_actors_will_with_the_rows_that_were_chosen(seen: Seen) -> None:
    found = seen.told["preflight"]
    assert (found["precision"], found["device"]) == ("int8", "cpu")
    assert (found["numbers"]["pairs"], found["agreement"]["pairs"]) == (10, 30)


def test_actors_leave_a_core_for_reading(seen: Seen) -> None:
    workers = seen.told["workers"]
    assert workers["num_gpus"] == (1 if seen.mode.gpus else 0)
    # GPU actors follow the cluster's GPUs, and take no core.
    most = None if seen.mode.gpus else 1
    assert workers["max_workers"] == most
    assert (most or seen.mode.gpus) * workers["num_cpus"] <= seen.mode.cpus - 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU is there")
def test_a_gpu_that_is_declared_but_not_there_ends_the_job_with_4_before_anything_is_labelled(
    seen_in: Callable[[str], Seen],
) -> None:
    refused = seen_in(WITH_A_JOB).told["refused"]
    (line,) = [line for line in refused["errors"] if line.startswith("label_pairs.py: ")]
    assert refused["exit_code"] == 4
    for words in ("a GPU on ", f"torch {torch.__version__} finds no CUDA device", "--allow-cpu"):
        assert words in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU is there")
def test_the_cpu_labels_instead_of_a_gpu_that_is_not_there_where_it_may(seen_in: Callable[[str], Seen]) -> None:
    seen = seen_in(WITH_A_JOB)
    output, job = seen.folder / "job", seen.told["job"]
    assert job["exit_code"] == 0, job["errors"]
    (warning,) = [line for line in job["errors"] if line.startswith("warning: ")]
    assert "--gpus-per-worker 0" in warning
    report = report_of(output)
    assert (report["device"], report["card"], report["max_batch_tokens"]) == ("cpu", None, 512)
    assert labelled_rows(output).num_rows == PAIRS.num_rows
