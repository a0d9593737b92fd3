"""A checkpoint, loaded and verified: its files' digests, its tokenizer, its weights, its temperature.

The driver loads; the cluster gets a `Checkpoint`, which is bytes and strings. Nothing of a checkpoint is ever executed
or unpickled. Knows nothing of pairs or devices.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from albert_infer import hub, storage
from albert_infer.calibration import CALIBRATION, UNCALIBRATED, temperature_of
from albert_infer.engine import AlbertShape
from albert_infer.engine.tensors import refuse_unfit_tensors, tensor_headers
from albert_infer.errors import AlbertInferError, ModelError, ObjectMissingError
from albert_infer.json_input import parsed_json
from albert_infer.label_order import label_order_of, named_order
from albert_infer.schema import NliLabel
from albert_infer.storage import DEFAULT_ACCESS, AccessError, ArchivedError, S3Access
from albert_infer.tokenization import PairTokenizer, is_error

CONFIG: Final = "config.json"
TOKENIZER_JSON: Final[str] = "tokenizer.json"
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
# What may decide a token id; whichever of them are there belong to the checkpoint's digests.
TOKENIZER_FILES: Final[tuple[str, ...]] = (
    TOKENIZER_JSON,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
)
# Vocabularies: the largest in use, of a quarter of a million words in JSON, has 33 MB.
VOCABULARIES: Final = (TOKENIZER_JSON, "spiece.model")
MAX_VOCABULARY_BYTES: Final = 64 * 2**20
# Every other file but weights: a tokenizer_config.json with 6,000 added tokens has 1.2 MB, all others less.
MAX_SETTINGS_BYTES: Final = 2 * 2**20
PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
# What an operator runs on a checkpoint of pickles: transformers unpickles it, and saves safetensors and tokenizer.
CONVERSION: Final = (
    "python -c \"from transformers import *; AutoTokenizer.from_pretrained('IN').save_pretrained('OUT'); "
    "AutoModelForSequenceClassification.from_pretrained('IN').save_pretrained('OUT')\""
)


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
    checkpoint = verified(checkpoint_files(source, access), label_order)
    _refuse_other_bytes(checkpoint, digest)
    return checkpoint


def checkpoint_files(source: str, access: S3Access = DEFAULT_ACCESS) -> CheckpointFiles:
    """The files that `source` names, as for `load_checkpoint`, read but not verified. Raises ModelError."""
    try:
        folder = checkpoint_folder(source, access)
        sizes = {name: size for name, size in _sizes(folder, source).items() if "/" not in name}
        _refuse_oversized(sizes, source)
        files = set(sizes)
        config_json = _required(folder, CONFIG, files, source)
        config = _json_object(CONFIG, config_json, source)
        _refuse_code(config, source)
        weights: dict[str, bytes] = {name: _read(folder, name, source) for name in _weight_files(folder, files, source)}
        tokenizer: dict[str, bytes] = {name: _read(folder, name, source) for name in TOKENIZER_FILES if name in files}
        calibration = _read(folder, CALIBRATION, source) if CALIBRATION in files else None
        return CheckpointFiles(source, config, weights, tokenizer, config_json, calibration)
    except (AccessError, ArchivedError) as error:
        raise ModelError(error.asked, error.found, error.remedy) from error


def verified(files: CheckpointFiles, label_order: Sequence[str] = ()) -> Checkpoint:
    """The checkpoint that these files are; `label_order` as for `load_checkpoint`. Raises ModelError."""
    source = files.source
    tokenizer_json, cls_token, sep_token = _tokenizer(files.tokenizer, source)
    shape = AlbertShape.from_config(files.config)
    checkpoint = Checkpoint(
        source=source,
        digests=files.digests,
        shape=shape,
        weights=tuple(files.weights.values()),
        tokenizer_json=tokenizer_json,
        cls_token=cls_token,
        sep_token=sep_token,
        label_order=label_order_of(files.config, label_order, source),
        temperature=UNCALIBRATED if files.calibration is None else temperature_of(files.calibration, source),
        named_order=named_order(files.config, source),
    )
    _refuse_unfit_weights(shape, files.weights, source)
    _refuse_foreign_tokenizer(checkpoint)
    return checkpoint


def checkpoint_folder(source: str, access: S3Access = DEFAULT_ACCESS) -> storage.Folder:
    """Where the files of the checkpoint lie that `source` names. Raises ModelError for a hub id that is not there."""
    if source == "builtin":
        return storage.open_folder(str(resources.files("albert_infer") / "builtin" / "checkpoint"))
    if hub_id := hub.hub_id(source):
        patterns = [CONFIG, WEIGHTS, WEIGHTS_INDEX, "model-*.safetensors", CALIBRATION, *TOKENIZER_FILES]
        return storage.open_folder(hub.downloaded(hub_id, patterns))
    return storage.open_folder(source, access)


def name_anywhere(source: str) -> str:
    """What names the same checkpoint in any folder: a checkpoint's folder becomes its URI, other names stay.

    Touches no network. Raises SettingsError for what is no location, and for credentials in it.
    """
    return source if source == "builtin" or hub.hub_id(source) else storage.open_folder(source).uri


def _sizes(folder: storage.Folder, source: str) -> dict[str, int]:
    """The bytes of each file, by name."""
    sizes = {pin.name: pin.size for pin in folder.objects()}
    if not sizes:
        hint = "give a folder with config.json, or a hub id with its revision, `name@revision`"
        raise ModelError(f"model {source}", "no such folder, or nothing in it", hint)
    return sizes


def _refuse_oversized(sizes: dict[str, int], source: str) -> None:
    """Before any file is read, as it would be into memory; those of weights are as large as they need to be."""
    for name in (CONFIG, CALIBRATION, WEIGHTS_INDEX, *TOKENIZER_FILES):
        most = MAX_VOCABULARY_BYTES if name in VOCABULARIES else MAX_SETTINGS_BYTES
        if sizes.get(name, 0) > most:
            found = f"{name} has {sizes[name]:,} bytes, and at most {most:,} are read"
            raise ModelError(f"model {source}", found, "give a folder saved by save_pretrained")


def _read(folder: storage.Folder, name: str, source: str) -> bytes:
    try:
        return folder.read(name)
    except ObjectMissingError as error:
        raise ModelError(f"model {source}", f"{name} is missing", "complete the folder") from error


def _required(folder: storage.Folder, name: str, files: set[str], source: str) -> bytes:
    if name not in files:
        raise ModelError(f"model {source}", f"{name} is missing", "give a folder saved by save_pretrained")
    return _read(folder, name, source)


def _json_object(name: str, data: bytes, source: str) -> dict[str, Any]:
    try:
        parsed = parsed_json(data, max_bytes=MAX_SETTINGS_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{name} cannot be read: {error}", "save the checkpoint again") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"model {source}", f"{name} is not a JSON object", "save the checkpoint again")
    return parsed


def _refuse_code(config: dict[str, Any], source: str) -> None:
    if "auto_map" in config:
        found = "config.json has `auto_map`: it wants to run code of its own"
        raise ModelError(f"model {source}", found, "use a plain AlbertForSequenceClassification checkpoint")


def _weight_files(folder: storage.Folder, files: set[str], source: str) -> list[str]:
    if WEIGHTS in files:
        return [WEIGHTS]
    if WEIGHTS_INDEX in files:
        return _shards(_json_object(WEIGHTS_INDEX, _read(folder, WEIGHTS_INDEX, source), source), files, source)
    if any(name.endswith(PICKLES) for name in files):
        found = "it has pickled weights only, and those are never opened"
        remedy = f"where you trust it, convert it: {CONVERSION}"
        raise ModelError(f"model {source}", found, remedy)
    raise ModelError(f"model {source}", f"{WEIGHTS} is missing", "give a folder saved by save_pretrained")


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


def _tokenizer(files: dict[str, bytes], source: str) -> tuple[str, str, str]:
    """The tokenizer as one JSON text, with its [CLS] and [SEP]; older checkpoints have a sentencepiece model."""
    settings = _json_object("tokenizer_config.json", files.get("tokenizer_config.json", b"{}"), source)
    if TOKENIZER_JSON in files:
        # Parsed by `tokenizers` alone: within limits of its own, and faster than Python.
        try:
            tokenizer_json = files[TOKENIZER_JSON].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"model {source}", f"{TOKENIZER_JSON} is not UTF-8", "save it again") from error
    elif "spiece.model" in files:
        tokenizer_json = _converted(files, source)
    else:
        raise ModelError(f"model {source}", "no tokenizer.json and no spiece.model", "save its tokenizer beside it")
    return (
        tokenizer_json,
        _token(settings, "cls_token", "[CLS]", source),
        _token(settings, "sep_token", "[SEP]", source),
    )


def _converted(files: dict[str, bytes], source: str) -> str:
    """`spiece.model` as the tokenizer.json that transformers makes of it."""
    # Imported here: it takes seconds, and a checkpoint with a tokenizer.json does not need it.
    from transformers import AlbertTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            return str(AlbertTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer.to_str())
        except Exception as error:  # a dozen kinds; without `sentencepiece` it asks for another package
            found = f"spiece.model cannot be converted ({type(error).__name__})"
            remedy = "install the package sentencepiece, or save the tokenizer as tokenizer.json"
            raise ModelError(f"model {source}", found, remedy) from error


def _token(settings: dict[str, Any], key: str, default: str, source: str) -> str:
    token = settings.get(key) or default
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        found = f"tokenizer_config.json {key} is {settings[key]!r:.100}"
        raise ModelError(f"model {source}", found, "save its tokenizer again")
    return token


def _refuse_unfit_weights(shape: AlbertShape, weights: dict[str, bytes], source: str) -> None:
    """Refuse weights that are damaged or do not fit config.json, before any device is taken or anything is written."""
    headers = []
    for name, data in weights.items():
        try:
            headers.append(tensor_headers(data))
        except ValueError as error:
            found = f"{name} is not a whole safetensors file ({len(data):,} bytes): {error}"
            remedy = "copy it again, and compare its checksum with the source's"
            raise ModelError(f"model {source}", found, remedy) from error
    try:
        refuse_unfit_tensors(shape, headers)
    except ModelError as error:
        raise ModelError(f"model {source} with {error.asked}", error.found, error.remedy) from error


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
