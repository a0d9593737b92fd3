"""From a checkpoint as it was published to a folder for labelling: safetensors, named outputs, one tokenizer.json.

`weights` finds the weights, and `unpickled` opens a pickle in a process of its own; `card` is the model card.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from albert_infer import __version__, storage
from albert_infer.classify.classification import Classifier, default_batch_tokens
from albert_infer.common import logs
from albert_infer.common.printable import PrintableText, text_of
from albert_infer.config import ConvertSettings
from albert_infer.engine.shape import ARCHITECTURE, DEFAULT_SIZES, AlbertShape
from albert_infer.engine.tensors import encoder_names, refuse_other_encoder, tensor_headers
from albert_infer.errors import ModelError
from albert_infer.model.calibration import CALIBRATION
from albert_infer.model.checkpoint import Checkpoint, verified
from albert_infer.model.checkpoint_files import CheckpointFiles, files_with
from albert_infer.model.known_files import (
    CONFIG,
    SENTENCEPIECE,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    WEIGHTS_INDEX,
    json_object,
)
from albert_infer.model.remedies import endpoint_flag, naming
from albert_infer.model.tokenizer_files import SPLIT_SPECIAL_TOKENS, TokenizerText, tokenizer_text
from albert_infer.model.tokenizer_probes import PROBE_TEXTS, read_tokenizer
from albert_infer.operations.conversion.card import model_card
from albert_infer.operations.conversion.weights import WeightFinder
from albert_infer.preflight.label_probe import FITS, Probe, refuse_wrong_order, run_probe
from albert_infer.schema import DeviceKind, NliLabel, Precision
from albert_infer.storage import S3Access

CARD: Final = "README.md"
# What an ALBERT calls them.
SPECIAL_TOKENS: Final = {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "[MASK]"}


@dataclass(frozen=True)
class Converted:
    """What was written, what is `told` of it by heading, and the facts for a program."""

    files: CheckpointFiles
    told: Mapping[str, str]
    facts: Mapping[str, object]

    def to_text(self) -> PrintableText:
        """For a person."""
        return text_of(f"{name:<13}{value}" for name, value in self.told.items())


def convert(settings: ConvertSettings) -> Converted:
    """Write the checkpoint at `settings.model` to `settings.output`, a new folder. Raises AlbertInferError."""
    access = S3Access(settings.s3_endpoint)
    output = storage.open_folder(settings.output, access)
    storage.refuse_filled(output, "--output")
    storage.check_writable(output)
    finder = WeightFinder(settings.model)
    _tell(f"reading {settings.model}")
    given = files_with(settings.model, access, finder)
    is_classifier = any(name.startswith("classifier.") for data in given.weights.values() for name in _tensors(data))
    made = _classifier(given, settings.label_order, output.uri) if is_classifier else _encoder(given, output.uri)
    _tell(f"writing {output.uri}")
    told = {"checkpoint": output.uri, "weights": finder.origin, **made.told}
    card = model_card(settings.model, __version__, told, given.digests)
    storage.put_whole(output, {**_by_name(made.files), CARD: card.encode()}, "--output", last=CONFIG)
    return replace(made, told=told)


def _tell(step: str) -> None:
    logs.tell("converting", f"converting: {step}", {})


def _classifier(given: CheckpointFiles, label_order: Sequence[str], uri: str) -> Converted:
    """A checkpoint that labels. Raises ModelError where it could not."""
    _tell("comparing the tokenizer with the original one")
    checkpoint, by, probe = _ordered(given, label_order)
    names = {str(number): str(label) for number, label in enumerate(checkpoint.label_order)}
    config = {
        **{name: value for name, value in given.config.items() if name != "num_labels"},
        "architectures": [ARCHITECTURE],
        "id2label": names,
        "label2id": {label: int(number) for number, label in names.items()},
    }
    text = TokenizerText(checkpoint.tokenizer_json, checkpoint.cls_token, checkpoint.sep_token)
    files = _files(given, config, text, uri)
    made = verified(files)
    _refuse_other_tokens(made.tokenizer_json, checkpoint.tokenizer_json, given.source)
    use = f"albert-infer label --input PAIRS --output LABELS --model {shlex.quote(uri)}"
    use += f" --model-digest {made.digest}{endpoint_flag(given.s3_endpoint)}"
    told = {
        "tokenizer": _tokenizer_told(given),
        "label order": f"{', '.join(made.label_order)}, {by}",
        "probe": probe.to_text(),
        "digest": made.digest,
        "use it with": use,
    }
    return Converted(files, told, {"digest": made.digest, "label_order": list(made.label_order)})


def _encoder(given: CheckpointFiles, uri: str) -> Converted:
    """A pretrained ALBERT, which has learned no labels: for fine-tuning. Raises ModelError for weights of another."""
    headers = {name: header for data in given.weights.values() for name, header in tensor_headers(data).items()}
    with naming(given.source):
        shape = AlbertShape.from_config({**given.config, "architectures": None, "id2label": None, "num_labels": 3})
    refuse_other_encoder(shape, {name: each.shape for name, each in encoder_names(headers).items()}, given.source)
    _tell("comparing the tokenizer with the original one")
    text = tokenizer_text(given.tokenizer, given.config, given.source)
    files = _files(given, given.config, text, uri)
    _refuse_other_tokens(tokenizer_text(files.tokenizer, files.config, uri).json, text.json, given.source)
    use = f"albert-infer finetune --train PAIRS --eval PAIRS --model {shlex.quote(uri)} --output NEW"
    use += endpoint_flag(given.s3_endpoint)
    told = {"tokenizer": _tokenizer_told(given), "labels": "none: it has no classifier", "use it with": use}
    return Converted(files, told, {"label_order": None})


def _ordered(files: CheckpointFiles, given: Sequence[str]) -> tuple[Checkpoint, str, Probe]:
    """The checkpoint with its label order, whose word that is, and what the pairs beyond doubt say of it.

    Raises ModelError where nobody says it, or where they say otherwise.
    """
    unnamed = verified(files, given or tuple(NliLabel))
    if order := given or unnamed.named_order:
        checkpoint = replace(unnamed, label_order=tuple(map(NliLabel, order)))
        probe = _probed(checkpoint)
        refuse_wrong_order(checkpoint, probe, required=False)
        return checkpoint, "by --label-order" if given else "as config.json calls them", probe
    probe = _probed(unnamed)
    if probe.best_right < FITS:
        asked = f"model {files.source}, whose config.json does not say what its outputs mean"
        raise ModelError(asked, f"{probe.doubt()}: too few to tell", "give --label-order")
    found = Probe(probe.pairs, probe.best_right, probe.best_order, probe.best_right)
    return replace(unnamed, label_order=probe.best_order), "as the label probe found them", found


def _probed(checkpoint: Checkpoint) -> Probe:
    _tell("labelling the pairs of the label probe")
    classifier = Classifier.load(
        checkpoint,
        precision=Precision.FP32,
        device=DeviceKind.CPU,
        max_batch_tokens=default_batch_tokens(DeviceKind.CPU, checkpoint.shape),
    )
    return run_probe(checkpoint, classifier)


def _files(given: CheckpointFiles, config: Mapping[str, object], text: TokenizerText, uri: str) -> CheckpointFiles:
    """The files of the converted checkpoint: its tokenizer is one file, and transformers reads it as it is."""
    said = json_object(TOKENIZER_CONFIG, given.tokenizer.get(TOKENIZER_CONFIG, b"{}"), given.source)
    splits = bool(said.get(SPLIT_SPECIAL_TOKENS))
    tokenizer = read_tokenizer(text.json, given.source)
    # One that is only a word of the vocabulary would become a token of its own by its name.
    known = tokenizer.get_vocab() if splits else {t.content for t in tokenizer.get_added_tokens_decoder().values()}
    settings = {
        # Of all classes the one that makes no tokenizer of its own from the file.
        "tokenizer_class": "PreTrainedTokenizerFast",
        # For those who use it with transformers.
        "model_max_length": config.get("max_position_embeddings", DEFAULT_SIZES["max_position_embeddings"]),
        **{name: token for name, token in SPECIAL_TOKENS.items() if token in known},
        "cls_token": text.cls_token,
        "sep_token": text.sep_token,
        # The one setting that a tokenizer.json has no word for.
        SPLIT_SPECIAL_TOKENS: splits,
    }
    files = {TOKENIZER_JSON: text.json.encode(), TOKENIZER_CONFIG: _json(settings)}
    return CheckpointFiles(uri, config, given.weights, files, _json(config), given.calibration)


def _by_name(files: CheckpointFiles) -> dict[str, bytes]:
    named = {**files.weights, **files.tokenizer, CONFIG: files.config_json}
    if files.calibration is not None:
        named[CALIBRATION] = files.calibration
    if len(files.weights) > 1:
        places = {tensor: name for name, data in files.weights.items() for tensor in _tensors(data)}
        named[WEIGHTS_INDEX] = _json({"metadata": {}, "weight_map": places})
    return named


def _tensors(data: bytes) -> Collection[str]:
    """The names of the tensors in a safetensors file; none in a damaged one, which is refused where it is verified."""
    try:
        return tensor_headers(data)
    except ValueError:
        return ("classifier.",)


def _refuse_other_tokens(made: str, original: str, source: str) -> None:
    if made != original:
        found = "with the names of its special tokens transformers makes another one of its tokenizer.json"
        raise ModelError(f"model {source}", found, "save its tokenizer again, with PreTrainedTokenizerFast")


def _tokenizer_told(given: CheckpointFiles) -> str:
    if TOKENIZER_JSON in given.tokenizer:
        return f"{TOKENIZER_JSON}, with the settings beside it, as transformers has {len(PROBE_TEXTS)} texts"
    return f"of {SENTENCEPIECE}, as sentencepiece has {len(PROBE_TEXTS)} texts"


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
