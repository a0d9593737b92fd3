"""`albert-infer finetune` as a script for `ray job submit`, which uploads this folder.

ray job submit --working-dir . -- python jobs/finetune.py --train s3://pairs/train/ --eval s3://pairs/dev/ --output s3://models/nli/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import FINETUNE

CALL = "ray job submit --working-dir . -- python jobs/finetune.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    return FINETUNE.run(argv, program="finetune.py", call=CALL)


if __name__ == "__main__":
    sys.exit(main())
