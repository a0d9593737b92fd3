"""Disks that fill up and an object store that must spill: the run ends with 4 and goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import run_probe
from job_runs import (
    RAY_WARNING,
    made_up_pairs,
    manifest_of,
    run_alone,
    run_inline,
    staged_units,
    tiny_checkpoint,
    verify,
    visible_files,
    write_pairs,
)
from pressure_probe import probe

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size at `folder`; only root may mount one."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_output_disk_ends_the_run_with_4_and_it_goes_on_once_there_is_room(
    checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(480, seed=41)
    write_pairs(tmp_path / "in" / "a.parquet", pairs)
    output = tmp_path / "disk" / "out"
    flags = ("--input", tmp_path / "in", "--output", output, "--model", checkpoint, "--unit-rows", 16)
    with small_disk(tmp_path / "disk", "128k"):
        full = run_alone(*flags)
        assert full.exit_code == 4, full.stderr
        assert "disk full?" in full.errors[-1]
        assert "Traceback" not in full.stderr, "what a worker raised is one line of ours"
        assert (visible_files(output), (output / "_SUCCESS").exists()) == ([], False)
        finished = staged_units(output)
        assert 0 < len(finished) < 30
        assert [pq.read_table(path).num_rows for path in finished] == [16] * len(finished), "a half file has its name"

        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True)
        again = run_inline(*flags)
        assert again.exit_code == 0, again.stderr
        verify(output, tmp_path / "in")
        assert manifest_of(output)["labelled"] == pairs.num_rows


def long_pairs(rows: int) -> pa.Table:
    """Pairs of 9 kB, so that a unit of a thousand is a block that matters to an object store."""
    premises = [f"w{number % 90} " + f"{number:04}" * 2250 for number in range(400)]
    return pa.table({"premise": [premises[row % 400] for row in range(rows)], "hypothesis": ["w2 w3"] * rows})


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heavy")
    write_pairs(folder / "in" / "a.parquet", long_pairs(8000), group_rows=1000)
    tiny_checkpoint(folder / "checkpoint")
    return folder


def flags_of(heavy: Path, output: Path) -> tuple[object, ...]:
    return ("--input", heavy / "in", "--output", output, "--model", heavy / "checkpoint", "--unit-rows", 1000)


def probed(heavy: Path, output: Path, spill_folder: Path, *, kills: bool) -> dict[str, Any]:
    """What the probe told."""
    return run_probe(probe, spill_folder, kills, flags_of(heavy, output))


def test_a_full_spill_disk_ends_the_run_with_4_and_it_goes_on_with_room(heavy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with small_disk(tmp_path / "spill", "20m"):
        full = probed(heavy, output, tmp_path / "spill", kills=False)
    assert (full["exit_code"], full["spilled"]) == (4, True)
    assert (visible_files(output), (output / "_SUCCESS").exists()) == ([], False)

    room = run_inline(*flags_of(heavy, output))
    assert room.exit_code == 0, room.stderr
    verify(output, heavy / "in")


@pytest.mark.slow
def test_a_run_that_spills_to_a_disk_with_room_loses_no_row(heavy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    room = probed(heavy, output, tmp_path / "room", kills=False)
    assert (room["exit_code"], room["spilled"]) == (0, True)
    verify(output, heavy / "in")


@pytest.mark.slow
def test_spilling_processes_that_are_killed_cost_no_row(heavy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    told = probed(heavy, output, tmp_path / "spill", kills=True)
    assert told["killed"] > 0
    assert told["exit_code"] in {0, 4}
    assert (output / "_SUCCESS").exists() == (told["exit_code"] == 0)
    if told["exit_code"] == 4:
        assert probed(heavy, output, tmp_path / "spill", kills=False)["exit_code"] == 0
    verify(output, heavy / "in")
