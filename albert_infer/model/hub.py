"""Checkpoints `name@revision` of the Hugging Face hub: downloads into the local cache, lists of files, conversions."""

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
from albert_infer.model.hub_calls import PATIENCE_SECONDS, Activity, answer_of, endpoint, log_download, silent_bar

# A revision is a commit, a tag, a branch, or a pull request: `refs/pr/3`.
_HUB_ID: Final = re.compile(r"([\w.-]+(?:/[\w.-]+)?)@([\w.-]+(?:/[\w.-]+)*)")
# The hub's own bot, which offers safetensors of a repository's pickles in a pull request.
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
    """The checkpoint that `source` names; None for other names, and for an existing folder with such a name."""
    match = _HUB_ID.fullmatch(source)
    return HubId(*match.groups()) if match and not Path(source).exists() else None


def downloaded(
    hub_id: HubId,
    patterns: Sequence[str],
    *,
    index: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """Download the files that match `patterns`, and those that the file `index` names. Returns the local folder.

    If the download fails, the cache is used, if it has all files. Else raises ModelError, or InfrastructureError if a
    retry may succeed.
    """
    folder = Path(_snapshot(hub_id, patterns, patience_seconds))
    named = [] if index is None else _shards(folder / index)
    if named:
        # At the same commit: a branch may have moved.
        pinned = HubId(hub_id.name, folder.name)
        folder = Path(_snapshot(pinned, [*patterns, *map(escape, named)], patience_seconds))
    return str(folder)


def _snapshot(hub_id: HubId, patterns: Sequence[str], patience_seconds: float) -> str:
    from huggingface_hub import snapshot_download

    asked, activity = f"model {hub_id}", Activity()
    log_download(hub_id, endpoint())
    try:
        return answer_of(
            asked, partial(_fetched, hub_id, patterns, activity), activity=activity, patience_seconds=patience_seconds
        )
    except AlbertInferError as refused:
        try:
            cached = snapshot_download(
                hub_id.name, revision=hub_id.revision, allow_patterns=list(patterns), local_files_only=True
            )
        except Exception:  # many types; each means that the cache is incomplete
            raise refused from refused.__cause__
        return str(cached)


def _fetched(hub_id: HubId, patterns: Sequence[str], activity: Activity) -> str:
    """Download one file after another. The threads of `snapshot_download` would keep a job from ending."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # Gets only the list of files, by which the cache can check later whether it has them all. The folder is the commit.
    bar = silent_bar(activity)
    commit = Path(snapshot_download(hub_id.name, revision=hub_id.revision, allow_patterns=[], tqdm_class=bar)).name
    activity.record()
    listed = [file.rfilename for file in HfApi().model_info(hub_id.name, revision=commit).siblings or ()]
    for name in [name for name in listed if any(fnmatchcase(name, pattern) for pattern in patterns)]:
        activity.record()
        hf_hub_download(hub_id.name, name, revision=commit, tqdm_class=bar)
    return str(snapshot_download(hub_id.name, revision=commit, allow_patterns=list(patterns), tqdm_class=bar))


def _shards(index: Path) -> list[str]:
    """The files that an index names; empty if it is missing or damaged. The reader of the index refuses it then."""
    try:
        weight_map = parsed_json(index.read_bytes(), max_bytes=MAX_INDEX_BYTES)["weight_map"]
        return sorted({str(name) for name in weight_map.values()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def blobs(hub_id: HubId) -> dict[str, str]:
    """The hash of each file on the hub, by name; empty if the hub refuses the list."""
    from huggingface_hub import HfApi

    def listed() -> dict[str, str]:
        info = HfApi().model_info(hub_id.name, revision=hub_id.revision, files_metadata=True)
        return {file.rfilename: str(file.blob_id) for file in info.siblings or ()}

    try:
        return answer_of(f"model {hub_id}", listed)
    except RefusedError:  # the caller has its own message
        return {}


def conversions(hub_id: HubId) -> list[PullRequest]:
    """The open or merged pull requests of CONVERSION_BOT to this checkpoint, newest first; empty if the hub has none.

    Pull requests of others are not listed, because their authors choose the weights. `name@revision` can name them.
    """
    try:
        return answer_of(f"model {hub_id}", partial(_conversions, hub_id))
    except RefusedError:  # the pickle remains
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
    newest = [(number, commits.get(f"refs/pr/{number}")) for number in sorted(offered, reverse=True)]
    return [PullRequest(number, HubId(hub_id.name, commit)) for number, commit in newest if commit]
