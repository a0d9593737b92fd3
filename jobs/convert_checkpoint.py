"""Make a checkpoint for labelling of one that has pickled weights: safetensors, outputs with names, one tokenizer.json.

python jobs/convert_checkpoint.py --model NAME@REVISION --output DIR

Takes the safetensors that the hub's own bot offers in a pull request, else opens the pickle as weights only, in a
process of its own. The tokenizer is held against the original one, and the label order against pairs beyond doubt.
Needs no Ray.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from albert_infer.job.signals import starting

with starting(__file__):
    from albert_infer.config import ConvertSettings
    from albert_infer.job.command import Done, run_command
    from albert_infer.operations.conversion import convert


def converted(settings: ConvertSettings) -> Done:
    """Convert; what came of it as text and facts."""
    made = convert(settings)
    return Done(made.to_text(), made.facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with `argv`; the exit codes are listed in `albert_infer.errors`."""
    return run_command(ConvertSettings, converted, argv, program="convert_checkpoint.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
