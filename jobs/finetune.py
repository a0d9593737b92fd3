"""Fine-tune an ALBERT on labelled Parquet pairs, with Ray Train, and write it as a Hugging Face checkpoint folder.

ray job submit --working-dir . -- python jobs/finetune.py --train s3://pairs/train/ --eval s3://pairs/dev/ --output s3://models/nli/

A run that was killed goes on from its last evaluation when the same command is given again. With --teacher a small
model learns from a large one too. A setting is read from its flag, else from ALBERT_INFER_<NAME>, else from the
--config file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.common.printable import PrintableText
    from albert_infer.config import FinetuneSettings
    from albert_infer.job.command import run_command
    from albert_infer.learning.training.summary import summary


def finetuned(settings: FinetuneSettings) -> PrintableText:
    """Train and write the checkpoint; what came of it as text."""
    # Torch and Ray take seconds, which neither the help nor a setting that is refused needs.
    from albert_infer.learning.training.finetuning import finetune

    return summary(finetune(settings), settings.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(FinetuneSettings, finetuned, argv, program="finetune.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
