"""The files and units of a run that cannot be read, as its report counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from albert_infer.common.printable import how_many
from albert_infer.output.manifest import Quarantined


@dataclass(frozen=True)
class QuarantineCounts:
    """The files and units that cannot be read, their known rows, and the number of files and units by reason."""

    files: int = 0
    units: int = 0
    rows_known: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def to_text(self) -> str:
        """One line for a person."""
        if not (self.files or self.units):
            return "none"
        unread = f"{how_many(self.files, 'file')} and {how_many(self.units, 'part')} of other files cannot be read"
        return f"{unread} ({counts_text(self.reasons)}), with {how_many(self.rows_known, 'known row')}"


def quarantine_counts(quarantined: Quarantined) -> QuarantineCounts:
    """The number of files and units that could not be read, by reason, and their known rows."""
    reasons = [*(file.reason for file in quarantined.files), *(unit.reason for unit in quarantined.units)]
    return QuarantineCounts(
        files=len(quarantined.files),
        units=len(quarantined.units),
        rows_known=quarantined.rows_known,
        reasons=dict(Counter(reasons)),
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """The counts with their names, as text."""
    return ", ".join(f"{name} {rows:,}" for name, rows in counts.items()) or "none"
