"""What a verification finds wrong: each thing is one line of where, what was expected and what is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be; never holds a text of a pair."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; found {self.found}"


def differences(where: str, claimed: Iterable[tuple[str, object, object]]) -> list[Finding]:
    """A finding for each (name, expected, found) whose two sides differ."""
    return [
        Finding(where, f"{name} {_told(expected)}", _told(found))
        for name, expected, found in claimed
        if expected != found
    ]


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in sorted(value.items())) or "none"
    return str(value)
