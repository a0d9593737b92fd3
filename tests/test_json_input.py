"""JSON of somebody else's is parsed as Python does, or refused with one line, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.common.json_input import MAX_DEPTH, parsed_json

PLENTY = 2**20
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match="it ") as refused:
        parsed_json(data, max_bytes=PLENTY)
    return str(refused.value)


@PROPERTY
@given(value=VALUES)
def test_what_was_written_comes_back(value: Any) -> None:
    assert parsed_json(json.dumps(value).encode(), max_bytes=PLENTY) == value


@PROPERTY
@given(data=st.binary())
def test_bytes_are_parsed_or_refused_with_one_line(data: bytes) -> None:
    try:
        parsed_json(data, max_bytes=PLENTY)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - most bytes are refused, some are JSON


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON at line 1, column 1"),
        (b'{"a":\n 1', "not JSON at line 2"),
        (b'{"a": 1} x', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"[NaN]", "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b"-Infinity", "-Infinity"),
        (b"1e999", "1e999, which is too large"),
        (b"[-1e999]", "-1e999"),
        (b"1" * 21, "21 digits"),
        (b"[1" + b"0" * 4000 + b"]", "4,001 digits"),
        (b"1" + b"0" * 900_000, "900,001 digits"),
        (rb'{"a": "\ud83d"}', "half a character"),
        (rb'{"\uDE00\uD83D": 1}', "half a character"),
        (b" " * PLENTY + b"1", "at most 1,048,576 are read"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_refused_is_told_in_one_line(data: bytes, reason: str) -> None:
    told = refusal(data)
    assert reason in told
    assert len(told) < 120
    assert "\n" not in told


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 2000, 500_000])
@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_deep_nesting_is_refused_whether_python_can_parse_it_or_not(begin: bytes, end: bytes, levels: int) -> None:
    data = begin * levels + b"1" + end * levels
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH} levels"):
        parsed_json(data, max_bytes=len(data))


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_nesting_to_the_limit_is_parsed(begin: bytes, end: bytes) -> None:
    value = parsed_json(begin * MAX_DEPTH + b"1" + end * MAX_DEPTH, max_bytes=PLENTY)
    for _ in range(MAX_DEPTH):
        value = value[0] if isinstance(value, list) else value["a"]
    assert value == 1


def test_as_many_bytes_as_allowed_are_parsed() -> None:
    assert parsed_json(b"[1, 2]", max_bytes=6) == [1, 2]
    with pytest.raises(ValueError, match="6 bytes, and at most 5"):
        parsed_json(b"[1, 2]", max_bytes=5)
