"""Labelling in the process of a test, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from albert_infer.pipeline.inline import InlineExecutor
from albert_infer.pipeline.resources import Node


class OneThread(InlineExecutor):
    """Has one core, and so one thread: several are much slower where other tests run beside them."""

    @contextmanager
    def session(self, *, debug: bool) -> Iterator[Sequence[Node]]:
        """Yield a machine of one core; `debug` changes nothing."""
        del debug
        yield [Node(cpus=1, gpus=0)]
