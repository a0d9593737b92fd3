"""What a run may start from, and that what it writes is what it trained."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoints import change_weights
from training_models import all_of, same_weights, save_model, tiny_student, tiny_teacher, training_pairs
from transformers import AlbertForMaskedLM, AlbertForSequenceClassification

from albert_infer.errors import ModelError
from albert_infer.learning.training import losses
from albert_infer.learning.training.batches import padded_batch
from albert_infer.learning.training.start import StartingModel, files_of, starting_model, teacher_model
from albert_infer.model import checkpoint as model
from albert_infer.model.calibration import calibration_json
from albert_infer.model.checkpoint_files import CheckpointFiles, checkpoint_files
from albert_infer.schema import NliLabel

pytestmark = pytest.mark.usefixtures("one_thread")


def started(folder: Path, *label_order: str, seed: int = 0) -> StartingModel:
    return starting_model(checkpoint_files(str(folder)), dropout=0.0, seed=seed, label_order=label_order)


def renamed_outputs(folder: Path, names: list[str]) -> None:
    """Say that outputs 0, 1, 2 mean these labels; a classifier with that order moves its rows along."""
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(place): name for place, name in enumerate(names)}
    config["label2id"] = {name: place for place, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))


def logits(trained: AlbertForSequenceClassification) -> torch.Tensor:
    pairs = training_pairs()
    trained.train(mode=False)
    with torch.no_grad():
        return losses.outputs(trained, padded_batch(pairs, all_of(pairs), torch.device("cpu"))).logits_BC


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_outputs_are_in_our_order_whatever_order_the_classifier_has(tmp_path: Path, order: tuple[int, ...]) -> None:
    teacher = tiny_teacher()
    expected = logits(teacher)
    with torch.no_grad():
        for name in ("classifier.weight", "classifier.bias"):
            teacher.get_parameter(name).copy_(teacher.get_parameter(name)[list(order)])
    save_model(teacher, tmp_path)
    renamed_outputs(tmp_path, [str(list(NliLabel)[place]) for place in order])
    found = started(tmp_path)
    torch.testing.assert_close(logits(found.model), expected)
    assert not found.new_classifier
    assert found.model.config.id2label == {place: str(label) for place, label in enumerate(NliLabel)}


def test_a_classifier_without_names_needs_a_label_order(tmp_path: Path) -> None:
    save_model(tiny_teacher(), tmp_path)
    renamed_outputs(tmp_path, ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ModelError, match="--label-order"):
        started(tmp_path)
    assert not started(tmp_path, "contradiction", "entailment", "neutral").new_classifier


def test_two_names_for_three_outputs_and_the_positions_of_older_checkpoints_are_no_hindrance(tmp_path: Path) -> None:
    teacher = tiny_teacher()
    expected = logits(teacher)
    save_model(teacher, tmp_path)
    renamed_outputs(tmp_path, ["no", "yes"])
    change_weights(tmp_path, lambda held: held.update({"albert.embeddings.position_ids": torch.arange(512)[None]}))
    torch.testing.assert_close(logits(started(tmp_path, *map(str, NliLabel)).model), expected)


def test_a_teacher_teaches_its_calibrated_answers(tmp_path: Path) -> None:
    teacher = tiny_teacher()
    expected = logits(teacher)
    save_model(teacher, tmp_path)
    torch.testing.assert_close(logits(teacher_model(checkpoint_files(str(tmp_path)))), expected)
    (tmp_path / "calibration.json").write_bytes(calibration_json(1.6, {}))
    torch.testing.assert_close(logits(teacher_model(checkpoint_files(str(tmp_path)))), expected / 1.6)


def test_a_pretrained_albert_gets_a_new_classifier_that_follows_from_the_seed(tmp_path: Path) -> None:
    pretrained = AlbertForMaskedLM(tiny_student().config)
    pretrained.save_pretrained(tmp_path)
    first, again, other = (started(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.new_classifier
    assert same_weights(first.model, again.model)
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    assert torch.equal(first.model.get_parameter(layer), pretrained.get_parameter(layer))


def test_a_classifier_of_two_labels_is_replaced(tmp_path: Path) -> None:
    config = tiny_student().config
    config.id2label = {0: "no", 1: "yes"}
    AlbertForSequenceClassification(config).save_pretrained(tmp_path)
    found = started(tmp_path)
    assert found.new_classifier
    assert found.model.classifier.weight.shape[0] == len(NliLabel)


def test_an_encoder_that_was_saved_alone_is_found(tmp_path: Path) -> None:
    student = tiny_student()
    student.albert.save_pretrained(tmp_path)
    found = started(tmp_path).model
    assert same_weights(found.albert, student.albert)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_model(tiny_student(), tmp_path)
    change_weights(tmp_path, lambda tensors: tensors.update({"gpt.wte": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"not an ALBERT's: \['gpt.wte'\]"):
        started(tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_model(tiny_student(), tmp_path)
    change_weights(tmp_path, lambda tensors: tensors.update({"albert.pooler.weight": torch.zeros(2, 2)}))
    with pytest.raises(ModelError, match="size mismatch"):
        started(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 65_536, "intermediate_size": 262_144},
        {"num_hidden_layers": 4096, "num_hidden_groups": 4096},
        {"num_hidden_layers": 10**12},
        {"num_hidden_groups": 10**12},
        {"vocab_size": 10**12},
        {"hidden_size": "16"},
        {"hidden_act": "none such"},
        {"initializer_range": "wide"},
        {"pad_token_id": 10**12},
        {"id2label": [1, 2]},
    ],
    ids=str,
)
def test_a_config_that_its_weights_do_not_bear_out_is_refused_before_a_model_is_made(
    tmp_path: Path, config: dict[str, object]
) -> None:
    save_model(tiny_student(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    with pytest.raises(ModelError, match=f"model {tmp_path}|config.json"):
        started(tmp_path)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "quantization_config"])
def test_a_config_asks_for_no_other_code(tmp_path: Path, key: str) -> None:
    student = tiny_student()
    path = save_model(student, tmp_path) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "someone/kernels"}))
    assert same_weights(started(tmp_path).model, student)


@pytest.mark.parametrize(("precision", "exact"), [("fp32", True), ("fp16", False)])
def test_written_files_are_a_checkpoint_that_says_what_the_model_says(
    tmp_path: Path, precision: str, exact: bool
) -> None:
    student = tiny_student()
    files = files_of(student, "student", tokenizer_of(save_model(student, tmp_path / "start")), precision)  # type: ignore[arg-type]
    written = tmp_path / "written"
    written.mkdir()
    for name, data in {**files.weights, **files.tokenizer, "config.json": files.config_json}.items():
        (written / name).write_bytes(data)
    assert model.load_checkpoint(str(written)).label_order == tuple(NliLabel)
    read = AlbertForSequenceClassification.from_pretrained(written, dtype=torch.float32)
    torch.testing.assert_close(logits(read), logits(student), atol=0 if exact else 1e-2, rtol=0)
    stored = safetensors.torch.load(files.weights["model.safetensors"])
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32 if exact else torch.float16}
    assert same_weights(student, tiny_student())


def tokenizer_of(folder: Path) -> dict[str, bytes]:
    files: CheckpointFiles = checkpoint_files(str(folder))
    return files.tokenizer


def test_logits_differ_between_pairs() -> None:
    found = logits(tiny_teacher())
    assert float(np.ptp(found.numpy(), axis=0).min()) > 0.01
