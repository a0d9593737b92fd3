"""`albert-infer review` as a script, for `ray job submit`, which uploads this folder.

ray job submit --working-dir . -- python jobs/review_labels.py --run s3://labels/dt=2026-11-21/ --file s3://review/tasks.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import REVIEW

CALL = "ray job submit --working-dir . -- python jobs/review_labels.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return REVIEW.run(argv, program="review_labels.py", call=CALL)


if __name__ == "__main__":
    sys.exit(main())
