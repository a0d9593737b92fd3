"""`albert-infer convert` as a script for a checkout.

python jobs/convert_checkpoint.py --model NAME@REVISION --output DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import CONVERT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    return CONVERT.run(argv, program="convert_checkpoint.py", call="python jobs/convert_checkpoint.py")


if __name__ == "__main__":
    sys.exit(main())
