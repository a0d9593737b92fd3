"""The long benchmark measures what it says: its pairs differ, and a growing or a slowing run misses its targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from albert_infer.schema import HYPOTHESIS, PREMISE
from benchmarks import pairs
from benchmarks.million import Sample, StoreUse, quarters_of, store_use, targets_met, write_pairs

# As a node exports it, one label more or less.
EXPOSITION = """
# TYPE ray_object_store_used_memory gauge
ray_object_store_used_memory{Component="raylet"} 2.5e+07
# TYPE ray_spill_manager_objects_bytes gauge
ray_spill_manager_objects_bytes{Component="raylet",State="Pinned"} 3.0
ray_spill_manager_objects_bytes{Component="raylet",State="Spilled"} 4096.0
"""
STEADY: list[tuple[float, int]] = [(float(at), 100) for at in range(41)]


def samples(growth: float = 0.0, spilled: int = 0) -> list[Sample]:
    """A sample between any two commits of `STEADY`; memory grows by `growth` bytes a second."""
    return [Sample(at + 0.5, 9, int(1000 + at * growth), StoreUse(10, spilled)) for at in range(40)]


def missed(units: list[tuple[float, int]], taken: list[Sample], *, verified: bool = True) -> list[str]:
    spilled = max(sample.store.spilled for sample in taken)
    targets = targets_met(quarters_of(units, taken), spilled, verified=verified)
    return [target for target, met in targets.items() if not met]


def test_a_steady_run_meets_all_targets() -> None:
    assert missed(STEADY, samples()) == []


@pytest.mark.parametrize(
    ("units", "taken", "verified", "target"),
    [
        (STEADY, samples(growth=10), True, "memory"),
        ([*STEADY[:21], *((20 + at / 2, 40) for at in range(1, 41))], samples(), True, "speed"),
        (STEADY, samples(spilled=1), True, "spilled"),
        (STEADY, samples(), False, "lost or doubled"),
    ],
)
def test_a_run_that_grows_slows_spills_or_loses_rows_misses_one(
    units: list[tuple[float, int]], taken: list[Sample], verified: bool, target: str
) -> None:
    (one,) = missed(units, taken, verified=verified)
    assert target in one


def test_what_ray_has_spilled_is_read_from_what_its_node_exports() -> None:
    assert store_use(EXPOSITION) == StoreUse(25_000_000, 4096)


@pytest.mark.parametrize("line", range(2, 6, 3))
def test_a_figure_that_ray_does_not_export_any_more_is_no_zero(line: int) -> None:
    lines = EXPOSITION.splitlines()
    with pytest.raises(KeyError):
        store_use("\n".join([*lines[:line], *lines[line + 1 :], ""]))


def test_texts_are_combined_anew_in_each_round(tmp_path: Path) -> None:
    texts = pairs.read_texts(pairs.BUILTIN_PAIRS)
    made = pairs.recombined(texts, 0, 1000)
    assert made.slice(0, texts.num_rows).select([PREMISE, HYPOTHESIS]).equals(texts)
    assert len(set(pairs.text_pairs(made))) == 1000
    # Wherever a file begins, it goes on where the last one ended.
    assert pairs.recombined(texts, 400, 50).equals(made.slice(400, 50))
    write_pairs(tmp_path / "in", pairs.BUILTIN_PAIRS, 350)
    written = pairs.read_pairs(tmp_path / "in", 350)
    assert written.select([PREMISE, HYPOTHESIS]).equals(made.slice(0, 350).select([PREMISE, HYPOTHESIS]))
