"""A job as a program without Ray, for tests that stop, kill or race a driver: it starts in a second or two.

python inline_job.py JOB FLAGS...: JOB is `label_pairs` or `label_nightly`.
"""

from __future__ import annotations

import sys
from importlib import import_module

from albert_infer.pipeline.inline import InlineExecutor

if __name__ == "__main__":
    sys.exit(import_module(sys.argv[1]).main(sys.argv[2:], InlineExecutor()))
