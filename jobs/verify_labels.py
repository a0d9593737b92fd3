"""Count a published run again from its files alone: every planned row once, every file as `_SUCCESS` says.

ray job submit --working-dir . -- python jobs/verify_labels.py --output s3://labels/dt=2026-11-21/ --input s3://inbox/dt=2026-11-21/

Needs no Ray, so it runs anywhere that reads both folders. Without --input the rows are counted, but not compared.
Exit code 0: nothing is wrong; 5: each line `finding` on stdout is something that is; 2: nothing is published there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.common.printable import PrintableText
    from albert_infer.config import VerifySettings
    from albert_infer.job.command import run_command
    from albert_infer.verification import verify_labels


def verified(settings: VerifySettings) -> PrintableText:
    """Recount the run; what was counted as text. Findings go to stdout before the error that they end in."""
    verification = verify_labels(settings)
    if verification.findings:
        sys.stdout.write(verification.to_text() + "\n")
        verification.refuse_findings()
    return verification.to_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(VerifySettings, verified, argv, program="verify_labels.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
