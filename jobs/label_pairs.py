"""`albert-infer label` as a script for `ray job submit`, which uploads this folder.

ray job submit --working-dir . -- python jobs/label_pairs.py --input s3://inbox/dt=2026-11-21/ --output s3://labels/dt=2026-11-21/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import LABEL
    from albert_infer.operations.work import labelled

if TYPE_CHECKING:
    from albert_infer.pipeline.executor import Executor

CALL = "ray job submit --working-dir . -- python jobs/label_pairs.py"


def main(argv: Sequence[str] | None = None, executor: Executor | None = None) -> int:
    """Run the job with `argv`. Without an `executor`, it runs on Ray. `albert_infer.errors` lists the exit codes."""
    job = replace(LABEL, work=partial(labelled, executor=executor))
    return job.run(argv, program="label_pairs.py", call=CALL)


if __name__ == "__main__":
    sys.exit(main())
