"""Parses JSON from outside within limits, or refuses it with a reason. Knows nothing of its contents."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

# Files of checkpoints have 10 levels. The limit is far below Python's 1,000 nested calls, so recursive functions can
# print, copy and write the parsed value.
MAX_DEPTH: Final = 100
# The most characters of a whole number, with its sign: enough for 64 bits. Python is slow with a million digits, and
# does not print numbers of more than 4,300 digits.
MAX_DIGITS: Final = 20
# An escaped surrogate. Valid JSON has surrogates in pairs.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


# A JSON object from outside. Only some keys are known, and each value is validated before use.
JsonObject = dict[str, Any]


def parsed_json(data: bytes, *, max_bytes: int) -> Any:
    """Parse `data` as JSON in UTF-8. All numbers are finite, and whole numbers have at most MAX_DIGITS.

    Raises ValueError with a one-line reason for anything else, for more than `max_bytes`, and for more than MAX_DEPTH
    levels. Also refuses NaN, Infinity and half surrogate pairs, which Python's own parser accepts. If a key is
    repeated, the last value counts.
    """
    if len(data) > max_bytes:
        raise ValueError(f"it has {len(data):,} bytes, and at most {max_bytes:,} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start:,}") from error
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON at line {error.lineno:,}, column {error.colno:,}: {error.msg}") from error
    except RecursionError as error:
        raise _too_deep() from error
    _refuse_depth(value)
    if _SURROGATE.search(text):
        _refuse_half_pairs(value)
    return value


def _refuse_depth(value: Any) -> None:
    """Raise ValueError for more than MAX_DEPTH levels. Works level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise _too_deep()


def _refuse_half_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has text with half a character, a surrogate without its other half") from error


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a whole number of {len(digits):,} digits, and at most {MAX_DIGITS} are read")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {digits:.40}, which is too large")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"it has {name}, which is no number of JSON")
