"""Checkpoints on the Hugging Face hub: `name@revision`, downloaded into the local cache; what else lies there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from albert_infer.errors import ModelError

# A revision is a commit, a tag, a branch, or a pull request: `refs/pr/3`.
_HUB_ID: Final = re.compile(r"([\w.-]+(?:/[\w.-]+)?)@([\w.-]+(?:/[\w.-]+)*)")
# Who offers safetensors by pull request, made from a repository's own pickles by the hub itself.
CONVERSION_BOT: Final = "SFconvertbot"


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


def downloaded(hub_id: HubId, patterns: Sequence[str]) -> str:
    """The local folder with those of its files whose names match. Raises ModelError where it cannot be had."""
    # Imported here: only hub ids need it, and it takes a second.
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(hub_id.name, revision=hub_id.revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that there is no checkpoint
        found = f"it could not be downloaded ({type(error).__name__})"
        remedy = "check name, revision and network, or give a folder"
        raise ModelError(f"model {hub_id}", found, remedy) from error


def blobs(hub_id: HubId) -> dict[str, str]:
    """The hash of each file that lies there, by name; none where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(hub_id.name, revision=hub_id.revision, files_metadata=True)
    except Exception:  # as above; a cache without a network has no list, and who asks has a message without it
        return {}
    return {file.rfilename: str(file.blob_id) for file in found.siblings or ()}


def conversions(hub_id: HubId) -> list[PullRequest]:
    """The pull requests of CONVERSION_BOT to this checkpoint, open or merged, the newest first.

    A pull request of anybody else is taken only where its revision is named: whoever opens one chooses the weights.
    None where the hub cannot be asked or keeps no pull requests.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        offered = [
            request.num
            for request in api.get_repo_discussions(hub_id.name, discussion_type="pull_request")
            if request.author == CONVERSION_BOT and request.status != "closed"
        ]
        refs = api.list_repo_refs(hub_id.name, include_pull_requests=True).pull_requests if offered else []
    except Exception:  # as above; then there is still the pickle
        return []
    commits = {ref.ref: ref.target_commit for ref in refs or ()}
    found = [(number, commits.get(f"refs/pr/{number}")) for number in sorted(offered, reverse=True)]
    return [PullRequest(number, HubId(hub_id.name, commit)) for number, commit in found if commit]
