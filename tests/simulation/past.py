"""What earlier starts have left at an output: real starts, one after the other, with nobody beside them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from albert_infer.errors import AlbertInferError
from simulation import version_one
from simulation.folders import Rights, folder_on
from simulation.protocol import ProtocolUnderTest
from simulation.requests import Request
from simulation.scenario import Past, Start
from simulation.store import NS_PER_DAY, NS_PER_SECOND, Store

# Stores kept at a time; one takes a few kB.
MAX_KEPT: Final = 2000
_KEPT: dict[tuple[bool, bool, tuple[Past, ...], str], Store] = {}


class _KilledError(BaseException):
    """The start was killed after so many requests."""


class Alone:
    """The asker of a start that nobody disturbs: every request takes effect at once. Killed after `most` of them."""

    name = "alone"

    def __init__(self, store: Store, most: int | None = None) -> None:
        self._store, self._most, self.sent = store, most, 0

    def ask(self, request: Request) -> Any:
        """Return the reply."""
        while True:
            if self.sent == self._most:
                raise _KilledError
            self.sent += 1
            self._store.tick()
            reply = request.advance()
            if request.is_over:
                return reply


def past_store(is_disk: bool, fresh_etags: bool, past: Sequence[Past], protocol: ProtocolUnderTest) -> Store:
    """A store as these starts have left it."""
    key = (is_disk, fresh_etags, tuple(past), str(protocol))
    if key not in _KEPT:
        if len(_KEPT) >= MAX_KEPT:
            _KEPT.clear()
        store = Store(is_disk, fresh_etags)
        for entry in past:
            _run(entry, store, protocol)
        _KEPT[key] = store
    return _KEPT[key].copied()


def _run(past: Past, store: Store, protocol: ProtocolUnderTest) -> None:
    most = None
    if past.version == 1:
        version_one.leave(store, past.start, past.killed_after)
        store.clock_ns += int(past.days_ago * NS_PER_DAY) + NS_PER_SECOND
        return
    if past.killed_after is not None:
        most = int(past.killed_after * _run_alone(past.start, store.copied(), protocol, None))
    _run_alone(past.start, store, protocol, most)
    store.clock_ns += int(past.days_ago * NS_PER_DAY) + NS_PER_SECOND


def _run_alone(start: Start, store: Store, protocol: ProtocolUnderTest, most: int | None) -> int:
    """Run the start until it ends or has sent so many requests; how many it has sent."""
    asker = Alone(store, most)
    with suppress(_KilledError, AlbertInferError):
        protocol.run_start(start, folder_on(store, asker, Rights()), store)
    store.locks.clear()
    return asker.sent
