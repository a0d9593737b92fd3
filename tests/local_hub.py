"""A model hub of a test's own: repositories with revisions, pull requests and discussions, as the hub's client asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Request:
    """A pull request: its number, who opened it, its files, and whether it is open, merged or closed."""

    number: int
    author: str
    files: Files
    status: str = "open"


@dataclass(frozen=True)
class Repository:
    """What lies on `main`, and the pull requests."""

    main: Files
    requests: tuple[Request, ...] = ()

    @property
    def revisions(self) -> dict[str, Files]:
        """The files of each revision, by its name and by its commit."""
        named = {"main": self.main, **{f"refs/pr/{request.number}": request.files for request in self.requests}}
        return named | {commit_of(files): files for files in named.values()}


@dataclass
class Hub:
    """Repositories by name, and which paths were asked for.

    With a `status` everything is answered by it and `code`, the hub's name of the error; with a `page` by that page.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int | None = None
    code: str = ""
    page: bytes | None = None
    # Files are refused with 429 until an hour has passed; the rest is answered.
    files_busy: bool = False


def commit_of(files: Files) -> str:
    """The hash of a revision."""
    return hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()


def blob_of(data: bytes) -> str:
    """The hash of a file."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder, as a revision."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """What answers for the hub."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
            """Nothing is told."""

        def _answer(self, *, with_body: bool) -> None:
            url = urlsplit(self.path)
            hub.asked.append(unquote(url.path))
            found = _api(hub, unquote(url.path), parse_qs(url.query)) or _file(hub, url.path)
            if hub.page is not None:
                found = hub.page, {"Content-Type": "text/html"}
            busy = hub.files_busy and "/resolve/" in url.path
            if found is None or hub.status is not None or busy:
                self.send_response(429 if busy else hub.status or 404)
                if busy:
                    self.send_header("Retry-After", "3600")
                self.send_header("X-Error-Code", hub.code or "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body, headers = found
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    return Answers


def _api(hub: Hub, path: str, query: dict[str, list[str]]) -> tuple[bytes, dict[str, str]] | None:
    for name, repository in hub.repositories.items():
        base = f"/api/models/{name}"
        if not path.startswith(base):
            continue
        rest = path.removeprefix(base)
        found: Any = None
        if rest == "/refs":
            found = _refs(repository)
        elif rest == "/discussions":
            found = _discussions(name, repository, query)
        elif rest.startswith(("/revision/", "/tree/")):
            files = repository.revisions.get(rest.split("/", 2)[2])
            found = None if files is None else (_tree if rest.startswith("/tree/") else _revision)(name, files)
        if found is not None:
            return json.dumps(found).encode(), {"Content-Type": "application/json"}
    return None


def _revision(name: str, files: Files) -> dict[str, Any]:
    siblings = [{"rfilename": file, "size": len(data), "blobId": blob_of(data)} for file, data in files.items()]
    return {"id": name, "modelId": name, "sha": commit_of(files), "siblings": siblings}


def _tree(name: str, files: Files) -> list[dict[str, Any]]:
    return [{"type": "file", "path": f, "size": len(data), "oid": blob_of(data)} for f, data in files.items()]


def _refs(repository: Repository) -> dict[str, Any]:
    requests = [
        {"name": str(request.number), "ref": f"refs/pr/{request.number}", "targetCommit": commit_of(request.files)}
        for request in repository.requests
    ]
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit_of(repository.main)}
    return {"branches": [main], "converts": [], "tags": [], "pullRequests": requests}


def _discussions(name: str, repository: Repository, query: dict[str, list[str]]) -> dict[str, Any]:
    told = [
        {
            "title": "Adding `safetensors` variant of this model",
            "num": request.number,
            "author": {"name": request.author},
            "createdAt": "2023-03-01T10:00:00.000Z",
            "status": request.status,
            "repo": {"name": name, "type": "model"},
            "isPullRequest": True,
        }
        for request in repository.requests
        if query.get("p") == ["0"]
    ]
    return {"count": len(told), "start": 0, "discussions": told}


def _file(hub: Hub, path: str) -> tuple[bytes, dict[str, str]] | None:
    name, found, rest = path.removeprefix("/").partition("/resolve/")
    repository = hub.repositories.get(name)
    if not found or repository is None:
        return None
    revision, _, file = rest.partition("/")
    file = unquote(file)
    files = repository.revisions.get(unquote(revision))
    if files is None or file not in files:
        return None
    return files[file], {"X-Repo-Commit": commit_of(files), "ETag": f'"{blob_of(files[file])}"'}
