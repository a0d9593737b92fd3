"""Label a night, or several: below two roots, a night's folder of Parquet pairs becomes its folder of labels.

ray job submit --working-dir . -- python jobs/label_nightly.py --input-root s3://inbox/ --output-root s3://labels/

Without dates it is yesterday. A night that is published already is left as it is, so that a range may be given again
and again. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the --config file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.config import NightlySettings
    from albert_infer.job.command import Done, run_command
    from albert_infer.operations.nightly import label_nights
    from albert_infer.pipeline.executor import Executor


def labelled(settings: NightlySettings, executor: Executor | None) -> Done:
    """Label the nights; what happened to each. It goes to stdout before the failure that it ends in."""
    nights = label_nights(settings, executor)
    if nights.worst:
        sys.stdout.write(nights.to_text() + "\n")
        nights.refuse_failures()
    return Done(nights.to_text(), nights.facts())


def main(argv: Sequence[str] | None = None, executor: Executor | None = None) -> int:
    """Run the job with `argv`, on Ray without an `executor`.

    The exit code is the largest of all nights, as listed in `albert_infer.errors`.
    """
    return run_command(
        NightlySettings, partial(labelled, executor=executor), argv, program="label_nightly.py", about=__doc__ or ""
    )


if __name__ == "__main__":
    sys.exit(main())
