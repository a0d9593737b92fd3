"""Checkpoints that cannot be trusted end the labelling job with exit code 2 before anything is written.

Rows that a checkpoint fails on are set aside.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from checkpoints import change_weights, overflow_in_bf16, without_meaning
from job_runs import (
    RAY_WARNING,
    SPECIAL,
    WORDS,
    labelled_rows,
    made_up_pairs,
    manifest_of,
    rejected_rows,
    report_of,
    run_inline,
    tiny_checkpoint,
    verify,
    visible_files,
    write_pairs,
)
from tokenizers import Tokenizer

import albert_infer
from albert_infer.errors import InfrastructureError
from albert_infer.labeler import Labeler
from albert_infer.model.calibration import calibration_json
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.pipeline.checks import preflighted
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.pipeline.session import shared
from albert_infer.preflight.checks import Checks, Preflight
from albert_infer.schema import PROBABILITIES, DeviceKind, Precision

WEIGHTS = "model.safetensors"
BUILTIN = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
CLASSIFIER = "classifier.weight"

pytestmark = pytest.mark.usefixtures("one_thread")
# fp32 sums in another order, since the job cuts the pairs into units.
TOLERANCE = 1e-5


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
    outcome = run_inline("--input", source, "--output", output, "--model", checkpoint, *more)
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
    assert "never opens" in told
    assert f"albert-infer convert --model {checkpoint} --output checkpoint-safetensors" in told
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


# --- outputs that are called by wrong names


@pytest.mark.computes
def test_a_checkpoint_whose_outputs_have_wrong_names_is_refused_until_their_order_is_given(
    source: Path, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(BUILTIN, tmp_path / "misnamed")
    change_config(checkpoint, id2label={"0": "contradiction", "1": "entailment", "2": "neutral"})
    told = refusal(source, checkpoint)
    assert "of 30 easy test pairs get the right label" in told
    assert told.endswith("; give --label-order entailment,neutral,contradiction")

    output, flag = tmp_path / "out", told.rpartition("; give ")[2].split()
    outcome = run_inline("--input", source, "--output", output, "--model", checkpoint, *flag, "--require-probe")

    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    report = report_of(output)
    assert report["model"]["own_label_map"] == ["contradiction", "entailment", "neutral"]
    assert report["model"]["label_map"] == ["entailment", "neutral", "contradiction"]
    assert "label order  entailment, neutral, contradiction by --label-order" in outcome.stdout
    assert labelled_rows(output).num_rows == 8
    well_named = run_inline("--input", source, "--output", tmp_path / "well_named", "--model", BUILTIN)
    assert well_named.exit_code == 0
    assert report["preflight"]["probe"] == report_of(tmp_path / "well_named")["preflight"]["probe"]


# --- checkpoints that load, but do not compute


def test_a_checkpoint_that_overflows_in_bf16_is_refused_before_anything_is_written_and_labels_in_fp32(
    source: Path, checkpoint: Path, tmp_path: Path
) -> None:
    change_weights(checkpoint, overflow_in_bf16)
    told = refusal(source, checkpoint, "--precision", "bf16")
    assert "not finite" in told
    assert "--precision fp32" in told
    flags = ("--input", source, "--output", tmp_path / "out", "--model", checkpoint, "--precision", "fp32")
    outcome = run_inline(*flags)
    assert outcome.exit_code == 0, outcome.stderr
    report = report_of(tmp_path / "out")
    numbers = report["preflight"]["numbers"]
    assert (numbers["pairs"], numbers["equal_labels"]) == (10, 1)
    assert (report["preflight"]["precision"], report["preflight"]["device"]) == ("fp32", "cpu")
    assert report["model"]["digest"] == load_checkpoint(str(checkpoint)).digest
    assert "10 of 10 test pairs get the same label as in fp32 on a CPU" in outcome.stdout
    assert report["model"]["digest"] in outcome.stdout
    again = run_inline(*flags)
    assert again.exit_code == 0, again.stderr
    assert "arithmetic" not in again.stdout, "nothing was left to label"


def test_pairs_with_a_word_that_a_checkpoint_fails_on_are_set_aside_and_no_pickle_is_opened(
    checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(40, seed=5)
    source, output = write_pairs(tmp_path / "in" / "a.parquet", pairs), tmp_path / "out"
    expected = Labeler(str(checkpoint), precision="fp32").label(pairs.select(["premise", "hypothesis"]))
    change_weights(checkpoint, without_meaning(len(SPECIAL) + WORDS.index("w7")))
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "opened")))
    texts = zip(pairs["premise"].to_pylist(), pairs["hypothesis"].to_pylist(), strict=True)
    bad = [row for row, pair in enumerate(texts) if "w7" in " ".join(pair).split()]
    assert 2 <= len(bad) <= 10
    good = [row for row in range(40) if row not in bad]

    flags = ("--input", source, "--output", output, "--model", checkpoint, "--precision", "fp32", "--unit-rows", 16)
    outcome = run_inline(*flags, "--max-rejected-share", 0.5)

    assert outcome.exit_code == 0, outcome.stderr
    rejected = rejected_rows(output)
    assert rejected["source_row"].to_pylist() == bad
    assert set(rejected["rejection"].to_pylist()) == {"nonfinite_logits"}
    assert set(rejected["detail"].to_pylist()) == {"logits are not finite in fp32, nor alone in fp32"}
    assert report_of(output)["rejected"] == {"nonfinite_logits": len(bad)}
    assert report_of(output)["out_of_memory"] == 0
    labelled = labelled_rows(output)
    assert labelled["pair_id"].equals(pairs["pair_id"].take(good))
    assert labelled["label"].to_pylist() == expected["label"].take(good).to_pylist()
    for name in PROBABILITIES:
        np.testing.assert_allclose(labelled[name], expected[name].take(good), atol=TOLERANCE)
    assert not (tmp_path / "opened").exists()


@pytest.mark.computes
def test_a_job_in_int8_says_so_and_its_units_are_not_those_of_fp32(checkpoint: Path, tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(40, seed=6))
    flags = ("--input", source, "--output", tmp_path / "out", "--model", checkpoint)
    int8 = run_inline(*flags, "--precision", "int8", "--min-agreement", 0)
    assert int8.exit_code == 0, int8.stderr
    report, units = report_of(tmp_path / "out"), sorted(path.name for path in (tmp_path / "out").glob("part-*"))
    assert (report["precision"], report["preflight"]["precision"]) == ("int8", "int8")
    assert report["preflight"]["numbers"]["largest_difference"] > 0
    fp32 = run_inline(*flags, "--precision", "fp32", "--replace")
    assert fp32.exit_code == 0, fp32.stderr
    assert units != sorted(path.name for path in (tmp_path / "out").glob("part-*"))


@pytest.mark.computes
def test_a_temperature_and_a_limit_for_review_name_other_units_and_leave_the_labels(
    checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(40, seed=7)
    source, output = write_pairs(tmp_path / "in" / "a.parquet", pairs), tmp_path / "out"
    flags = ("--input", source, "--output", output, "--model", checkpoint)
    plain = run_inline(*flags)
    assert plain.exit_code == 0, plain.stderr
    assert (report_of(output)["model"]["temperature"], report_of(output)["needs_review"]) == (1, 0)
    assert "needs_review" not in labelled_rows(output).column_names
    labels, units = labelled_rows(output)["label"], visible_files(output)

    (checkpoint / "calibration.json").write_bytes(calibration_json(2.5, {"pairs": 9842}))
    outcome = run_inline(*flags, "--review-below", 0.4, "--replace")

    assert outcome.exit_code == 0, outcome.stderr
    rows, report = labelled_rows(output), report_of(output)
    assert rows["label"].equals(labels)
    assert set(units).isdisjoint(visible_files(output))
    expected = Labeler(str(checkpoint), review_below=0.4, precision="fp32").label(
        pairs.select(["premise", "hypothesis"])
    )
    for name in PROBABILITIES:
        np.testing.assert_allclose(rows[name], expected[name], atol=TOLERANCE)
    assert rows["needs_review"].equals(expected["needs_review"])
    unsure = sum(expected["needs_review"].to_pylist())
    assert 0 < unsure < 40
    assert (report["needs_review"], report["review_below"]) == (unsure, 0.4)
    assert f"{unsure} pairs marked needs_review: the probability of their label is below 0.4" in outcome.stdout
    assert report["model"]["temperature"] == manifest_of(output)["model"]["temperature"] == 2.5
    verify(output, source)


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.filterwarnings(RAY_WARNING)
def test_a_worker_that_dies_in_the_preflight_ends_the_start_as_infrastructure(checkpoint: Path) -> None:
    def dies(*_: object, **__: object) -> Preflight:
        os.abort()

    loaded = load_checkpoint(str(checkpoint))
    tokenizer = loaded.tokenizer(max_length=None)
    with pytest.raises(InfrastructureError) as died:
        preflighted(
            shared(loaded),
            [],
            checks=Checks(tokenizer, Precision.FP32, max_batch_tokens=512, compared=False),
            workers=WorkerResources(DeviceKind.CPU, 1, 1, num_gpus=0, num_cpus=1, threads=1),
            check=dies,
        )
    assert died.value.asked == "checking the model on one worker"
    assert "run it again" in died.value.remedy
