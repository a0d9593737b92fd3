"""Checkpoints on the Hugging Face hub: `name@revision`, downloaded into the local cache; what else lies there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from glob import escape
from pathlib import Path
from typing import Final

from albert_infer.common.json_input import parsed_json
from albert_infer.errors import AlbertInferError, RefusedError
from albert_infer.model.hub_calls import PATIENCE_SECONDS, Heard, answer_of, endpoint, silent_bar, tell_downloading

# A revision is a commit, a tag, a branch, or a pull request: `refs/pr/3`.
_HUB_ID: Final = re.compile(r"([\w.-]+(?:/[\w.-]+)?)@([\w.-]+(?:/[\w.-]+)*)")
# Who offers safetensors by pull request, made from a repository's own pickles by the hub itself.
CONVERSION_BOT: Final = "SFconvertbot"
# An index names each tensor, and an ALBERT has 25.
MAX_INDEX_BYTES: Final = 2 * 2**20


@dataclass(frozen=True)
class HubId:
    """A checkpoint of the hub at one revision."""

    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class PullRequest:
    """A pull request of the conversion bot, and its newest commit."""

    number: int
    at: HubId


def hub_id(source: str) -> HubId | None:
    """The checkpoint that `source` names; None for a folder, which may be called like one."""
    found = _HUB_ID.fullmatch(source)
    return HubId(*found.groups()) if found and not Path(source).exists() else None


def downloaded(
    hub_id: HubId,
    patterns: Sequence[str],
    *,
    index: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """The local folder with its files whose names match, and with those that its file `index` names, if it has one.

    Raises ModelError where it cannot be had, and InfrastructureError where another try may have it. What the cache has
    is taken from there while the hub does not give it.
    """
    folder = Path(_snapshot(hub_id, patterns, patience_seconds))
    named = [] if index is None else _shards(folder / index)
    if named:
        # At its commit, as a branch may move meanwhile.
        pinned = HubId(hub_id.name, folder.name)
        folder = Path(_snapshot(pinned, [*patterns, *map(escape, named)], patience_seconds))
    return str(folder)


def _snapshot(hub_id: HubId, patterns: Sequence[str], patience_seconds: float) -> str:
    from huggingface_hub import snapshot_download

    asked, heard = f"model {hub_id}", Heard()
    tell_downloading(hub_id, endpoint())
    try:
        return answer_of(
            asked, partial(_fetched, hub_id, patterns, heard), heard=heard, patience_seconds=patience_seconds
        )
    except AlbertInferError as refused:
        try:
            cached = snapshot_download(
                hub_id.name, revision=hub_id.revision, allow_patterns=list(patterns), local_files_only=True
            )
        except Exception:  # the hub's client raises a dozen kinds; all mean that the cache has not all of it
            raise refused from refused.__cause__
        return str(cached)


def _fetched(hub_id: HubId, patterns: Sequence[str], heard: Heard) -> str:
    """Download one file after the other: the threads of `snapshot_download` would keep a job from ending."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # Nothing but the list of files, by which the cache knows later whether it has them all; the folder is the commit.
    bar = silent_bar(heard)
    commit = Path(snapshot_download(hub_id.name, revision=hub_id.revision, allow_patterns=[], tqdm_class=bar)).name
    heard.now()
    listed = [file.rfilename for file in HfApi().model_info(hub_id.name, revision=commit).siblings or ()]
    for name in [name for name in listed if any(fnmatchcase(name, pattern) for pattern in patterns)]:
        heard.now()
        hf_hub_download(hub_id.name, name, revision=commit, tqdm_class=bar)
    return str(snapshot_download(hub_id.name, revision=commit, allow_patterns=list(patterns), tqdm_class=bar))


def _shards(index: Path) -> list[str]:
    """The files that an index names; none where it is missing or damaged, which is refused where it is read."""
    try:
        weight_map = parsed_json(index.read_bytes(), max_bytes=MAX_INDEX_BYTES)["weight_map"]
        return sorted({str(name) for name in weight_map.values()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def blobs(hub_id: HubId) -> dict[str, str]:
    """The hash of each file that lies there, by name; none of a hub that does not list it, or is not to be asked."""
    from huggingface_hub import HfApi

    def listed() -> dict[str, str]:
        found = HfApi().model_info(hub_id.name, revision=hub_id.revision, files_metadata=True)
        return {file.rfilename: str(file.blob_id) for file in found.siblings or ()}

    try:
        return answer_of(f"model {hub_id}", listed)
    except RefusedError:  # who asks has a message without it
        return {}


def conversions(hub_id: HubId) -> list[PullRequest]:
    """The pull requests of CONVERSION_BOT to this checkpoint, open or merged, the newest first.

    A pull request of anybody else is taken only where its revision is named: whoever opens one chooses the weights.
    None where the hub keeps no pull requests.
    """
    try:
        return answer_of(f"model {hub_id}", partial(_conversions, hub_id))
    except RefusedError:  # then there is still the pickle
        return []


def _conversions(hub_id: HubId) -> list[PullRequest]:
    from huggingface_hub import HfApi

    api = HfApi()
    offered = [
        request.num
        for request in api.get_repo_discussions(hub_id.name, discussion_type="pull_request")
        if request.author == CONVERSION_BOT and request.status != "closed"
    ]
    refs = api.list_repo_refs(hub_id.name, include_pull_requests=True).pull_requests if offered else []
    commits = {ref.ref: ref.target_commit for ref in refs or ()}
    found = [(number, commits.get(f"refs/pr/{number}")) for number in sorted(offered, reverse=True)]
    return [PullRequest(number, HubId(hub_id.name, commit)) for number, commit in found if commit]
