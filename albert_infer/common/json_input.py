"""JSON that somebody else wrote: parsed within limits, or refused with a reason. Knows nothing of what it is for."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

# Files of checkpoints nest 10 deep. Far below Python's limit of 1,000 calls, so that what was parsed can be printed,
# copied and written again, which all go into it by recursion.
MAX_DEPTH: Final = 100
# Of a whole number, with its sign: those of 64 bits have no more. Python is slow with numbers of a million digits, and
# does not print those of more than 4,300.
MAX_DIGITS: Final = 20
# An escape that is half of a character; a JSON text has them in pairs.
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")


# An object of JSON that somebody else wrote, of which only some keys are known: its values are looked at one by one.
JsonObject = dict[str, Any]


def parsed_json(data: bytes, *, max_bytes: int) -> Any:
    """The value that `data` is, in UTF-8; its numbers are finite, and whole ones have at most MAX_DIGITS.

    Raises ValueError, with a reason in one line, for anything else: also for more than `max_bytes`, for values that
    are nested deeper than MAX_DEPTH, and for what Python alone would take: NaN, Infinity, and text that has no UTF-8.
    Of a key that stands twice the last counts.
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
    if _HALF.search(text):
        _refuse_half_characters(value)
    return value


def _refuse_depth(value: Any) -> None:
    """Look at one level after the other, without recursion."""
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


def _refuse_half_characters(value: Any) -> None:
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
