"""`albert-infer evaluate` as a script for a checkout.

python jobs/evaluate.py --run s3://labels/dt=2026-11-21/ --output evaluation/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import EVALUATE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    return EVALUATE.run(argv, program="evaluate.py", call="python jobs/evaluate.py")


if __name__ == "__main__":
    sys.exit(main())
