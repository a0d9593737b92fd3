"""A job as a program without Ray, for tests that stop, kill or race a driver: it starts in a second or two.

python inline_job.py JOB FLAGS...: JOB is `label_pairs` or `label_nightly`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from albert_infer.pipeline.inline import InlineExecutor
from albert_infer.pipeline.resources import Node


class OneThread(InlineExecutor):
    """Has one core, and so one thread: several are much slower where other tests run beside them."""

    @contextmanager
    def session(self, *, debug: bool) -> Iterator[Sequence[Node]]:
        """Yield a machine of one core; `debug` changes nothing."""
        del debug
        yield [Node(cpus=1, gpus=0)]


if __name__ == "__main__":
    sys.exit(import_module(sys.argv[1]).main(sys.argv[2:], OneThread()))
