"""Tests of the simulation itself, under the protocol and under protocols that are wrong.

tests/test_simulation.py runs them in a process of their own: the simulation changes modules of the project, for its
clock and for its speed, in the whole process that imports it.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from albert_infer.storage import Folder
from simulation import drivers, table
from simulation.choosing import DrawnChooser, RecordedChooser
from simulation.mutants import MUTANTS, Mutant
from simulation.protocol import Machine
from simulation.scenario import Scenario, Start, drawn
from simulation.schedule import run_schedule
from simulation.shrinking import shrunk


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_gives_the_same_schedule_each_time_and_its_record_too(seed: int) -> None:
    scenario = drawn(seed)
    first = run_schedule(scenario, DrawnChooser(scenario), drivers, is_told=True)
    again = run_schedule(scenario, RecordedChooser(first.decisions), drivers, is_told=True)
    assert again.steps == first.steps
    assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))) == scenario


@dataclass(frozen=True)
class Hasty:
    """A protocol that says what it will publish before it does."""

    def run_start(self, start: Start, output: Folder, machine: Machine) -> None:  # noqa: D102  (as in the protocol)
        promised = {
            "plan_id": "hasty", "rows_in": 0, "labelled": 0, "quarantined": {"units": []}, "rejected_files": [],
            "files": [{"path": "part-1", "unit_id": "1", "sha256": "", "bytes": 1}],
        }  # fmt: skip
        output.replace("_SUCCESS", json.dumps(promised).encode(), output.stat("_SUCCESS"))
        output.put_if_absent("part-1", b"1")

    def run_clean_up(self, output: Folder, limit: datetime, machine: Machine) -> None:
        """Leaves everything."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_safeguard_is_where_its_mutant_removes_it(mutant: Mutant) -> None:
    found = importlib.util.find_spec(mutant.module)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text()
    assert mutant.changed(source) != source


def test_a_broken_promise_is_found_shrunk_and_shown() -> None:
    scenario = Scenario(0, roles={"A": Start("a"), "B": Start("b")})
    ran = run_schedule(scenario, DrawnChooser(scenario), Hasty())
    small = shrunk(ran, Hasty())
    told = run_schedule(small.scenario, RecordedChooser(small.decisions), Hasty(), is_told=True)
    assert len(small.scenario.roles) == 1
    assert "broken: I1 _SUCCESS names a missing file: part-1" in table.to_text(told)
