"""What an actor asks of the store: a request takes effect in one part or several, and only then has a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

# Requests that change the store: these may take effect after their sender has died or has given up on them.
WRITES: Final = frozenset({"put", "copy", "delete"})


@dataclass(slots=True)
class Request:
    """`parts` take effect one by one, each at a moment of its own; the result of the last one is the reply."""

    kind: str
    name: str
    parts: tuple[Callable[[], Any], ...]
    done: int = 0
    # A lock waits until it is free; everything else may take effect at once.
    is_free: Callable[[], bool] | None = None
    # The step of the schedule in which it was sent.
    sent_at: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all of it has taken effect."""
        return self.done == len(self.parts)

    @property
    def is_ready(self) -> bool:
        """Whether the next part may take effect now."""
        return self.is_free is None or self.is_free()

    def advance(self) -> Any:
        """Let the next part take effect."""
        part = self.parts[self.done]
        self.done += 1
        return part()

    def again(self) -> Request:
        """The same request, sent once more: all of its parts are still to come."""
        return Request(self.kind, self.name, self.parts, 0, self.is_free, self.sent_at)


class Asker(Protocol):
    """Sends requests: an actor whose steps are scheduled, or one that is alone."""

    @property
    def name(self) -> str:
        """Who asks."""
        ...

    def ask(self, request: Request) -> Any:
        """Return the reply, or raise the error that the store answered with."""
        ...
