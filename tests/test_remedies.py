"""A folder that is no checkpoint for labelling is refused with the one thing to do instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from test_model import refusal, saved

from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import verified
from albert_infer.model.checkpoint_files import checkpoint_files
from albert_infer.model.known_files import WEIGHTS
from albert_infer.storage import S3Access


def without_weights(folder: Path, *names: str) -> Path:
    saved(folder)
    (folder / WEIGHTS).unlink()
    for name in names:
        (folder / name).write_bytes(b"never opened")
    return folder


def test_pickled_weights_are_refused_with_the_command_that_converts_them_filled_in(tmp_path: Path) -> None:
    folder = without_weights(tmp_path / "my nli", "pytorch_model.bin", "training_args.bin", "optimizer.pt")
    command = f"albert-infer convert --model '{folder}' --output 'my nli-safetensors'"
    told = refusal(folder)
    assert "pickled weights only (pytorch_model.bin), which labelling never opens" in told
    assert told.endswith(command)
    order = ("neutral", "entailment", "contradiction")
    assert refusal(folder, *order).endswith(f"{command} --label-order {','.join(order)}")


@pytest.mark.parametrize(
    ("names", "found", "remedy"),
    [
        (["tf_model.h5"], "weights of TensorFlow only (tf_model.h5)", "from_tf=True).save_pretrained"),
        (["flax_model.msgpack"], "weights of Flax only", "from_flax=True).save_pretrained"),
        (["model-q8.gguf"], "an export for llama.cpp only (model-q8.gguf)", "give the checkpoint that the export"),
        (["model.onnx"], "an export for ONNX Runtime only (model.onnx)", "give the checkpoint that the export"),
        (["weights.pt"], "pickled weights only (weights.pt)", "save_pretrained"),
        (["training_args.bin", "optimizer.pt"], "model.safetensors is missing", "save_pretrained"),
        ([], "model.safetensors is missing", "save_pretrained"),
    ],
    ids=str,
)
def test_weights_of_other_kinds_are_refused_by_name(tmp_path: Path, names: list[str], found: str, remedy: str) -> None:
    told = refusal(without_weights(tmp_path, *names))
    assert found in told
    assert remedy in told


@pytest.mark.parametrize("names", [["model.gguf"], ["model.onnx"], ["tf_model.h5"]], ids=str)
def test_an_export_alone_in_its_folder_is_refused_by_name(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"never opened")
    told = refusal(tmp_path)
    assert f"config.json is missing, and {names[0]} has no usable weights" in told
    assert "give the checkpoint that it was made from" in told


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, "checkpoint-1000, the last of 3"),
        ({"best_model_checkpoint": None}, "checkpoint-1000, the last of 3"),
        ({"best_model_checkpoint": "/somewhere/else/checkpoint-500"}, "checkpoint-500, the best of 3"),
        ({"best_model_checkpoint": "out\\checkpoint-90"}, "checkpoint-90, the best of 3"),
        ({"best_model_checkpoint": "out/checkpoint-7"}, "checkpoint-1000, the last of 3"),
        ([], "checkpoint-1000, the last of 3"),
    ],
    ids=str,
)
def test_of_a_trainers_folder_the_checkpoint_to_give_is_named(tmp_path: Path, state: object, told: str) -> None:
    for step in (90, 500, 1000):
        saved(tmp_path / f"checkpoint-{step}")
    if state is not None:
        (tmp_path / "checkpoint-1000" / "trainer_state.json").write_text(json.dumps(state))
    assert f"; give {tmp_path}/{told}" in refusal(tmp_path)


def test_a_checkpoint_one_folder_further_down_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "best")
    assert refusal(tmp_path).endswith(f"; give {tmp_path}/best")


def test_the_vocabulary_of_a_bert_is_called_so(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n")
    assert "vocab.txt alone is the vocabulary of a BERT" in refusal(folder)


def test_a_checkpoint_of_another_model_is_refused_whatever_else_it_lacks(tmp_path: Path) -> None:
    folder = without_weights(tmp_path, "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    told = refusal(folder)
    assert "model_type 'bert'" in told
    assert "docs/how-to/checkpoints.md" in told


@pytest.mark.parametrize("architectures", [["AlbertForMaskedLM"], ["AlbertForPreTraining"], ["AlbertModel"], None])
def test_a_pretrained_albert_is_refused_with_how_to_train_a_classifier(
    tmp_path: Path, architectures: list[str] | None
) -> None:
    folder = saved(tmp_path, architectures=architectures)
    tensors = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "classifier" not in name}
    save_file(tensors, folder / WEIGHTS)
    told = refusal(folder)
    assert "it has no classifier" in told
    assert f"albert-infer finetune --train PAIRS --eval PAIRS --model {folder} --output NEW" in told


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_weights_saved_from_within_a_wrapper_are_refused_with_the_command_that_converts_them(
    tmp_path: Path, wrapper: str
) -> None:
    folder = saved(tmp_path / "nli")
    tensors = load_file(folder / WEIGHTS)
    save_file({f"{wrapper}{name}": tensor for name, tensor in tensors.items()}, folder / WEIGHTS)
    told = refusal(folder, "neutral", "entailment", "contradiction")
    assert f"begins with {wrapper!r}" in told
    command = f"albert-infer convert --model {folder} --output nli-safetensors"
    assert told.endswith(f"convert it once: {command} --label-order neutral,entailment,contradiction")


@pytest.mark.parametrize("kind", ["pickle", "wrapped", "pretrained"])
def test_a_printed_command_reads_the_same_store(tmp_path: Path, kind: str) -> None:
    folder = without_weights(tmp_path, "pytorch_model.bin") if kind == "pickle" else saved(tmp_path)
    if kind != "pickle":
        tensors = load_file(folder / WEIGHTS)
        kept = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
        wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
        save_file(wrapped if kind == "wrapped" else kept, folder / WEIGHTS)
    with pytest.raises(ModelError) as refused:
        verified(checkpoint_files(str(folder), S3Access("http://store:9000")))
    assert str(refused.value).endswith(" --s3-endpoint http://store:9000")


@pytest.mark.parametrize("config", [True, False])
def test_an_adapter_is_called_so(tmp_path: Path, config: bool) -> None:
    folder = without_weights(tmp_path, "adapter_config.json", "adapter_model.safetensors")
    if not config:
        (folder / "config.json").unlink()
    told = refusal(folder)
    assert "it is a LoRA adapter (adapter_config.json)" in told
    assert "merge_and_unload().save_pretrained" in told


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    told = refusal(folder)
    assert f"{name} is a pointer of git-lfs" in told
    assert "git lfs pull" in told


def test_safetensors_of_another_name_are_named(tmp_path: Path) -> None:
    told = refusal(without_weights(tmp_path, "model.fp16.safetensors"))
    assert "model.safetensors is missing, but the folder has model.fp16.safetensors" in told
    assert told.endswith("give a folder that has it as model.safetensors")


def test_a_link_to_weights_that_leads_nowhere_is_a_folder_to_complete(tmp_path: Path) -> None:
    folder = without_weights(tmp_path)
    (folder / WEIGHTS).symlink_to(tmp_path / "gone")
    told = refusal(folder)
    assert told.startswith(f"model {folder}")
    assert "complete the folder" in told
    assert "run again" not in told


@pytest.mark.parametrize("config", [{"id2label": ["x"]}, {"architectures": ["AlbertModel"]}, {"hidden_act": "no"}])
def test_a_setting_that_is_refused_is_one_of_a_named_model(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = saved(tmp_path, **config)
    assert refusal(folder).startswith(f"model {folder}")
    assert refusal(folder, "neutral", "entailment", "contradiction").startswith(f"model {folder}")
