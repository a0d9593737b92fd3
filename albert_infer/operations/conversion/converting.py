"""Converts a published checkpoint to a folder for labelling: safetensors, named outputs, one tokenizer.json."""

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
from albert_infer.common.tables import fact_lines
from albert_infer.config import ConvertSettings
from albert_infer.engine.shape import ARCHITECTURE, DEFAULT_SIZES, AlbertShape
from albert_infer.engine.tensors import encoder_names, refuse_other_encoder, tensor_headers
from albert_infer.errors import ModelError
from albert_infer.model.calibration import CALIBRATION
from albert_infer.model.checkpoint import Checkpoint, outputs_of, verified
from albert_infer.model.checkpoint_files import CheckpointFiles, files_with
from albert_infer.model.known_files import (
    CONFIG,
    SENTENCEPIECE,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    WEIGHTS_INDEX,
    json_object,
)
from albert_infer.model.label_order import ordered
from albert_infer.model.remedies import endpoint_flag, naming
from albert_infer.model.tokenizer_files import SPLIT_SPECIAL_TOKENS, TokenizerText, tokenizer_text
from albert_infer.model.tokenizer_probes import PROBE_TEXTS, read_tokenizer
from albert_infer.operations.conversion.card import model_card
from albert_infer.operations.conversion.weights import WeightFinder
from albert_infer.operations.demo_text import command_lines
from albert_infer.preflight.label_probe import FITS, Probe, refuse_wrong_order, run_probe
from albert_infer.schema import LABEL_SETS, THREE_LABELS, DeviceKind, Precision
from albert_infer.storage import S3Access

CARD: Final = "README.md"
USE: Final = "use it with"
# ALBERT's names of special tokens.
SPECIAL_TOKENS: Final = {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "[MASK]"}


@dataclass(frozen=True)
class Converted:
    """The written files, the `summary` for a person by heading, the `command` that uses them, facts for a program."""

    files: CheckpointFiles
    summary: Mapping[str, str]
    command: Sequence[str]
    facts: Mapping[str, object]

    def to_text(self, *, width: int | None = None) -> PrintableText:
        """The summary for a person; it fits a terminal of `width` columns."""
        lines = fact_lines(self.summary, width=width)
        command = command_lines(self.command, width=width)
        if len(command) == 1 and (width is None or len(command[0]) + len(USE) + 2 <= width):
            return text_of([*lines, *fact_lines({USE: command[0]})])
        return text_of([*lines, *fact_lines({USE: "the command below"}), *command])


def convert(settings: ConvertSettings) -> Converted:
    """Convert the checkpoint at `settings.model` to the new folder `settings.output`. Raises AlbertInferError."""
    access = S3Access(settings.s3_endpoint)
    output = storage.open_folder(settings.output, access)
    storage.refuse_filled(output, "--output")
    storage.check_writable(output)
    finder = WeightFinder(settings.model)
    _log_step(f"reading {settings.model}")
    source = files_with(settings.model, access, finder)
    is_classifier = any(name.startswith("classifier.") for data in source.weights.values() for name in _tensors(data))
    made = _classifier(source, settings.label_order, output.uri) if is_classifier else _encoder(source, output.uri)
    _log_step(f"writing {output.uri}")
    summary = {"checkpoint": output.uri, "weights": finder.origin, **made.summary}
    card = model_card(settings.model, __version__, {**summary, USE: shlex.join(made.command)}, source.digests)
    storage.put_whole(output, {**_by_name(made.files), CARD: card.encode()}, "--output", last=CONFIG)
    return replace(made, summary=summary)


def _log_step(step: str) -> None:
    logs.log("converting", f"converting: {step}", {})


def _classifier(source: CheckpointFiles, label_order: Sequence[str], uri: str) -> Converted:
    """Convert a checkpoint with a classifier. Raises ModelError if it cannot label."""
    _log_step("comparing the tokenizer with the original one")
    checkpoint, by, probe = _ordered(source, label_order)
    names = {str(number): str(label) for number, label in enumerate(checkpoint.label_order)}
    config = {
        **{name: value for name, value in source.config.items() if name != "num_labels"},
        "architectures": [ARCHITECTURE],
        "id2label": names,
        "label2id": {label: int(number) for number, label in names.items()},
    }
    text = TokenizerText(checkpoint.tokenizer_json, checkpoint.cls_token, checkpoint.sep_token)
    files = _files(source, config, text, uri)
    made = verified(files)
    _refuse_other_tokens(made.tokenizer_json, checkpoint.tokenizer_json, source.source)
    use = ["albert-infer", "label", "--input", "PAIRS", "--output", "LABELS", "--model", uri]
    use += ["--model-digest", made.digest, *shlex.split(endpoint_flag(source.s3_endpoint))]
    summary = {
        "tokenizer": _tokenizer_check(source),
        "label order": f"{', '.join(made.label_order)}, {by}",
        "probe": probe.to_text(),
        "digest": made.digest,
    }
    return Converted(files, summary, use, {"digest": made.digest, "label_order": list(made.label_order)})


def _encoder(source: CheckpointFiles, uri: str) -> Converted:
    """Convert a pretrained ALBERT without a classifier, for fine-tuning. Raises ModelError for other weights."""
    headers = {name: header for data in source.weights.values() for name, header in tensor_headers(data).items()}
    with naming(source.source):
        shape = AlbertShape.from_config({**source.config, "architectures": None, "id2label": None, "num_labels": 3})
    refuse_other_encoder(shape, {name: each.shape for name, each in encoder_names(headers).items()}, source.source)
    _log_step("comparing the tokenizer with the original one")
    text = tokenizer_text(source.tokenizer, source.config, source.source)
    files = _files(source, source.config, text, uri)
    _refuse_other_tokens(tokenizer_text(files.tokenizer, files.config, uri).json, text.json, source.source)
    use = ["albert-infer", "finetune", "--train", "PAIRS", "--eval", "PAIRS", "--model", uri, "--output", "NEW"]
    use += shlex.split(endpoint_flag(source.s3_endpoint))
    summary = {"tokenizer": _tokenizer_check(source), "labels": "none: it has no classifier"}
    return Converted(files, summary, use, {"label_order": None})


def _ordered(files: CheckpointFiles, label_order: Sequence[str]) -> tuple[Checkpoint, str, Probe]:
    """The checkpoint with its label order, the source of the order in words, and the result of the label probe.

    Raises ModelError if the order is unknown, or if the probe contradicts it.
    """
    unnamed = verified(files, label_order or LABEL_SETS.get(outputs_of(files), THREE_LABELS))
    if order := label_order or unnamed.named_order:
        checkpoint = replace(unnamed, label_order=ordered(order, unnamed.labels))
        probe = _probed(checkpoint)
        refuse_wrong_order(checkpoint, probe, required=False)
        return checkpoint, "by --label-order" if label_order else "as config.json names them", probe
    probe = _probed(unnamed)
    if probe.best_right < FITS:
        asked = f"model {files.source}, whose config.json does not name its outputs"
        raise ModelError(asked, f"{probe.doubt()}: too few to decide", "give --label-order")
    best = Probe(probe.pairs, probe.best_right, probe.best_order, probe.best_right)
    return replace(unnamed, label_order=probe.best_order), "as the label probe found them", best


def _probed(checkpoint: Checkpoint) -> Probe:
    _log_step("labelling the pairs of the label probe")
    classifier = Classifier.load(
        checkpoint,
        precision=Precision.FP32,
        device=DeviceKind.CPU,
        max_batch_tokens=default_batch_tokens(DeviceKind.CPU, checkpoint.shape),
    )
    return run_probe(checkpoint, classifier)


def _files(source: CheckpointFiles, config: Mapping[str, object], text: TokenizerText, uri: str) -> CheckpointFiles:
    """The files of the converted checkpoint; transformers reads the one tokenizer file without changes."""
    original = json_object(TOKENIZER_CONFIG, source.tokenizer.get(TOKENIZER_CONFIG, b"{}"), source.source)
    splits = bool(original.get(SPLIT_SPECIAL_TOKENS))
    tokenizer = read_tokenizer(text.json, source.source)
    # transformers makes a named token special, so names of ordinary vocabulary words are left out.
    known = tokenizer.get_vocab() if splits else {t.content for t in tokenizer.get_added_tokens_decoder().values()}
    settings = {
        # The only class that uses the file unchanged.
        "tokenizer_class": "PreTrainedTokenizerFast",
        # For users of transformers.
        "model_max_length": config.get("max_position_embeddings", DEFAULT_SIZES["max_position_embeddings"]),
        **{name: token for name, token in SPECIAL_TOKENS.items() if token in known},
        "cls_token": text.cls_token,
        "sep_token": text.sep_token,
        # A tokenizer.json cannot express this setting.
        SPLIT_SPECIAL_TOKENS: splits,
    }
    files = {TOKENIZER_JSON: text.json.encode(), TOKENIZER_CONFIG: _json(settings)}
    return CheckpointFiles(uri, config, source.weights, files, _json(config), source.calibration)


def _by_name(files: CheckpointFiles) -> dict[str, bytes]:
    named = {**files.weights, **files.tokenizer, CONFIG: files.config_json}
    if files.calibration is not None:
        named[CALIBRATION] = files.calibration
    if len(files.weights) > 1:
        file_of = {tensor: name for name, data in files.weights.items() for tensor in _tensors(data)}
        named[WEIGHTS_INDEX] = _json({"metadata": {}, "weight_map": file_of})
    return named


def _tensors(data: bytes) -> Collection[str]:
    """The names of the tensors in a safetensors file. A damaged file is refused later, by the verification."""
    try:
        return tensor_headers(data)
    except ValueError:
        return ("classifier.",)


def _refuse_other_tokens(made: str, original: str, source: str) -> None:
    if made != original:
        problem = "transformers changes its tokenizer.json because of the names of its special tokens"
        raise ModelError(f"model {source}", problem, "save its tokenizer again, with PreTrainedTokenizerFast")


def _tokenizer_check(source: CheckpointFiles) -> str:
    if TOKENIZER_JSON in source.tokenizer:
        return f"{TOKENIZER_JSON} with its settings; {len(PROBE_TEXTS)} texts tokenized as by transformers"
    return f"from {SENTENCEPIECE}; {len(PROBE_TEXTS)} texts tokenized as by sentencepiece"


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
