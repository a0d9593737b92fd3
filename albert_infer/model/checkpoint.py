"""A checkpoint, loaded and verified: its files' digests, its tokenizer, its weights, its temperature.

The driver loads; the cluster gets a `Checkpoint`, which is bytes and strings. Nothing of a checkpoint is ever executed
or unpickled. Knows nothing of pairs or devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal

from albert_infer import storage
from albert_infer.engine import AlbertShape
from albert_infer.engine.tensors import TensorHeader, refuse_unfit_tensors, tensor_headers, wrapper_of
from albert_infer.errors import AlbertInferError, ModelError, ObjectMissingError
from albert_infer.model import hub, remedies
from albert_infer.model.calibration import CALIBRATION, UNCALIBRATED, temperature_of
from albert_infer.model.label_order import label_order_of, named_order, with_outputs
from albert_infer.model.remedies import CONFIG
from albert_infer.model.tokenizer_files import (
    MAX_SETTINGS_BYTES,
    PROBE_TEXTS,
    SENTENCEPIECE,
    TOKENIZER_FILES,
    TOKENIZER_JSON,
    json_object,
    read_tokenizer,
    token_ids,
    tokenizer_text,
)
from albert_infer.prepare.tokenization import PairTokenizer, is_error
from albert_infer.schema import NliLabel
from albert_infer.storage import DEFAULT_ACCESS, AccessError, ArchivedError, S3Access

WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
# Vocabularies: the largest in use, of a quarter of a million words in JSON, has 33 MB.
VOCABULARIES: Final = (TOKENIZER_JSON, SENTENCEPIECE)
MAX_VOCABULARY_BYTES: Final = 64 * 2**20
CLASSIFIER: Final = "classifier.weight"
# What is fetched from a hub, with the files that the index names.
FETCHED: Final = (CONFIG, WEIGHTS, WEIGHTS_INDEX, CALIBRATION, *TOKENIZER_FILES)


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint as they are: what config.json says, and the bytes of weights and tokenizer by name."""

    source: str
    config: dict[str, Any]
    weights: dict[str, bytes]
    tokenizer: dict[str, bytes]
    # The bytes that `config` was read from.
    config_json: bytes
    calibration: bytes | None = None
    # Of the store that they were read from, for commands that read them again.
    s3_endpoint: str | None = None

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each file, by name."""
        raw: dict[str, bytes] = {CONFIG: self.config_json, **self.tokenizer, **self.weights}
        if self.calibration is not None:
            raw[CALIBRATION] = self.calibration
        return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(raw.items())}


@dataclass(frozen=True)
class Checkpoint:
    """Everything of a checkpoint that decides labels, verified. Picklable; `digests` are sha256 of the files."""

    source: str
    digests: dict[str, str]
    shape: AlbertShape
    weights: tuple[bytes, ...]
    tokenizer_json: str
    cls_token: str
    sep_token: str
    # The label of each output of the classifier.
    label_order: tuple[NliLabel, ...]
    # What logits are divided by before the softmax.
    temperature: float
    # The same by its own names, which whoever gives an order overrules; None where they mean nothing.
    named_order: tuple[NliLabel, ...] | None

    @property
    def digest(self) -> str:
        """One sha256 for all the files: of `digests` as canonical JSON."""
        canonical = json.dumps(self.digests, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def recipe(self) -> dict[str, Any]:
        """All of it that decides labels, for the names of units."""
        recipe: dict[str, Any] = {"digests": self.digests, "label_map": list(self.label_order)}
        # Only of a checkpoint that has been calibrated, so that units of the others keep their names.
        if CALIBRATION in self.digests:
            recipe["temperature"] = self.temperature
        # Only of a tokenizer that was made of its files: another version may make another one of them.
        if self.digests.get(TOKENIZER_JSON) != hashlib.sha256(self.tokenizer_json.encode()).hexdigest():
            ids = token_ids(read_tokenizer(self.tokenizer_json, self.source), PROBE_TEXTS)
            recipe["tokens"] = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        return recipe

    def tokenizer(
        self,
        *,
        max_length: int | None,
        truncation: Literal["premise", "longest_first"],
        long_premise: Literal["truncate", "window"] = "truncate",
    ) -> PairTokenizer:
        """The tokenizer for pairs of at most `max_length` tokens, the checkpoint's limit if None.

        Raises ModelError for a `max_length` above that limit.
        """
        limit = self.shape.max_position_embeddings
        if max_length is not None and max_length > limit:
            raise ModelError(f"--max-length {max_length}", f"the checkpoint reads at most {limit} tokens", "lower it")
        return PairTokenizer(
            self.tokenizer_json,
            cls_token=self.cls_token,
            sep_token=self.sep_token,
            max_length=max_length or limit,
            truncation=truncation,
            long_premise=long_premise,
        )


def load_checkpoint(
    source: str, *, label_order: Sequence[str] = (), access: S3Access = DEFAULT_ACCESS, digest: str | None = None
) -> Checkpoint:
    """The checkpoint that `source` names: `builtin`, a folder (local or `s3://`), or a hub id `name@revision`.

    `label_order` names the labels of outputs 0, 1, 2, whatever the checkpoint itself calls them; with a `digest` no
    other bytes than those are taken. Raises ModelError.
    """
    checkpoint = verified(checkpoint_files(source, access, label_order), label_order)
    _refuse_other_bytes(checkpoint, digest)
    return checkpoint


def checkpoint_files(
    source: str, access: S3Access = DEFAULT_ACCESS, label_order: Sequence[str] = ()
) -> CheckpointFiles:
    """The files that `source` names, as for `load_checkpoint`, read but not verified.

    Raises ModelError, whose remedy is a command with the `label_order` where a conversion makes files to read.
    """

    def weights(folder: storage.Folder, files: set[str]) -> dict[str, bytes]:
        found = safetensors_in(folder, files, source)
        if not found:
            raise remedies.without_weights(source, files.union(hub_names(source)), label_order, access.endpoint)
        return found

    return files_with(source, access, weights)


def files_with(
    source: str, access: S3Access, weights: Callable[[storage.Folder, set[str]], dict[str, bytes]]
) -> CheckpointFiles:
    """As `checkpoint_files`, with the `weights` that are found for a folder of these files."""
    try:
        folder = checkpoint_folder(source, access)
        all_names = _all_names(folder, source)
        config_json, config = _config(folder, all_names, source)
        files = {name for name in all_names if "/" not in name}
        if files.isdisjoint(VOCABULARIES) and "vocab.txt" in files.union(hub_names(source)):
            raise remedies.with_words_of_a_bert(source)
        found = weights(folder, files)
        tokenizer: dict[str, bytes] = {name: _read(folder, name, source) for name in TOKENIZER_FILES if name in files}
        calibration = _read(folder, CALIBRATION, source) if CALIBRATION in files else None
        return CheckpointFiles(source, config, found, tokenizer, config_json, calibration, access.endpoint)
    except (AccessError, ArchivedError) as error:
        raise ModelError(error.asked, error.found, error.remedy) from error
    except ObjectMissingError as error:
        remedy = "complete the folder: a link in it may lead nowhere"
        raise ModelError(f"model {source}", f"{error.found} ({error.asked})", remedy) from error


def safetensors_in(folder: storage.Folder, files: set[str], source: str) -> dict[str, bytes]:
    """The safetensors among these files of a folder; none where it has none. Raises ModelError for missing parts."""
    if WEIGHTS in files:
        return {WEIGHTS: _read(folder, WEIGHTS, source)}
    if WEIGHTS_INDEX in files:
        index = json_object(WEIGHTS_INDEX, _read(folder, WEIGHTS_INDEX, source), source)
        return {name: _read(folder, name, source) for name in _shards(index, files, source)}
    return {}


def verified(files: CheckpointFiles, label_order: Sequence[str] = ()) -> Checkpoint:
    """The checkpoint that these files are; `label_order` as for `load_checkpoint`. Raises ModelError."""
    source = files.source
    headers = _headers(files.weights, source)
    config = with_outputs(files.config, _outputs(headers, files, label_order), source, given=bool(label_order))
    tokenizer = tokenizer_text(files.tokenizer, files.config, source)
    with remedies.naming(source):
        shape = AlbertShape.from_config(config)
    checkpoint = Checkpoint(
        source=source,
        digests=files.digests,
        shape=shape,
        weights=tuple(files.weights.values()),
        tokenizer_json=tokenizer.json,
        cls_token=tokenizer.cls_token,
        sep_token=tokenizer.sep_token,
        label_order=label_order_of(config, label_order, source),
        temperature=UNCALIBRATED if files.calibration is None else temperature_of(files.calibration, source),
        named_order=named_order(config, source),
    )
    # Before any device is taken or anything is written.
    with remedies.naming(source):
        refuse_unfit_tensors(shape, [headers])
    _refuse_foreign_tokenizer(checkpoint)
    return checkpoint


def checkpoint_folder(source: str, access: S3Access = DEFAULT_ACCESS) -> storage.Folder:
    """Where the files of the checkpoint lie that `source` names. Raises ModelError for a hub id that is not there."""
    if source == "builtin":
        return storage.open_folder(str(resources.files("albert_infer.model") / "builtin" / "checkpoint"))
    if hub_id := hub.hub_id(source):
        return storage.open_folder(hub.downloaded(hub_id, FETCHED, index=WEIGHTS_INDEX))
    return storage.open_folder(source, access)


def hub_names(source: str) -> list[str]:
    """What lies on the hub under this hub id, fetched or not; nothing for other sources."""
    hub_id = None if source == "builtin" else hub.hub_id(source)
    return [] if hub_id is None else list(hub.blobs(hub_id))


def name_anywhere(source: str) -> str:
    """What names the same checkpoint in any folder: a checkpoint's folder becomes its URI, other names stay.

    Touches no network. Raises SettingsError for what is no location, and for credentials in it.
    """
    return source if source == "builtin" or hub.hub_id(source) else storage.open_folder(source).uri


def _all_names(folder: storage.Folder, source: str) -> list[str]:
    """The names of all files, at any depth; none of them is too large to be read."""
    sizes = {pin.name: pin.size for pin in folder.objects()}
    if not sizes and not hub_names(source):
        hint = "give a folder with config.json, or a hub id with its revision, `name@revision`"
        raise ModelError(f"model {source}", "no such folder, or nothing in it", hint)
    _refuse_oversized(sizes, source)
    return list(sizes)


def _config(folder: storage.Folder, names: Sequence[str], source: str) -> tuple[bytes, dict[str, Any]]:
    """config.json as bytes and as an object: of an ALBERT that wants to run no code."""
    if CONFIG not in names:
        # Of a hub none but the top: nothing names a folder below it.
        there = [*names, *(name for name in hub_names(source) if "/" not in name)]
        raise remedies.without_config(source, there, lambda name: _read(folder, name, source))
    config_json = _read(folder, CONFIG, source)
    config = json_object(CONFIG, config_json, source)
    if "auto_map" in config:
        found = "config.json has `auto_map`: it wants to run code of its own"
        raise ModelError(f"model {source}", found, "use a plain AlbertForSequenceClassification checkpoint")
    if config.get("model_type") != "albert":
        raise remedies.of_another_model(source, config.get("model_type"))
    return config_json, config


def _refuse_oversized(sizes: dict[str, int], source: str) -> None:
    """Before any file is read, as it would be into memory; those of weights are as large as they need to be."""
    for name in (CONFIG, CALIBRATION, WEIGHTS_INDEX, *TOKENIZER_FILES):
        most = MAX_VOCABULARY_BYTES if name in VOCABULARIES else MAX_SETTINGS_BYTES
        if sizes.get(name, 0) > most:
            found = f"{name} has {sizes[name]:,} bytes, and at most {most:,} are read"
            raise ModelError(f"model {source}", found, "give a folder saved by save_pretrained")


def _read(folder: storage.Folder, name: str, source: str) -> bytes:
    try:
        return remedies.no_pointer(folder.read(name), name, source)
    except ObjectMissingError as error:
        raise ModelError(f"model {source}", f"{name} is missing", "complete the folder") from error


def _shards(index: dict[str, Any], files: set[str], source: str) -> list[str]:
    weight_map = index.get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    if not names:
        raise ModelError(f"model {source}", f"{WEIGHTS_INDEX} names no files", "save the checkpoint again")
    missing = [name for name in names if name not in files]
    if missing:
        found = f"{WEIGHTS_INDEX} names {missing[0]!r:.100}, and no such file is beside it"
        raise ModelError(f"model {source}", found, "complete the folder")
    return names


def _headers(weights: Mapping[str, bytes], source: str) -> dict[str, TensorHeader]:
    """The tensors of the files by name. Refuses files that are damaged, before any device is taken."""
    headers: dict[str, TensorHeader] = {}
    for name, data in weights.items():
        try:
            headers |= tensor_headers(data)
        except ValueError as error:
            found = f"{name} is not a whole safetensors file ({len(data):,} bytes): {error}"
            remedy = "copy it again, and compare its checksum with the source's"
            raise ModelError(f"model {source}", found, remedy) from error
    return headers


def _outputs(headers: Mapping[str, TensorHeader], files: CheckpointFiles, label_order: Sequence[str]) -> int:
    """How many outputs the classifier has."""
    header = headers.get(CLASSIFIER)
    if wrapper := wrapper_of(headers):
        raise remedies.wrapped(files.source, wrapper, label_order, files.s3_endpoint)
    if headers and not any(name.startswith("classifier.") for name in headers):
        raise remedies.without_classifier(files.source, files.s3_endpoint)
    return header.shape[0] if header is not None and header.shape else 0


def _refuse_other_bytes(checkpoint: Checkpoint, expected: str | None) -> None:
    if expected is not None and checkpoint.digest != expected:
        found = f"the digest of model {checkpoint.source} is {checkpoint.digest}"
        remedy = "find out who changed it, or give this digest if these are the bytes that you mean"
        raise ModelError(f"--model-digest {expected}", found, remedy)


def _refuse_foreign_tokenizer(checkpoint: Checkpoint) -> None:
    try:
        tokenizer = checkpoint.tokenizer(max_length=None, truncation="premise")
        last_id, framed = tokenizer.vocab_size - 1, tokenizer.frames_pairs_as_albert()
    except AlbertInferError:
        raise
    except BaseException as error:
        if not is_error(error):
            raise
        raise ModelError(f"model {checkpoint.source}", "its tokenizer cannot be read", "save it again") from error
    if last_id >= checkpoint.shape.vocab_size:
        found = f"its tokenizer has ids up to {last_id}, its embeddings {checkpoint.shape.vocab_size}"
        raise ModelError(f"model {checkpoint.source}", found, "use the tokenizer it was trained with")
    if not framed:
        found = "its tokenizer does not frame a pair as [CLS] premise [SEP] hypothesis [SEP] with segments 0 and 1"
        raise ModelError(f"model {checkpoint.source}", found, "use the tokenizer it was trained with")
