"""`jobs/clean_runs.py` as it will run in 40 days, for stores whose objects cannot be made older: flags as there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from albert_infer.common.printable import PrintableText
from albert_infer.config import CleanSettings
from albert_infer.job.command import run_command
from albert_infer.operations.cleaning import clean_runs


def cleaned(settings: CleanSettings) -> PrintableText:
    """Clean, and tell what went."""
    cleaning = clean_runs(settings, now=datetime.now(UTC) + timedelta(days=40))
    cleaning.refuse_failures()
    return cleaning.to_text()


def main(argv: Sequence[str]) -> int:
    """Clean with these flags; the exit code."""
    return run_command(CleanSettings, cleaned, argv, program="clean_later.py", about=__doc__ or "")
