"""The labelling job refuses a checkpoint that cannot be trusted with exit code 2, and writes nothing."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from job_runs import made_up_pairs, run_here, tiny_checkpoint, write_pairs
from tokenizers import Tokenizer

from albert_infer.model import load_checkpoint

WEIGHTS = "model.safetensors"
CLASSIFIER = "classifier.weight"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(8, seed=1))


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self._marker,)


def refusal(source: Path, checkpoint: Path, *more: object) -> str:
    """The one line that the job says when it refuses the checkpoint before it has written anything."""
    output = source.parent.parent / "out"
    outcome = run_here("--input", source, "--output", output, "--model", checkpoint, "--precision", "fp32", *more)
    assert outcome.exit_code == 2, outcome.stderr
    assert not output.exists()
    (line,) = outcome.errors
    return line


def change_config(checkpoint: Path, **changes: object) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **changes}))


def test_pickles_alone_are_refused_unopened_with_how_to_convert_them(
    source: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / WEIGHTS).unlink()
    pickled = checkpoint / "pytorch_model.bin"
    pickled.write_bytes(pickle.dumps(Trap(tmp_path / "opened")))
    told = refusal(source, checkpoint)
    assert "never opened" in told
    assert "AutoModelForSequenceClassification.from_pretrained('IN').save_pretrained('OUT')" in told
    assert not (tmp_path / "opened").exists()
    # Otherwise the trap would show nothing.
    pickle.loads(pickled.read_bytes())  # noqa: S301
    assert (tmp_path / "opened").exists()


def test_a_checkpoint_with_code_of_its_own_is_refused(source: Path, checkpoint: Path) -> None:
    change_config(checkpoint, auto_map={"AutoModel": "modeling.Custom"})
    assert "auto_map" in refusal(source, checkpoint)


def test_a_changed_byte_is_refused_where_the_digest_is_demanded(source: Path, checkpoint: Path) -> None:
    digest = load_checkpoint(str(checkpoint)).digest
    weights = bytearray((checkpoint / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (checkpoint / WEIGHTS).write_bytes(weights)
    told = refusal(source, checkpoint, "--model-digest", digest)
    assert digest in told
    assert load_checkpoint(str(checkpoint)).digest in told


def test_weights_that_are_cut_off_are_refused(source: Path, checkpoint: Path) -> None:
    weights = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    assert "not a whole safetensors file" in refusal(source, checkpoint)


@pytest.mark.parametrize("shape", [None, (48, 3)], ids=["missing", "transposed"])
def test_a_tensor_that_does_not_fit_is_refused(source: Path, checkpoint: Path, shape: tuple[int, int] | None) -> None:
    tensors = safetensors.torch.load_file(checkpoint / WEIGHTS)
    classifier = tensors.pop(CLASSIFIER)
    if shape is not None:
        tensors[CLASSIFIER] = classifier.reshape(shape)
    safetensors.torch.save_file(tensors, checkpoint / WEIGHTS)
    assert f"{CLASSIFIER} of shape (3, 48)" in refusal(source, checkpoint)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(source: Path, checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.add_tokens(["one-more"])
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    assert "ids up to 97, its embeddings 97" in refusal(source, checkpoint)


def test_other_than_three_labels_are_refused(source: Path, checkpoint: Path) -> None:
    change_config(checkpoint, id2label={"0": "entailment", "1": "not_entailment"})
    assert "2 labels" in refusal(source, checkpoint)
