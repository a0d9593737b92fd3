"""`albert-infer clean` as a script for a checkout.

python jobs/clean_runs.py --output-root s3://labels/ --keep-days 30
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import CLEAN


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    return CLEAN.run(argv, program="clean_runs.py", call="python jobs/clean_runs.py")


if __name__ == "__main__":
    sys.exit(main())
