"""A run of one unit is labelled in the job's own process; every other run, and a resumed one, on Ray."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from job_runs import JOB, made_up_pairs, run_alone, started, verify, write_pairs

from albert_infer import storage
from albert_infer.common.failpoints import VARIABLE
from albert_infer.config import LabelSettings
from albert_infer.output import layout
from albert_infer.output.inspection import has_unfinished_run
from albert_infer.pipeline.choice import executor_for, needs_no_ray
from albert_infer.pipeline.inline import mark_of, marked
from albert_infer.schema import ExecutorKind

PLAN = "0123456789abcdef"
# Programs of tests have RAY_ADDRESS=local otherwise.
NO_ADDRESS = {"RAY_ADDRESS": ""}


@pytest.fixture(autouse=True)
def ray_folder(no_session: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No session, no RAY_ADDRESS, and a folder of Ray's own: other tests start clusters on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # A short name: Ray's sockets are below it.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def is_here(folder: Path, *, units: int = 1, **settings: Any) -> bool:
    asked = LabelSettings.model_validate({"input": str(folder / "in"), "output": str(folder), **settings})
    return needs_no_ray(asked, units, storage.open_folder(str(folder)))


def test_one_unit_needs_no_ray_and_two_do(tmp_path: Path) -> None:
    assert [is_here(tmp_path, units=units) for units in (0, 1, 2)] == [True, True, False]


@pytest.mark.parametrize("settings", [{"workers": "1"}, {"gpu_wait_minutes": 1.0}])
def test_settings_of_workers_ask_for_ray(settings: dict[str, Any], tmp_path: Path) -> None:
    assert not is_here(tmp_path, **settings)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379"])
def test_an_address_of_ray_asks_for_ray(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert not is_here(tmp_path)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "no/address"])
def test_a_cluster_of_this_machine_asks_for_ray(address: str, ray_folder: Path, tmp_path: Path) -> None:
    # A session refuses the second address, and says what to do.
    assert is_here(tmp_path)
    (ray_folder / "ray").mkdir()
    (ray_folder / "ray" / "ray_current_cluster").write_text(address)
    assert not is_here(tmp_path)


@pytest.mark.parametrize(("name", "unfinished"), [("report.json", False), ("plan.json", True), ("sealed.json", False)])
def test_a_run_is_unfinished_from_its_plan_to_its_seal(name: str, unfinished: bool, tmp_path: Path) -> None:
    output = storage.open_folder(str(tmp_path))
    names = [layout.report_name(PLAN), layout.plan_name(PLAN), layout.sealed_name(PLAN)]
    for written in names[: names.index(layout.run_folder(PLAN) + name) + 1]:
        output.put_if_absent(written, b"{}")
    assert has_unfinished_run(output) is unfinished
    assert is_here(tmp_path) is not unfinished


def test_a_process_that_died_in_the_checks_is_remembered_once(tmp_path: Path) -> None:
    output = storage.open_folder(str(tmp_path / "out"))
    asked = LabelSettings(input=str(tmp_path / "in"), output=output.uri)
    with marked(output):
        assert mark_of(output).exists()
    assert executor_for(asked, 1, output).kind is ExecutorKind.PROCESS
    with marked(output):
        assert not needs_no_ray(asked, 1, output)
        assert executor_for(asked, 1, output).kind is ExecutorKind.RAY
        assert executor_for(asked, 1, output).kind is ExecutorKind.PROCESS
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

    def needs_no_ray(self) -> bool:
        """Whether the next start labels in its own process."""
        asked = LabelSettings(input=str(self.folder / "in"), output=str(self.output))
        return needs_no_ray(asked, 1, storage.open_folder(str(self.output)))


@pytest.mark.process
def test_a_file_that_ends_its_process_in_the_checks_goes_to_ray(checkpoint: Path, tmp_path: Path) -> None:
    night = Night(tmp_path, checkpoint)
    assert "labelling: checking the model" in night.killed_at("reading")
    assert not night.output.exists()
    assert not night.needs_no_ray()


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
    assert night.needs_no_ray()
