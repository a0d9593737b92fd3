"""A run of one unit is labelled in the job's own process; every other run, and a resumed one, on Ray."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from job_runs import JOB, made_up_pairs, run_alone, started, verify, write_pairs

from albert_infer import storage
from albert_infer.common.failpoints import VARIABLE
from albert_infer.config import LabelSettings
from albert_infer.output import layout
from albert_infer.output.inspection import has_unfinished_run
from albert_infer.pipeline.choice import needs_no_ray

PLAN = "0123456789abcdef"
# Programs of tests have RAY_ADDRESS=local otherwise.
NO_ADDRESS = {"RAY_ADDRESS": ""}


@pytest.fixture(autouse=True)
def no_address(no_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an open session nor RAY_ADDRESS."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


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


def test_a_cluster_of_this_machine_asks_for_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert is_here(tmp_path)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert not is_here(tmp_path)


@pytest.mark.parametrize(("name", "unfinished"), [("report.json", False), ("plan.json", True), ("sealed.json", False)])
def test_a_run_is_unfinished_from_its_plan_to_its_seal(name: str, unfinished: bool, tmp_path: Path) -> None:
    output = storage.open_folder(str(tmp_path))
    names = [layout.report_name(PLAN), layout.plan_name(PLAN), layout.sealed_name(PLAN)]
    for written in names[: names.index(layout.run_folder(PLAN) + name) + 1]:
        output.put_if_absent(written, b"{}")
    assert has_unfinished_run(output) is unfinished
    assert is_here(tmp_path) is not unfinished


@pytest.mark.ray
@pytest.mark.process
def test_a_killed_run_of_one_unit_is_resumed_on_ray(checkpoint: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_pairs(source / "a.parquet", made_up_pairs(40, seed=1))
    flags = ("--input", source, "--output", output, "--model", checkpoint)
    killing = {**NO_ADDRESS, VARIABLE: f"classified:kill:1:{tmp_path}"}
    with started([sys.executable, JOB, *flags], env=killing) as killed:
        _, stderr = killed.communicate()
    assert killed.returncode == -9
    assert "labelling: in this process, without Ray" in stderr
    resumed = run_alone(*flags, env=NO_ADDRESS)
    assert resumed.exit_code == 0, resumed.stderr
    assert "starting Ray on this machine" in resumed.stderr
    verify(output, source)
    [report] = output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["executor"] == "ray"
    # Nothing is unfinished now. A start that has nothing to label needs no Ray again.
    again = run_alone(*flags, env=NO_ADDRESS)
    assert (again.exit_code, again.summary["units_labelled"]) == (0, 0)
    assert again.stderr == "labelling: in this process, without Ray\n"
