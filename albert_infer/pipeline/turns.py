"""Which calls of an actor run at the same time: all, but for a call that must run alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Turns:
    """Admits calls together, or one alone. A call that waits to be alone goes before calls that come after it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._alone = False
        self._waiting_alone = 0

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        """Run the block with the other calls, or `alone`: after those that began before, and before any other."""
        self._enter(alone=alone)
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()

    def _enter(self, *, alone: bool) -> None:
        with self._changed:
            self._waiting_alone += alone
            self._changed.wait_for(lambda: not self._inside if alone else not (self._alone or self._waiting_alone))
            self._waiting_alone -= alone
            self._alone = alone
            self._inside += 1
