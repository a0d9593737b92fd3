"""How an independent reader understands a manifest, and the rows of the files that it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from simulation import units
from simulation.units import Row


class ViolationError(BaseException):
    """A promise was broken. No `except` of the project may catch this."""

    def __init__(self, signature: str, told: str) -> None:
        super().__init__(f"{signature}: {told}")
        self.signature = signature
        self.told = told


@dataclass(frozen=True)
class Published:
    """A manifest as an independent reader understands it: digest and size of each file by its name."""

    plan_id: str
    files: dict[str, tuple[str, int]]
    unit_ids: tuple[str, ...]
    # The unit of each file.
    unit_of: dict[str, str]

    @classmethod
    def parsed(cls, data: bytes) -> Published:
        """Raises ViolationError for what is no manifest."""
        try:
            told: dict[str, Any] = json.loads(data)
            entries = [*told["files"], *told["rejected_files"]]
            named = {entry["path"]: (entry["sha256"], entry["bytes"]) for entry in entries}
            quarantined = [entry["unit_id"] for entry in told["quarantined"]["units"]]
            unit_of = {entry["path"]: entry["unit_id"] for entry in entries}
            ids = [*(entry["unit_id"] for entry in told["files"]), *quarantined]
            doubled = len(named) != len(entries)
        except (ValueError, KeyError, TypeError) as error:
            raise ViolationError("I0 no manifest", repr(error)) from error
        if doubled:
            raise ViolationError("I0 a file twice", str(sorted(named)))
        return cls(told["plan_id"], named, tuple(ids), unit_of)

    @property
    def rows(self) -> list[Row]:
        """Every row that its files hold."""
        return [row for name, (digest, _) in self.files.items() for row in rows_of(digest, name)]


def rows_of(digest: str, name: str) -> tuple[Row, ...]:
    """The rows of an object; one row that nobody knows for bytes that no labelling makes."""
    made = units.made_of_digest(digest)
    return made.rows if made else ((f"unknown bytes in {name}", 0),)


def place_of(digest: str) -> tuple[str, int]:
    """Input file and first row of the unit whose object this is; nothing for bytes that no labelling makes."""
    made = units.made_of_digest(digest)
    unit = units.unit_of(made.unit_id).unit if made else None
    return (unit.pin.name, unit.range.first_row) if unit else ("", 0)
