"""`albert-infer demo` as a script for a checkout. Writes its output into the checkout.

python jobs/demo.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import DEMO
    from albert_infer.operations.work import demonstrated, given_to_demo


ROOT = Path(__file__).resolve().parent.parent
# The command that starts the labelling job.
LABEL = (sys.executable, str(ROOT / "jobs/label_pairs.py"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    given = given_to_demo(ROOT / "demo-output")
    job = replace(DEMO, work=partial(demonstrated, label=LABEL), given=given)
    return job.run(argv, program="demo.py", call="python jobs/demo.py")


if __name__ == "__main__":
    sys.exit(main())
