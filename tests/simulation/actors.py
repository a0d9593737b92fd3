"""Who takes steps in a schedule: actors that run real code, requests that outlived their sender, and single events.

An actor runs in a greenlet that is left at every request, so that synchronous code can be held at each of them:
request sent, request in effect, reply received.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from greenlet import greenlet

from albert_infer.errors import AlbertInferError, InfrastructureError
from simulation.requests import WRITES, Request

# An actor that asks more often than this will never end.
MAX_REQUESTS: Final = 1500


class KilledError(BaseException):
    """The process of an actor was killed. No `except` of the project may catch this."""


class EndlessError(Exception):
    """An actor asked for more than any honest one can need."""


class Actor:
    """One process. Its `body` runs when it takes its first step."""

    def __init__(self, name: str, body: Callable[[Actor], int]) -> None:
        self.name = name
        self.is_over = False
        self.request: Request | None = None
        # What `body` returned: the exit code; None as long as it runs, and for one that was killed.
        self.code: int | None = None
        # What ended it that is no error of the project.
        self.failure: BaseException | None = None
        self.requests = 0
        self._reply: Any = None
        self._error: BaseException | None = None
        self._body = body
        self._greenlet = greenlet(self._run)

    @property
    def is_ready(self) -> bool:
        """Whether it can take a step."""
        return not self.is_over and (self.request is None or self.request.is_over or self.request.is_ready)

    @property
    def awaits_answer(self) -> bool:
        """Whether it has sent a request that it has not given up on."""
        return self.request is not None and bool(self.request.parts)

    def ask(self, request: Request) -> Any:
        """Called by the body: wait until the scheduler has let the request take effect and the reply arrive."""
        if self.is_over:
            raise KilledError
        self.requests += 1
        if self.requests > MAX_REQUESTS:
            raise EndlessError(f"{self.name} has sent {MAX_REQUESTS} requests")
        self.request = request
        return self._greenlet.parent.switch()

    def step(self) -> None:
        """Let the pending request take effect, or let the body go on to its next request."""
        request = self.request
        if request is not None and not request.is_over:
            try:
                self._reply = request.advance()
            except AlbertInferError as refused:
                request.done = len(request.parts)
                self._error = refused
            return
        error, self._error = self._error, None
        if error is None:
            self._greenlet.switch(self._reply)
        else:
            self._greenlet.throw(error)

    def kill(self) -> Request | None:
        """End the process. Returns the request that is still on its way, if it would change anything."""
        self.is_over = True
        if not self._greenlet.dead:
            self._greenlet.throw(KilledError)
        return self._on_its_way()

    def send_again(self) -> Request | None:
        """No answer came in time: send the request once more. Returns the first one, if it is still on its way."""
        left = self._on_its_way()
        assert self.request is not None
        self.request, self._error = self.request.again(), None
        return left

    def give_up(self) -> Request | None:
        """No answer came at all: raise the error of that. Returns the request, if it is still on its way."""
        left = self._on_its_way()
        assert self.request is not None
        self._error = InfrastructureError(f"sending {self.request.name}", "no answer", "start the run again")
        self.request = Request(self.request.kind, self.request.name, ())
        return left

    def _on_its_way(self) -> Request | None:
        request = self.request
        return request if request and not request.is_over and request.kind in WRITES else None

    def _run(self, _: Any = None) -> None:
        try:
            self.code = self._body(self)
        except KilledError:
            pass
        except BaseException as error:
            # Judged by the scheduler: an exception would end up in whoever switched here last.
            self.failure = error
        self.is_over = True


@dataclass
class LateRequest:
    """A request whose sender does not wait for it any more; it takes effect all the same."""

    name: str
    sender: str
    request: Request

    @property
    def is_over(self) -> bool:
        """Whether all of it has taken effect."""
        return self.request.is_over

    @property
    def is_ready(self) -> bool:
        """Whether a part of it is left."""
        return not self.request.is_over

    def step(self) -> None:
        """Let the next part take effect; nobody hears of an error."""
        try:
            self.request.advance()
        except AlbertInferError:
            self.request.done = len(self.request.parts)


@dataclass
class Event:
    """One thing that happens at some moment: the clock jumps, or an operator lays hands on the output."""

    name: str
    happen: Callable[[], str]
    is_over: bool = False
    told: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it has not happened yet."""
        return not self.is_over

    def step(self) -> None:
        """Let it happen."""
        self.told, self.is_over = self.happen(), True


Entity = Actor | LateRequest | Event
