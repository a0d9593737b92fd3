"""What earlier runs took: from the reports at the output, else from those of the nights before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from albert_infer import storage
from albert_infer.job.estimate import earlier
from albert_infer.job.estimate.earlier import EarlierRun, earlier_runs, matching, typical
from albert_infer.schema import DeviceKind, Precision
from albert_infer.storage import DEFAULT_ACCESS

REPORT = {
    "plan_id": "0" * 16,
    "device": "cpu",
    "precision": "bf16",
    "tokens_per_second": 4000.0,
    "units": {"done_before": 0, "labelled": 2},
    "seconds": {"startup": 8.0, "planning": 0.1, "labelling": 5.0, "publishing": 0.5},
    "workers": {"device": "cpu", "min_workers": 2, "max_workers": 2, "num_gpus": 0, "num_cpus": 4, "threads": 4},
    "model": {"digest": "d"},
}


def write_report(output: Path, number: int = 0, **changes: object) -> None:
    path = output / "_runs" / f"{number:016x}" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**REPORT, "plan_id": f"{number:016x}", **changes}))
    os.utime(path, (number, number))


def runs_at(output: Path) -> list[EarlierRun]:
    return earlier_runs(storage.open_folder(str(output)), str(output), DEFAULT_ACCESS)


def test_a_rate_is_that_of_one_core(tmp_path: Path) -> None:
    write_report(tmp_path)
    [run] = runs_at(tmp_path)
    assert (run.tokens_per_second, run.workers, run.devices_each, run.startup_seconds) == (500.0, 2, 4.0, 8.0)
    assert run.publishing_seconds_a_unit == 0.25


def test_a_rate_is_that_of_one_card_and_of_the_workers_that_there_were(tmp_path: Path) -> None:
    workers = {**REPORT["workers"], "num_gpus": 0.5, "threads": None}  # type: ignore[dict-item]
    write_report(tmp_path, device="cuda", workers=workers, estimate={"card": "h100", "workers_used": 4})
    [run] = runs_at(tmp_path)
    assert (run.device, run.card, run.workers, run.devices_each) == (DeviceKind.CUDA, "h100", 4, 0.5)
    assert run.tokens_per_second == 2000.0


def test_the_newest_reports_come_first_and_are_few(tmp_path: Path) -> None:
    for number in range(6):
        write_report(tmp_path, number)
    assert [int(run.plan_id, 16) for run in runs_at(tmp_path)] == [5, 4, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"units": {"done_before": 3, "labelled": 0}},
        {"tokens_per_second": 0.0},
        {"device": ""},
        {"workers": None},
        {"seconds": {"startup": -1, "publishing": 0}},
        {"model": "x"},
    ],
)
def test_a_start_that_labelled_nothing_or_a_report_that_is_none_is_left_out(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    write_report(tmp_path, 1, **changes)
    write_report(tmp_path, 2)
    assert [int(run.plan_id, 16) for run in runs_at(tmp_path)] == [2]


def test_the_night_before_is_looked_at_where_a_night_has_no_run(tmp_path: Path) -> None:
    write_report(tmp_path / "dt=2026-11-18", 18)
    write_report(tmp_path / "dt=2026-11-19", 19)
    write_report(tmp_path / "dt=2026-11-01", 1)
    assert [int(run.plan_id, 16) for run in runs_at(tmp_path / "dt=2026-11-21")] == [19]
    assert runs_at(tmp_path / "dt=2026-12-24") == []
    write_report(tmp_path / "dt=2026-11-21", 21)
    assert [int(run.plan_id, 16) for run in runs_at(tmp_path / "dt=2026-11-21")] == [21]


@pytest.mark.parametrize("name", ["labels", "dt=2026-13-45", "labels/"])
def test_an_output_without_a_date_has_no_nights_before(tmp_path: Path, name: str) -> None:
    assert list(earlier.nights_before(str(tmp_path / name), DEFAULT_ACCESS)) == []


def test_only_runs_on_the_same_checkpoint_device_and_precision_count(tmp_path: Path) -> None:
    write_report(tmp_path)
    runs, cpu, bf16 = runs_at(tmp_path), DeviceKind.CPU, Precision.BF16
    assert matching(runs, "d", cpu, None, bf16) == runs
    assert matching(runs, "e", cpu, None, bf16) == []
    assert matching(runs, "d", DeviceKind.CUDA, None, bf16) == []
    assert matching(runs, "d", cpu, None, Precision.FP32) == []
    # A run that does not know its card may have had any.
    assert matching(runs, "d", cpu, "cpu-avx2", bf16) == runs


def test_several_runs_are_summed_up_by_medians(tmp_path: Path) -> None:
    for number, speed in enumerate((8.0, 80.0, 16.0)):
        write_report(tmp_path, number, tokens_per_second=speed)
    assert typical(runs_at(tmp_path)).tokens_per_second == 2.0
