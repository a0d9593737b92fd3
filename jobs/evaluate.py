"""Hold labels against gold labels: accuracy, confusion, slices, calibration, baselines; or against another run.

python jobs/evaluate.py --run s3://labels/dt=2026-11-21/ --output evaluation/

Labels came with their gold labels by --carry gold_label. Or pairs that --model labels here, in this process:

python jobs/evaluate.py --pairs gold/ --model MODEL --output evaluation/

Writes evaluation.json and evaluation.html, one page that needs nothing else. Every figure has a 95 % interval. With
--fit-temperature DIR a copy of the checkpoint is written whose probabilities are calibrated. Needs no Ray.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.config import EvaluateSettings
    from albert_infer.job.command import run_command
    from albert_infer.learning.evaluation import evaluate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(EvaluateSettings, evaluate, argv, program="evaluate.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
