"""Final names: they sort as the input, say where a file comes from, and are told from the names of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.output import layout

UNIT = "0123456789abcdef"
# What a store takes as a name; those that a plan can hold are text.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAME = st.text(CHARACTERS, min_size=1, max_size=12) | st.text(st.sampled_from("a-./,~=z0 "), min_size=1, max_size=6)
# Longer than a final name has room for, and alike up to there.
LONG_NAME = st.builds(lambda end: "x" * (layout.MAX_SOURCE_CHARACTERS - 3) + end, NAME)


def stems(names: list[str], rows: tuple[int, ...] = (0, 16_384)) -> list[str]:
    keys = layout.source_keys(names)
    return [layout.stem(keys[name], row, UNIT) for name in names for row in rows]


@PROPERTY
@given(names=st.lists(NAME | LONG_NAME, unique=True, max_size=20))
def test_names_sort_as_the_names_of_the_input_do(names: list[str]) -> None:
    names = sorted(names, key=str.encode)
    assert stems(names) == sorted(stems(names), key=str.encode)
    assert len(set(stems(names))) == 2 * len(names)


@PROPERTY
@given(names=st.lists(NAME | LONG_NAME, unique=True, min_size=1, max_size=5), number=st.integers(0, 10**9))
def test_every_name_is_short_safe_visible_and_told_again(names: list[str], number: int) -> None:
    for stem in stems(names):
        name = layout.final_name(stem, number, "89abcdef")
        assert layout.parsed_final(name) == layout.FinalName(UNIT, number)
        assert len(name) <= 255
        assert name.isascii()
        assert not set(name) & set("/\\ %?#*[]{}'\"$&;|<>:`!()")
        assert not layout.is_hidden(name)
        assert layout.is_ours(f"_rejected/{name}")


@PROPERTY
@given(names=st.lists(NAME, unique=True, min_size=1, max_size=8), late=NAME)
def test_a_name_stays_when_a_late_file_comes(names: list[str], late: str) -> None:
    before, after = layout.source_keys(names), layout.source_keys([*names, late])
    assert {name: after[name] for name in names} == before


def test_a_name_shows_the_file_and_the_row_that_it_begins_with() -> None:
    (_, stem) = stems(["region=eu/day_1/part-0.snappy.parquet"])
    assert stem == f"part-region=eu.~day_1.~part-0.snappy.parquet,000000016384,{UNIT}"


@pytest.mark.parametrize(
    "name",
    [
        "part-00000.parquet",
        f"part-{UNIT}.parquet.tmp",
        f"dt=2026-11-21/part-{UNIT}.parquet",
        f"part-a,000000000000,{UNIT}.parquet",
        f"part-{UNIT},1-89abcdef.parquet",
        f"part-a b,000000000000,{UNIT},1-89abcdef.parquet",
        f"part-a,0,{UNIT},1-89abcdef.parquet",
        f"part-é,000000000000,{UNIT},1-89abcdef.parquet",
        f"_units/part-{UNIT}.parquet",
    ],
)
def test_other_names_are_nobodys_that_we_know(name: str) -> None:
    assert layout.parsed_final(name) is None
    assert not layout.is_ours(name)


def test_names_of_version_1_are_known() -> None:
    for name in (f"part-{UNIT}.parquet", f"_rejected/part-{UNIT}.parquet"):
        assert layout.parsed_final(name) == layout.FinalName(UNIT, 0)
