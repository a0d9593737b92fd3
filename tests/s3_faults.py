"""A proxy that stands before a real S3 server and injects faults as told. Knows HTTP, and nothing of our code.

Requests are forwarded byte by byte, `Host` included, so that signatures stay valid. A test that uses it asserts that
`faults` is not empty, or it has proved nothing.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import urlsplit

Action = Literal[
    "status", "delay", "hold", "hang", "rst_before", "rst_after", "truncate", "flip", "ok200err", "rewrite"
]
# Broken connections are what this module is for; a client that went away needs no answer.
GONE: Final = (ConnectionError, asyncio.IncompleteReadError)
# Actions that let the request through and spoil the reply's body.
OF_THE_REPLY: Final = frozenset({"truncate", "flip", "rewrite"})
# Closing with this set sends RST, not FIN.
LINGER_ZERO: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Rule:
    """Inject `action` into requests of `method` ("" is any) whose path with its query matches `path`, a regex.

    The first `skip` that match are spared, then `times` are hit (None: all), each with `probability`. `rst_before`
    resets the connection before the server has seen the request, `rst_after` when it has stored it and answered;
    `truncate` resets half-way through the reply's body, `flip` changes one byte of it; `ok200err` and `status` answer
    `code` in place of the server, a `status` below 300 without a body; `hang` answers nothing for `seconds`, `delay`
    forwards after them, `hold` once there are other rules. `rewrite` puts `put` for all that the regex `find` matches
    in head and body of the reply. `without` spares requests that have this header.
    """

    action: Action
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int | None = 1
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 1.0
    probability: float = 1.0
    find: str = ""
    put: str = ""
    without: str = ""


@dataclass(frozen=True)
class Request:
    """One request as it came, also one that was not forwarded; the names of `headers` are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Message:
    """An HTTP message as bytes; `head` ends with its empty line."""

    head: bytes
    body: bytes

    @property
    def start(self) -> list[str]:
        return self.head.decode("latin-1").partition("\r\n")[0].split(" ", 2)

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class FaultProxy:
    """Runs in a thread of its own within a `with` block; `faults` counts by action, `requests` holds all that came.

    The draws of `probability` follow from `seed` and the order of the requests.
    """

    def __init__(self, upstream: str, rules: Sequence[Rule] = (), *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._random = random.Random(seed)  # noqa: S311  (faults, not secrets)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
        self.faults: Counter[Action] = Counter()
        self.requests: list[Request] = []
        self.endpoint = ""
        self.set_rules(rules)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set_rules(self, rules: Sequence[Rule]) -> None:
        """Use these rules from the next request on; the first that applies to a request is the one that hits it."""
        with self._lock:
            self._rules = [(rule, Counter[str]()) for rule in rules]

    def _holds(self, rule: Rule) -> bool:
        with self._lock:
            return any(one is rule for one, _ in self._rules)

    def seen(self, method: str, path: str = "") -> list[Request]:
        """The requests of a method whose path with its query matches the regex."""
        return [one for one in list(self.requests) if one.method == method and re.search(path, one.path)]

    def _rule_for(self, request: Request) -> Rule | None:
        with self._lock:
            self.requests.append(request)
            for rule, counts in self._rules:
                if rule.method not in {"", request.method} or not re.search(rule.path, request.path):
                    continue
                if rule.without in request.headers:
                    continue
                counts["matched"] += 1
                spared = counts["matched"] <= rule.skip or counts["hit"] == rule.times
                if not spared and self._random.random() < rule.probability:
                    counts["hit"] += 1
                    return rule
        return None

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # Cancelled at the end of the block, whatever it waits for.
            with suppress(*GONE, asyncio.CancelledError):
                while await self._answered(await _request(reader, writer), writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answered(self, message: _Message, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, as the rules want it; whether the connection can take another."""
        method, path, _ = message.start
        rule = self._rule_for(Request(method, path, message.headers))
        if rule is None or rule.action in OF_THE_REPLY:
            reply = await self._forwarded(message, method)
            return await self._replied(reply, rule, writer)
        self.faults[rule.action] += 1
        if rule.action in {"status", "ok200err"}:
            return await self._replied(_in_place_of_the_server(rule, method), None, writer)
        if rule.action in {"delay", "hang"}:
            await asyncio.sleep(rule.seconds)
        while rule.action == "hold" and self._holds(rule):
            await asyncio.sleep(0.02)
        if rule.action in {"hang", "rst_before"}:
            return _reset(writer)
        reply = await self._forwarded(message, method)
        return _reset(writer) if rule.action == "rst_after" else await self._replied(reply, None, writer)

    async def _replied(self, reply: _Message, rule: Rule | None, writer: asyncio.StreamWriter) -> bool:
        """Send the reply, spoilt as the rule wants it; one that it leaves as it is does not count."""
        if rule and rule.action == "rewrite":
            reply, before = _rewritten(reply, rule), reply
            self.faults[rule.action] += reply != before
            rule = None
        body, half = reply.body, len(reply.body) // 2
        if rule and body:
            self.faults[rule.action] += 1
            body = body[:half] if rule.action == "truncate" else _flipped(body, half)
        writer.write(reply.head + body)
        await writer.drain()
        if len(body) < len(reply.body):
            return _reset(writer)
        return reply.headers.get("connection", "").lower() != "close"

    async def _forwarded(self, message: _Message, method: str) -> _Message:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(message.head + message.body)
            reply = await _head(reader)
            while reply.start[1] == "100":  # we have said so ourselves
                reply = await _head(reader)
            bodiless = method == "HEAD" or reply.start[1] in {"204", "304"}
            return reply if bodiless else _Message(reply.head, await _body(reader, reply.headers))
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Message:
    request = await _head(reader)
    if request.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return _Message(request.head, await _body(reader, request.headers))


async def _head(reader: asyncio.StreamReader) -> _Message:
    return _Message(await reader.readuntil(b"\r\n\r\n"), b"")


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The body as it is on the wire: by its length, or chunk by chunk with the frames and the trailer."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if not size:
            return raw + line + await _trailer(reader)
        raw += line + await reader.readexactly(size + 2)


async def _trailer(reader: asyncio.StreamReader) -> bytes:
    raw = line = await reader.readuntil(b"\r\n")
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        raw += line
    return raw


def _reset(writer: asyncio.StreamWriter) -> bool:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    writer.transport.abort()
    return False


def _rewritten(reply: _Message, rule: Rule) -> _Message:
    """The reply with the text in place, and its length; the head of one without a body keeps the length it has."""
    body = _unframed(reply.body) if reply.headers.get("transfer-encoding", "").lower() == "chunked" else reply.body
    head, body = (re.sub(rule.find.encode(), rule.put.encode(), part) for part in (reply.head, body))
    if (head, body) == (reply.head, reply.body) or not body:
        return _Message(head, reply.body)
    lines = [
        line for line in head.split(b"\r\n")[:-2] if not re.match(rb"(?i)(content-length|transfer-encoding):", line)
    ]
    return _Message(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]), body)


def _unframed(raw: bytes) -> bytes:
    """The body without the frames of its chunks, and without a trailer."""
    body = b""
    while size := int(raw.partition(b"\r\n")[0].split(b";")[0], 16):
        chunk = raw.partition(b"\r\n")[2]
        body, raw = body + chunk[:size], chunk[size + 2 :]
    return body


def _flipped(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def _in_place_of_the_server(rule: Rule, method: str) -> _Message:
    status = rule.status if rule.action == "status" else 200
    body = f"<?xml version='1.0'?><Error><Code>{rule.code}</Code><Message>injected</Message></Error>".encode()
    if status < 300 and rule.action == "status":
        body = b""
    head = f"HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return _Message(head.encode(), b"" if method == "HEAD" else body)
