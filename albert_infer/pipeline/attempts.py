"""Finds units that kill their workers: their attempts did not end, but the node of the worker is still alive.

Only counts. The caller says which attempts begin and end, and which nodes are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

# After this many dead workers, a unit is not tried again.
MAX_LOST_ATTEMPTS: Final = 3


class AttemptCounts:
    """The open attempts of one start. `alive_nodes` returns the ids of the nodes that are alive."""

    def __init__(self, alive_nodes: Callable[[], Set[str]]) -> None:
        self._alive_nodes = alive_nodes
        # For each piece of work: the node of each open attempt, by attempt id.
        self._open: dict[str, dict[str, str]] = {}

    def begin(self, work: str, attempt_id: str, node_id: str) -> bool:
        """Open an attempt on a node. Returns False if `MAX_LOST_ATTEMPTS` attempts at this work are lost.

        An attempt is lost if it is still open when another one begins. Attempts on dead nodes do not count: the node
        ended them, not the unit. The same attempt may begin again, because its first reply may be lost.
        """
        attempts = self._open.setdefault(work, {})
        if attempt_id not in attempts and len(attempts) >= MAX_LOST_ATTEMPTS:
            # Asked as late as possible, because the cluster notices a node's death only after some seconds.
            alive = self._alive_nodes()
            if sum(node in alive for node in attempts.values()) >= MAX_LOST_ATTEMPTS:
                return False
        attempts[attempt_id] = node_id
        return True

    def is_suspected(self, work: str) -> bool:
        """Whether an attempt is open. The next attempt should share its process with no other."""
        return bool(self._open.get(work))

    def end(self, work: str, attempt_id: str) -> None:
        """Close an attempt that returned or raised."""
        self._open.get(work, {}).pop(attempt_id, None)
