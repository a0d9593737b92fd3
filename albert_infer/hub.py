"""Checkpoints on the Hugging Face hub: `name@revision`, downloaded into the local cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from albert_infer.errors import ModelError

_HUB_ID: Final = re.compile(r"([\w.-]+(?:/[\w.-]+)?)@([\w.-]+)")


@dataclass(frozen=True)
class HubId:
    """A checkpoint of the hub at one revision."""

    name: str
    revision: str


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
        raise ModelError(f"model {hub_id.name}@{hub_id.revision}", found, remedy) from error
