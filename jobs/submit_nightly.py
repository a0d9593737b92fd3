"""`albert-infer submit` as a script for a checkout. Uploads the checkout.

python jobs/submit_nightly.py --address http://HEAD:8265 --input-root s3://inbox/ --output-root s3://labels/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.operations.commands import SUBMIT
    from albert_infer.operations.work import submitted


PROJECT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`. `albert_infer.errors` lists the exit codes."""
    job = replace(SUBMIT, work=partial(submitted, project=PROJECT))
    return job.run(argv, program="submit_nightly.py", call="python jobs/submit_nightly.py")


if __name__ == "__main__":
    sys.exit(main())
