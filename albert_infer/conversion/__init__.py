"""From a checkpoint as it was published to a folder for labelling: safetensors, named outputs, one tokenizer.json.

`weights` finds the weights, and `unpickled` opens a pickle in a process of its own; `card` is the model card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from albert_infer import __version__, storage
from albert_infer.calibration import CALIBRATION
from albert_infer.classification import Classifier, default_batch_tokens
from albert_infer.config import ConvertSettings
from albert_infer.conversion.card import model_card
from albert_infer.conversion.weights import WeightFinder
from albert_infer.engine.shape import ARCHITECTURE
from albert_infer.engine.tensors import tensor_headers
from albert_infer.errors import ModelError
from albert_infer.model import WEIGHTS_INDEX, Checkpoint, CheckpointFiles, files_with, verified
from albert_infer.preflight.probe import FITS, Probe, measured, refuse_wrong_order
from albert_infer.printable import PrintableText, text_of
from albert_infer.remedies import CONFIG
from albert_infer.schema import DeviceKind, NliLabel, Precision
from albert_infer.storage import S3Access
from albert_infer.tokenizer_files import (
    PROBE_TEXTS,
    SENTENCEPIECE,
    SPLIT_SPECIAL_TOKENS,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    json_object,
)

CARD: Final = "README.md"


@dataclass(frozen=True)
class Converted:
    """A checkpoint that was written, with where its weights came from and how its outputs are known."""

    checkpoint: Checkpoint
    origin: str
    tokenizer: str
    ordered_by: str
    probe: Probe

    def to_text(self) -> PrintableText:
        """For a person: what was made of what, and the command that labels with it."""
        made = self.checkpoint
        use = f"python jobs/label_pairs.py --input PAIRS --output LABELS --model {made.source}"
        return text_of(
            [
                f"checkpoint   {made.source}",
                f"weights      {self.origin}",
                f"tokenizer    {self.tokenizer}",
                f"label order  {', '.join(made.label_order)}, {self.ordered_by}",
                f"probe        {self.probe.to_text()}",
                f"digest       {made.digest}",
                f"use it with  {use} --model-digest {made.digest}",
            ]
        )

    def facts(self) -> dict[str, Any]:
        """For a program."""
        return {"digest": self.checkpoint.digest, "label_order": list(self.checkpoint.label_order)}


def convert(settings: ConvertSettings) -> Converted:
    """Write the checkpoint at `settings.model` to `settings.output`, a new folder. Raises AlbertInferError."""
    access = S3Access(settings.s3_endpoint)
    output = storage.open_folder(settings.output, access)
    storage.refuse_filled(output, "--output")
    storage.check_writable(output)
    finder = WeightFinder(settings.model)
    given = files_with(settings.model, access, finder)
    checkpoint, by, probe = _ordered(given, settings.label_order)
    made = _files(given, checkpoint, output.uri)
    tokenizer = _tokenizer_told(given)
    card = model_card(
        settings.model,
        version=__version__,
        origin=finder.origin,
        tokenizer=tokenizer,
        labels=checkpoint.label_order,
        by=by,
        probe=probe.to_text(),
        digests=given.digests,
    )
    converted = Converted(verified(made), finder.origin, tokenizer, by, probe)
    _refuse_other_tokens(converted.checkpoint, checkpoint)
    files = {**made.weights, **_index(made.weights), **made.tokenizer, CONFIG: made.config_json, CARD: card.encode()}
    if made.calibration is not None:
        files[CALIBRATION] = made.calibration
    storage.put_whole(output, files, "--output", last=CONFIG)
    return converted


def _ordered(files: CheckpointFiles, given: Sequence[str]) -> tuple[Checkpoint, str, Probe]:
    """The checkpoint with its label order, whose word that is, and what the pairs beyond doubt say of it.

    Raises ModelError where nobody says it, or where they say otherwise.
    """
    unnamed = verified(files, given or tuple(NliLabel))
    if given or unnamed.named_order is not None:
        checkpoint = verified(files, given)
        probe = _probed(checkpoint)
        refuse_wrong_order(checkpoint, probe, required=False)
        return checkpoint, "by --label-order" if given else "as config.json calls them", probe
    probe = _probed(unnamed)
    if probe.best_right < FITS:
        asked = f"model {files.source}, whose config.json does not say what its outputs mean"
        raise ModelError(asked, f"{probe.doubt()}: too few to tell", "give --label-order")
    found = Probe(probe.pairs, probe.best_right, probe.best_order, probe.best_right)
    return verified(files, probe.best_order), "as the label probe found them", found


def _probed(checkpoint: Checkpoint) -> Probe:
    classifier = Classifier.load(
        checkpoint,
        precision=Precision.FP32,
        device=DeviceKind.CPU,
        max_batch_tokens=default_batch_tokens(DeviceKind.CPU, checkpoint.shape),
    )
    return measured(checkpoint, classifier)


def _files(given: CheckpointFiles, checkpoint: Checkpoint, uri: str) -> CheckpointFiles:
    """The files of the converted checkpoint: outputs with names, a tokenizer of one file that transformers reads so."""
    names = {str(number): str(label) for number, label in enumerate(checkpoint.label_order)}
    config = {
        **{name: value for name, value in given.config.items() if name != "num_labels"},
        "architectures": [ARCHITECTURE],
        "id2label": names,
        "label2id": {label: int(number) for number, label in names.items()},
    }
    settings = {
        # Of all classes the one that makes no tokenizer of its own from the file.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "cls_token": checkpoint.cls_token,
        "sep_token": checkpoint.sep_token,
        "model_max_length": checkpoint.shape.max_position_embeddings,
        # The one setting that a tokenizer.json has no word for.
        SPLIT_SPECIAL_TOKENS: bool(_settings(given).get(SPLIT_SPECIAL_TOKENS)),
    }
    tokenizer = {TOKENIZER_JSON: checkpoint.tokenizer_json.encode(), TOKENIZER_CONFIG: _json(settings)}
    return CheckpointFiles(uri, config, given.weights, tokenizer, _json(config), given.calibration)


def _settings(files: CheckpointFiles) -> dict[str, Any]:
    return json_object(TOKENIZER_CONFIG, files.tokenizer.get(TOKENIZER_CONFIG, b"{}"), files.source)


def _refuse_other_tokens(made: Checkpoint, original: Checkpoint) -> None:
    if made.tokenizer_json != original.tokenizer_json:
        found = "with the names of its special tokens transformers makes another one of its tokenizer.json"
        raise ModelError(f"model {original.source}", found, "save its tokenizer again, with PreTrainedTokenizerFast")


def _tokenizer_told(given: CheckpointFiles) -> str:
    if TOKENIZER_JSON in given.tokenizer:
        return f"{TOKENIZER_JSON}, with the settings beside it, as transformers has {len(PROBE_TEXTS)} texts"
    return f"of {SENTENCEPIECE}, as sentencepiece has {len(PROBE_TEXTS)} texts"


def _index(weights: dict[str, bytes]) -> dict[str, bytes]:
    """The index of weights in several files."""
    if len(weights) == 1:
        return {}
    places = {tensor: name for name, data in weights.items() for tensor in tensor_headers(data)}
    return {WEIGHTS_INDEX: _json({"metadata": {}, "weight_map": places})}


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
