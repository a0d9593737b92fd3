"""Turns the files of a checkpoint into a model to train, and a trained model into files.

The model's outputs have the order of `NliLabel`, for any label order of the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import safetensors.torch
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification

from albert_infer.common.printable import REASON_LETTERS, one_line
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.tensors import HEADS, encoder_names, refuse_other_encoder, tensor_headers
from albert_infer.errors import ModelError
from albert_infer.model.calibration import temperature_of
from albert_infer.model.checkpoint import CLASSIFIER
from albert_infer.model.checkpoint_files import CheckpointFiles
from albert_infer.model.known_files import WEIGHTS
from albert_infer.model.label_order import label_order_of, with_outputs
from albert_infer.model.remedies import naming
from albert_infer.schema import TWO_LABELS, LabelSet, NliLabel

LABELS: Mapping[int, str] = dict(enumerate(map(str, NliLabel)))


@dataclass(frozen=True)
class StartingModel:
    """A model in memory, and whether its classifier is new and untrained."""

    model: AlbertForSequenceClassification
    new_classifier: bool


def starting_model(
    files: CheckpointFiles, *, dropout: float, seed: int, label_order: Sequence[str] = ()
) -> StartingModel:
    """The model of an NLI checkpoint, or a pretrained ALBERT with a new classifier, initialised with `seed`.

    Raises ModelError for weights that are not an ALBERT's or do not fit config.json, and for outputs without a known
    label.
    """
    weights = encoder_names(_all_tensors(files))
    _refuse_other_encoders(files, weights)
    if len(label_order) == len(TWO_LABELS):
        problem = f"a training has the three labels {', '.join(NliLabel)}"
        raise ModelError(f"--label-order {','.join(label_order)}", problem, "leave it out: the classifier will be new")
    order = _order(files, label_order) if _has_classifier(weights) else None
    torch.manual_seed(seed)
    model = _new_model(files, dropout)
    if order is not None:
        outputs = [order.index(label) for label in NliLabel]
        weights = {
            name: tensor[outputs] if name.startswith("classifier.") else tensor for name, tensor in weights.items()
        }
    else:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}
    _load(model, weights, files.source)
    return StartingModel(model, order is None)


def _order(files: CheckpointFiles, label_order: Sequence[str]) -> LabelSet:
    config = with_outputs(files.config, len(NliLabel), files.source, given=bool(label_order))
    return label_order_of(config, label_order, files.source)


def teacher_model(files: CheckpointFiles) -> AlbertForSequenceClassification:
    """The model of an NLI checkpoint as a teacher. Its classifier includes the division by the temperature.

    Without the temperature, the student would learn the teacher's overconfidence.
    """
    model = starting_model(files, dropout=0.0, seed=0).model
    if files.calibration is not None:
        temperature = temperature_of(files.calibration, files.source)
        with torch.no_grad():
            for parameter in model.classifier.parameters():
                parameter.div_(temperature)
    return model


def files_of(
    model: AlbertForSequenceClassification,
    source: str,
    tokenizer: Mapping[str, bytes],
    precision: Literal["fp32", "fp16"] = "fp32",
) -> CheckpointFiles:
    """The files of the model: config.json, weights as safetensors, and the unchanged files of the tokenizer."""
    stored: Any = deepcopy(model)
    stored = stored.half() if precision == "fp16" else stored.float()
    stored.config.architectures = [type(model).__name__]
    stored.config.dtype = stored.dtype
    config = json.loads(stored.config.to_json_string(use_diff=False))
    config_json = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    tensors = {name: tensor.contiguous() for name, tensor in stored.state_dict().items()}
    weights = {WEIGHTS: safetensors.torch.save(tensors, metadata={"format": "pt"})}
    return CheckpointFiles(source, config, weights, dict(tokenizer), config_json)


def _refuse_other_encoders(files: CheckpointFiles, weights: Mapping[str, torch.Tensor]) -> None:
    """Check sizes before the model is created: config.json may ask for more than the memory."""
    with naming(files.source):
        shape = AlbertShape.from_config({**files.config, "architectures": None, "id2label": LABELS})
    refuse_other_encoder(shape, {name: tuple(tensor.shape) for name, tensor in weights.items()}, files.source)


def _new_model(files: CheckpointFiles, dropout: float) -> AlbertForSequenceClassification:
    # Only the ALBERT keys of config.json. Other keys could load custom code, or another attention.
    known = {name: files.config[name] for name in AlbertConfig.__annotations__ if name in files.config}
    try:
        return AlbertForSequenceClassification(AlbertConfig.from_dict({**known, **_head_settings(dropout)}))
    except Exception as error:  # many types, depending on the wrong value
        problem = f"transformers refuses its config.json ({type(error).__name__}): {one_line(error)[:REASON_LETTERS]}"
        raise ModelError(f"model {files.source}", problem, "save the checkpoint again") from error


def _head_settings(dropout: float) -> dict[str, object]:
    return {
        "id2label": dict(LABELS),
        "label2id": {name: code for code, name in LABELS.items()},
        "hidden_dropout_prob": dropout,
        "classifier_dropout_prob": dropout,
        # Dropping attention weights takes torch off its fast attention on CPUs, and a few epochs hardly overfit.
        "attention_probs_dropout_prob": 0.0,
    }


def _all_tensors(files: CheckpointFiles) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    try:
        for data in files.weights.values():
            tensor_headers(data)
            tensors |= safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError) as error:
        problem = f"its weights are not a complete safetensors file ({type(error).__name__})"
        raise ModelError(f"model {files.source}", problem, "copy it again") from error
    return tensors


def _has_classifier(weights: Mapping[str, torch.Tensor]) -> bool:
    return CLASSIFIER in weights and len(weights[CLASSIFIER]) == len(NliLabel)


def _load(model: AlbertForSequenceClassification, weights: dict[str, torch.Tensor], source: str) -> None:
    try:
        missing, foreign = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # sizes differ from config.json
        problem = one_line(error)[:REASON_LETTERS]
        raise ModelError(f"model {source}", problem, "give weights that fit its config.json") from error
    missing = [name for name in missing if not name.startswith(HEADS)]
    if missing or foreign:
        problem = f"weights missing: {missing[:3] or 'none'}, not an ALBERT's: {foreign[:3] or 'none'}"
        raise ModelError(f"model {source}", problem, "give a checkpoint of an ALBERT")
