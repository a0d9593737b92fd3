"""Reads the files of a checkpoint: of `builtin`, of a folder, or of the hub.

This module checks names, sizes and config.json; `checkpoint` verifies the rest. Nothing is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from albert_infer import storage
from albert_infer.errors import ModelError, ObjectMissingError
from albert_infer.model import hub, remedies
from albert_infer.model.calibration import CALIBRATION
from albert_infer.model.known_files import (
    CONFIG,
    MAX_SETTINGS_BYTES,
    MAX_VOCABULARY_BYTES,
    TOKENIZER_FILES,
    VOCABULARIES,
    WEIGHTS,
    WEIGHTS_INDEX,
    json_object,
)
from albert_infer.storage import DEFAULT_ACCESS, AccessError, ArchivedError, S3Access

# The files to download from a hub, with those that the index names.
FETCHED: Final = (CONFIG, WEIGHTS, WEIGHTS_INDEX, CALIBRATION, *TOKENIZER_FILES)


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint: config.json parsed, and the bytes of weights and tokenizer by name."""

    source: str
    config: Mapping[str, object]
    weights: dict[str, bytes]
    tokenizer: dict[str, bytes]
    # The bytes that `config` was read from.
    config_json: bytes
    calibration: bytes | None = None
    # The S3 server of the files, for commands in messages.
    s3_endpoint: str | None = None

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each file, by name."""
        raw: dict[str, bytes] = {CONFIG: self.config_json, **self.tokenizer, **self.weights}
        if self.calibration is not None:
            raw[CALIBRATION] = self.calibration
        return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(raw.items())}


def checkpoint_files(
    source: str, access: S3Access = DEFAULT_ACCESS, label_order: Sequence[str] = ()
) -> CheckpointFiles:
    """The files that `source` names, as for `load_checkpoint`, read but not verified.

    Raises ModelError. If a conversion helps, its remedy is the command, with the `label_order`.
    """

    def weights(folder: storage.Folder, files: set[str]) -> dict[str, bytes]:
        tensors = safetensors_in(folder, files, source)
        if not tensors:
            raise remedies.without_weights(source, files.union(hub_names(source)), label_order, access.endpoint)
        return tensors

    return files_with(source, access, weights)


def files_with(
    source: str, access: S3Access, weights: Callable[[storage.Folder, set[str]], dict[str, bytes]]
) -> CheckpointFiles:
    """As `checkpoint_files`. `weights` reads the weights from the folder with these files."""
    try:
        folder = checkpoint_folder(source, access)
        all_names = _all_names(folder, source)
        config_json, config = _config(folder, all_names, source)
        files = {name for name in all_names if "/" not in name}
        if files.isdisjoint(VOCABULARIES) and "vocab.txt" in files.union(hub_names(source)):
            raise remedies.with_bert_vocabulary(source)
        tensors = weights(folder, files)
        tokenizer: dict[str, bytes] = {name: _read(folder, name, source) for name in TOKENIZER_FILES if name in files}
        calibration = _read(folder, CALIBRATION, source) if CALIBRATION in files else None
        return CheckpointFiles(source, config, tensors, tokenizer, config_json, calibration, access.endpoint)
    except (AccessError, ArchivedError) as error:
        raise ModelError(error.asked, error.problem, error.remedy) from error
    except ObjectMissingError as error:
        remedy = "complete the folder: a link in it may lead nowhere"
        raise ModelError(f"model {source}", f"{error.problem} ({error.asked})", remedy) from error


def safetensors_in(folder: storage.Folder, files: set[str], source: str) -> dict[str, bytes]:
    """The safetensors files among `files`; empty if there are none. Raises ModelError for missing shards."""
    if WEIGHTS in files:
        return {WEIGHTS: _read(folder, WEIGHTS, source)}
    if WEIGHTS_INDEX in files:
        index = json_object(WEIGHTS_INDEX, _read(folder, WEIGHTS_INDEX, source), source)
        return {name: _read(folder, name, source) for name in _shards(index, files, source)}
    return {}


def checkpoint_folder(source: str, access: S3Access = DEFAULT_ACCESS) -> storage.Folder:
    """The folder with the files of the checkpoint `source`. Raises ModelError for a hub id that does not exist."""
    if source == "builtin":
        return storage.open_folder(str(resources.files("albert_infer.model") / "builtin" / "checkpoint"))
    if hub_id := hub.hub_id(source):
        return storage.open_folder(hub.downloaded(hub_id, FETCHED, index=WEIGHTS_INDEX))
    return storage.open_folder(source, access)


def hub_names(source: str) -> list[str]:
    """The names of all files of this hub id, downloaded or not; empty for other sources."""
    hub_id = None if source == "builtin" else hub.hub_id(source)
    return [] if hub_id is None else list(hub.blobs(hub_id))


def name_anywhere(source: str) -> str:
    """A name for the same checkpoint in any working directory: a folder becomes its URI, other names do not change.

    Uses no network. Raises SettingsError for an invalid location, and for credentials in it.
    """
    return source if source == "builtin" or hub.hub_id(source) else storage.open_folder(source).uri


def _all_names(folder: storage.Folder, source: str) -> list[str]:
    """The names of all files, at any depth. Raises ModelError for an empty folder, and for files that are too large."""
    sizes = {pin.name: pin.size for pin in folder.objects()}
    if not sizes and not hub_names(source):
        hint = "give a folder with config.json, or a hub id with its revision, `name@revision`"
        raise ModelError(f"model {source}", "no such folder, or it is empty", hint)
    _refuse_oversized(sizes, source)
    return list(sizes)


def _config(folder: storage.Folder, names: Sequence[str], source: str) -> tuple[bytes, Mapping[str, object]]:
    """config.json as bytes and as an object. Raises ModelError unless it is an ALBERT without custom code."""
    if CONFIG not in names:
        # Of the hub only the top folder, because a hub id cannot name a folder below it.
        all_names = [*names, *(name for name in hub_names(source) if "/" not in name)]
        raise remedies.without_config(source, all_names, lambda name: _read(folder, name, source))
    config_json = _read(folder, CONFIG, source)
    config = json_object(CONFIG, config_json, source)
    if "auto_map" in config:
        problem = "config.json has `auto_map`, which runs custom code"
        raise ModelError(f"model {source}", problem, "use a plain AlbertForSequenceClassification checkpoint")
    if config.get("model_type") != "albert":
        raise remedies.of_another_architecture(source, config.get("model_type"))
    return config_json, config


def _refuse_oversized(sizes: dict[str, int], source: str) -> None:
    """Raise ModelError for a file, other than weights, that is too large to read into memory."""
    for name in (CONFIG, CALIBRATION, WEIGHTS_INDEX, *TOKENIZER_FILES):
        most = MAX_VOCABULARY_BYTES if name in VOCABULARIES else MAX_SETTINGS_BYTES
        if sizes.get(name, 0) > most:
            problem = f"{name} has {sizes[name]:,} bytes, and at most {most:,} are read"
            raise ModelError(f"model {source}", problem, "give a folder saved by save_pretrained")


def _read(folder: storage.Folder, name: str, source: str) -> bytes:
    try:
        return remedies.no_pointer(folder.read(name), name, source)
    except ObjectMissingError as error:
        raise ModelError(f"model {source}", f"{name} is missing", "complete the folder") from error


def _shards(index: Mapping[str, object], files: set[str], source: str) -> list[str]:
    weight_map = index.get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    if not names:
        raise ModelError(f"model {source}", f"{WEIGHTS_INDEX} names no files", "save the checkpoint again")
    missing = [name for name in names if name not in files]
    if missing:
        problem = f"{WEIGHTS_INDEX} names {missing[0]!r:.100}, but the folder has no such file"
        raise ModelError(f"model {source}", problem, "complete the folder")
    return names
