"""`albert-infer plan` as a script, for `ray job submit`, which uploads this folder.

ray job submit --working-dir . -- python jobs/plan_labels.py --output s3://labels/dt=2026-11-21/ --input s3://inbox/dt=2026-11-21/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import PLAN

CALL = "ray job submit --working-dir . -- python jobs/plan_labels.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return PLAN.run(argv, program="plan_labels.py", call=CALL)


if __name__ == "__main__":
    sys.exit(main())
