"""The sample of a run: which rows it takes, and that they follow from the plan alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.preflight.sample import LEAST_UNITS, chosen_rows
from albert_infer.read.footers import RowRange
from albert_infer.read.planning import Unit
from albert_infer.storage import ObjectPin


def units_of(rows: Sequence[int]) -> list[Unit]:
    """Units with that many rows each, in the order of the input, with ids as a plan gives them."""
    return [
        Unit(hashlib.sha256(str(place).encode()).hexdigest()[:16], ObjectPin("a", 1, "v"), RowRange(0, held, 0, 0, 0))
        for place, held in enumerate(rows)
    ]


def places(units: Sequence[Unit], pairs: int) -> dict[str, list[int]]:
    return {chosen.unit.unit_id: chosen.rows_R.tolist() for chosen in chosen_rows(units, pairs)}


@PROPERTY
@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 200))
def test_as_many_rows_as_asked_for_are_chosen_each_once_and_all_where_there_are_fewer(
    rows: list[int], pairs: int
) -> None:
    units = units_of(rows)
    chosen = places(units, pairs)
    assert sum(len(found) for found in chosen.values()) == min(pairs, sum(rows))
    held = {unit.unit_id: unit.range.rows for unit in units}
    assert all(found == sorted(set(found)) and set(found) <= set(range(held[name])) for name, found in chosen.items())


def test_the_choice_follows_from_the_units_alone_whatever_their_order() -> None:
    units = units_of([500] * 100)
    shuffled = random.Random(1).sample(units, len(units))  # noqa: S311  (no secret)
    assert places(shuffled, 300) == places(units, 300)


def test_the_rows_are_spread_over_the_input_and_few_units_are_read() -> None:
    units = units_of([500] * 200)
    chosen = places(units, 1000)
    assert len(chosen) == LEAST_UNITS
    order = [unit.unit_id for unit in units]
    read = sorted(order.index(name) for name in chosen)
    assert (read[0] < 50, read[-1] >= 150) == (True, True), "from the beginning to the end of the input"
    for found in chosen.values():
        # 62.5 are expected.
        assert 30 < len(found) < 100
        assert (found[0] < 100, found[-1] >= 400) == (True, True), "from the beginning to the end of the unit"


def test_of_small_units_as_many_are_read_as_hold_the_rows() -> None:
    assert len(places(units_of([10] * 200), 305)) == 31
