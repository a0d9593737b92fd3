"""Which units kill their workers: attempts that began, and neither returned nor raised while their node stayed alive.

Plain counting; who asks and who is alive comes from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

# A unit that took three workers with it would take the fourth.
MAX_LOST_ATTEMPTS: Final = 3


class AttemptCounts:
    """The attempts of one start that are open, by what is attempted. `alive_nodes` gives the living nodes."""

    def __init__(self, alive_nodes: Callable[[], Set[str]]) -> None:
        self._alive_nodes = alive_nodes
        # By what is attempted: the node of each open attempt, by the attempt's own id.
        self._open: dict[str, dict[str, str]] = {}

    def begin(self, attempted: str, attempt_id: str, node_id: str) -> bool:
        """Open an attempt on that node, unless `attempted` is poison: False after `MAX_LOST_ATTEMPTS` lost ones.

        An attempt is lost when another begins and it was not ended. Those on a node that is dead by now do not count:
        it is the node that took them. The same attempt may begin again, because its first reply was lost.
        """
        attempts = self._open.setdefault(attempted, {})
        if attempt_id not in attempts and len(attempts) >= MAX_LOST_ATTEMPTS:
            # Looked at this late, because the cluster hears of a node's death some seconds after it.
            alive = self._alive_nodes()
            if sum(node in alive for node in attempts.values()) >= MAX_LOST_ATTEMPTS:
                return False
        attempts[attempt_id] = node_id
        return True

    def end(self, attempted: str, attempt_id: str) -> None:
        """Close an attempt: it returned or raised."""
        self._open.get(attempted, {}).pop(attempt_id, None)
