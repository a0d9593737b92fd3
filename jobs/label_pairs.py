"""Label Parquet sentence pairs with ALBERT natural language inference and publish them as Parquet.

ray job submit --working-dir . -- python jobs/label_pairs.py --input s3://inbox/dt=2026-11-21/ --output s3://labels/dt=2026-11-21/

A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.common.display import terminal_width
    from albert_infer.config import LabelSettings
    from albert_infer.job.command import Done, run_command
    from albert_infer.job.run import label_pairs
    from albert_infer.pipeline.executor import Executor


def labelled(settings: LabelSettings, executor: Executor | None) -> Done:
    """Label the pairs; the report as text, and what of it the summary line tells."""
    report = label_pairs(settings, executor=executor)
    return Done(report.to_text(settings.output, width=terminal_width()), report.facts())


def main(argv: Sequence[str] | None = None, executor: Executor | None = None) -> int:
    """Run the job with `argv`, on Ray without an `executor`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(
        LabelSettings, partial(labelled, executor=executor), argv, program="label_pairs.py", about=__doc__ or ""
    )


if __name__ == "__main__":
    sys.exit(main())
