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
        self._open: dict[str, list[str]] = {}

    def begin(self, attempted: str, node_id: str) -> bool:
        """Open an attempt on that node, unless `attempted` is poison: False after `MAX_LOST_ATTEMPTS` lost ones.

        An attempt is lost when the next one begins and it was not ended. Those on a node that is dead by now do not
        count: it is the node that took them.
        """
        nodes = self._open.setdefault(attempted, [])
        if len(nodes) >= MAX_LOST_ATTEMPTS:
            # Looked at this late, because the cluster hears of a node's death some seconds after it.
            alive = self._alive_nodes()
            if sum(node in alive for node in nodes) >= MAX_LOST_ATTEMPTS:
                return False
        nodes.append(node_id)
        return True

    def end(self, attempted: str, node_id: str) -> None:
        """Close an attempt of that node: it returned or raised."""
        nodes = self._open.get(attempted, [])
        if node_id in nodes:
            nodes.remove(node_id)
