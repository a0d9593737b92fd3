"""`jobs/clean_runs.py` as it will run in 40 days, for stores whose objects cannot be made older: flags as there."""

from __future__ import annotations

import sys
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


if __name__ == "__main__":
    sys.exit(run_command(CleanSettings, cleaned, None, program="clean_later.py", about=__doc__ or ""))
