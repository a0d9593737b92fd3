"""A small run is labelled in the job's own process; every other run, and the start after a kill, on Ray."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from job_runs import JOB, made_up_pairs, run_alone, started, verify, write_pairs
from ray._common.utils import get_ray_address_file

from albert_infer import storage
from albert_infer.common.failpoints import VARIABLE
from albert_infer.config import LabelSettings
from albert_infer.job.planning import survey_of
from albert_infer.output import layout
from albert_infer.output.inspection import has_dead_run
from albert_infer.pipeline import choice
from albert_infer.pipeline.choice import executor_for, needs_no_ray
from albert_infer.pipeline.inline import mark_of, marked
from albert_infer.pipeline.resources import Node, worker_resources
from albert_infer.schema import ExecutorKind

PLAN = "0123456789abcdef"
# Programs of tests have RAY_ADDRESS=local otherwise.
NO_ADDRESS = {"RAY_ADDRESS": ""}


@pytest.fixture(autouse=True)
def own_folder(no_session: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No session, no RAY_ADDRESS, and a folder for the temporary files of this test and of its programs.

    Other tests start clusters on this machine. A killed process leaves a mark among the temporary files, under a name
    that depends on the path of the output. pytest uses such a path again in a later run, which would find the old mark.
    """
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    # A short name: Ray's sockets are below it.
    with tempfile.TemporaryDirectory(prefix="own-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def is_here(folder: Path, *sizes: int, cpus: int = 2, **settings: Any) -> bool:
    """Whether files of these sizes, or one of 40 rows, need no Ray on a machine with so many CPUs."""
    for number, rows in enumerate(sizes or (40,)):
        write_pairs(folder / "in" / f"{number}.parquet", made_up_pairs(rows, seed=number))
    asked = LabelSettings.model_validate({"input": str(folder / "in"), "output": str(folder / "out"), **settings})
    output = storage.open_folder(asked.output)
    return needs_no_ray(asked, survey_of(asked, output), output, cpus)


def test_one_unit_needs_no_ray(tmp_path: Path) -> None:
    assert is_here(tmp_path)
    assert is_here(tmp_path, 40, unit_rows=40)
    assert not is_here(tmp_path, 40, unit_rows=39)


def test_small_files_need_no_ray_where_ray_would_have_one_worker(tmp_path: Path) -> None:
    assert is_here(tmp_path, 30, 10, unit_rows=40)
    assert not is_here(tmp_path, 30, 10, unit_rows=39)
    assert not is_here(tmp_path, 30, 10, unit_rows=40, cpus_per_worker=1)
    assert not is_here(tmp_path, 30, 10, unit_rows=40, cpus=9)


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (8, 1), (9, 2)])
def test_ray_would_have_one_worker_up_to_8_cpus(cpus: int, workers: int) -> None:
    asked = LabelSettings(input="in", output="out")
    assert worker_resources(asked, [Node(cpus=cpus, gpus=0)]).max_workers == workers
    assert (cpus > choice.MOST_CPUS_OF_ONE_WORKER) == (workers > 1)


@pytest.mark.parametrize("settings", [{"workers": "1"}, {"gpu_wait_minutes": 1.0}])
def test_settings_of_workers_ask_for_ray(settings: dict[str, Any], tmp_path: Path) -> None:
    assert not is_here(tmp_path, **settings)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379"])
def test_an_address_of_ray_asks_for_ray(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert not is_here(tmp_path)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "no/address"])
def test_a_cluster_of_this_machine_asks_for_ray(address: str, tmp_path: Path) -> None:
    # A session refuses the second address, and says what to do.
    assert is_here(tmp_path)
    choice.cluster_file().parent.mkdir()
    choice.cluster_file().write_text(address)
    assert not is_here(tmp_path)


@pytest.mark.parametrize("variables", [{}, {"TMPDIR": "/scratch"}, {"TMPDIR": "/scratch", "RAY_TMPDIR": "/ray"}])
def test_the_file_of_a_cluster_is_where_ray_looks_for_it(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(choice.cluster_file()) == get_ray_address_file(None)


@pytest.mark.parametrize("ended_with", [layout.report_name, layout.sealed_name])
def test_a_run_is_dead_from_its_plan_to_its_report_or_its_seal(
    ended_with: Callable[[str], str], tmp_path: Path
) -> None:
    output = storage.open_folder(str(tmp_path / "out"))
    assert is_here(tmp_path)
    output.put_if_absent(layout.plan_name(PLAN), b"{}")
    assert has_dead_run(output)
    assert not is_here(tmp_path)
    output.put_if_absent(ended_with(PLAN), b"{}")
    assert is_here(tmp_path)


def test_a_killed_process_is_remembered_once(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(40, seed=1))
    asked = LabelSettings(input=str(tmp_path / "in"), output=str(tmp_path / "out"))
    output = storage.open_folder(asked.output)
    survey = survey_of(asked, output)
    with marked(output):
        assert mark_of(output).exists()
    assert executor_for(asked, survey, output).kind is ExecutorKind.PROCESS
    with marked(output):
        assert not needs_no_ray(asked, survey, output)
        assert executor_for(asked, survey, output).kind is ExecutorKind.RAY
        assert executor_for(asked, survey, output).kind is ExecutorKind.PROCESS
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True)
class Night:
    """A run of one unit, by a program that is killed at a point."""

    folder: Path
    checkpoint: Path

    @property
    def output(self) -> Path:
        """Where the labels are published."""
        return self.folder / "out"

    @property
    def flags(self) -> tuple[object, ...]:
        """The command line of each start."""
        return ("--input", self.folder / "in", "--output", self.output, "--model", self.checkpoint)

    def killed_at(self, point: str) -> str:
        """Start the program, which is killed at the point; what it wrote to stderr."""
        write_pairs(self.folder / "in" / "a.parquet", made_up_pairs(40, seed=1))
        killing = {**NO_ADDRESS, VARIABLE: f"{point}:kill:1:{self.folder}"}
        with started([sys.executable, JOB, *self.flags], env=killing) as killed:
            _, stderr = killed.communicate()
        assert killed.returncode == -9
        return stderr


@pytest.mark.process
def test_a_file_that_ends_its_process_in_the_checks_goes_to_ray(checkpoint: Path, tmp_path: Path) -> None:
    night = Night(tmp_path, checkpoint)
    assert "labelling: checking the model" in night.killed_at("reading")
    assert not night.output.exists()
    assert not is_here(tmp_path)


@pytest.mark.process
def test_an_error_that_is_not_ours_is_reported_with_its_reason(checkpoint: Path, tmp_path: Path) -> None:
    night = Night(tmp_path, checkpoint)
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(40, seed=1))
    failed = run_alone(*night.flags, env={**NO_ADDRESS, VARIABLE: f"classifying:lose_gpu:1:{tmp_path}"})
    reason = "labelling the units: RuntimeError: CUDA error: unspecified launch failure"
    assert (failed.exit_code, failed.summary["error"].partition(";")[0]) == (4, reason)
    [report] = night.output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["error"].startswith(reason)


@pytest.mark.ray
@pytest.mark.process
def test_a_killed_run_of_one_unit_is_resumed_on_ray(checkpoint: Path, tmp_path: Path) -> None:
    night = Night(tmp_path, checkpoint)
    assert night.killed_at("classified").startswith("labelling: in this process, without Ray\n")
    resumed = run_alone(*night.flags, env=NO_ADDRESS)
    assert resumed.exit_code == 0, resumed.stderr
    assert "starting Ray on this machine" in resumed.stderr
    verify(night.output, tmp_path / "in")
    [report] = night.output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["executor"] == "ray"
    # Nothing is unfinished now.
    assert is_here(tmp_path)
