"""Submit a night, or several, to a Ray cluster; follow the log, and end with the exit code of the job there.

python jobs/submit_nightly.py --address http://HEAD:8265 --input-root s3://inbox/ --output-root s3://labels/

The id of the job is nli-<date>, or nli-<since>-<until>. A job of that id that has ended makes way; while one runs
nothing is submitted (exit code 6). Ctrl-C ends the following, not the job. Exit code 4 also means that the job was
ended from outside: submit it again and it goes on. Takes every setting of label_nightly.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.common.printable import PrintableText
    from albert_infer.config import SubmitSettings
    from albert_infer.job.command import run_command
    from albert_infer.operations.submission import submit_nights

PROJECT = Path(__file__).resolve().parent.parent


def submitted(settings: SubmitSettings) -> PrintableText:
    """Submit the nights; how they ended as text."""
    return submit_nights(settings, PROJECT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(SubmitSettings, submitted, argv, program="submit_nightly.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
