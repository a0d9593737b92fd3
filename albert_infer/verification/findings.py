"""The findings of a verification: one line each with the place, the expected and the found state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault of a run; never holds a text of a pair."""

    where: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; found {self.actual}"


def differences(where: str, claimed: Iterable[tuple[str, object, object]]) -> list[Finding]:
    """A finding for each (name, expected, actual) with two different values."""
    return [
        Finding(where, f"{name} {_shown(expected)}", _shown(actual))
        for name, expected, actual in claimed
        if expected != actual
    ]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in sorted(value.items())) or "none"
    return str(value)
