"""List, and with --delete remove, what finished and forsaken runs have left below an output or a folder of outputs.

python jobs/clean_runs.py --output-root s3://labels/ --keep-days 30

Needs no Ray. Never touches what a `_SUCCESS` names, a run that wrote anything within --keep-days, or an output whose
`_SUCCESS` is not as it should be (exit code 5, the others are done). With --delete it needs the right to delete.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.common.printable import PrintableText
    from albert_infer.config import CleanSettings
    from albert_infer.job.command import run_command
    from albert_infer.operations.cleaning import clean_runs


def cleaned(settings: CleanSettings) -> PrintableText:
    """Clean; what was found as text. It goes to stdout before the failure that it ends in."""
    cleaning = clean_runs(settings)
    if any(output.failure for output in cleaning.outputs):
        sys.stdout.write(cleaning.to_text() + "\n")
        cleaning.refuse_failures()
    return cleaning.to_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(CleanSettings, cleaned, argv, program="clean_runs.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
