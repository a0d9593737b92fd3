"""Whole jobs on a card: actors that share one, fine-tuning in bf16, and labels against fp32 on the CPU.

`make test-gpu` runs these and every other test that needs a card.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import finetune
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from job_runs import RAY_WARNING, labelled_rows, report_of, run_here, run_inline, run_main, verify, write_pairs
from training_models import learnable_pairs, save_model, tiny_teacher

from albert_infer.schema import LABEL, PROBABILITIES
from benchmarks import pairs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
    pytest.mark.usefixtures("session"),
    pytest.mark.filterwarnings(RAY_WARNING),
    pytest.mark.filterwarnings("ignore:.*exclude_resources.*"),
]
DEVICE: Final = "cuda"
SNLI: Final = Path(os.environ.get("NLI_TEST_PAIRS", "missing")) / "snli_test_a.parquet"
# The pairs in the package, recombined, are closer calls than people's pairs.
LEAST_EQUAL: Final = 0.998 if SNLI.exists() else 0.996
PAIRS: Final = 4816
AUTO: Final = ("--precision", "auto", "--min-agreement", "off")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real pairs."""
    folder = tmp_path_factory.mktemp("in")
    texts = pq.read_table(SNLI) if SNLI.exists() else pairs.recombined(pairs.read_texts(pairs.BUILTIN_PAIRS), 0, PAIRS)
    write_pairs(folder / "pairs.parquet", texts.slice(0, PAIRS), group_rows=1000)
    return folder


@pytest.fixture(scope="module")
def whole_card(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job with one actor on the card, in the card's own precision."""
    output = tmp_path_factory.mktemp("whole") / "out"
    outcome = run_here("--input", source, "--output", output, *AUTO, "--workers", 1, "--unit-rows", 512)
    assert outcome.exit_code == 0, outcome.stderr
    return output


def decided(output: Path) -> pa.Table:
    return labelled_rows(output).select([LABEL, *PROBABILITIES])


def test_labels_of_a_card_are_those_of_fp32_on_the_cpu(source: Path, whole_card: Path, tmp_path: Path) -> None:
    assert report_of(whole_card)["device"] == DEVICE
    verify(whole_card, source)
    exact = tmp_path / "out"
    outcome = run_inline("--input", source, "--output", exact, "--precision", "fp32", "--unit-rows", 512)
    assert outcome.exit_code == 0, outcome.stderr
    assert report_of(exact)["device"] == "cpu"
    labels, expected = (labelled_rows(output)[LABEL].to_pylist() for output in (whole_card, exact))
    equal = sum(label == other for label, other in zip(labels, expected, strict=True))
    assert equal >= LEAST_EQUAL * len(expected), f"{len(expected) - equal} of {len(expected)} labels differ"


def test_two_actors_on_half_a_card_each_give_the_bits_of_one(source: Path, whole_card: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shared = ("--workers", 2, "--gpus-per-worker", 0.5)
    outcome = run_here("--input", source, "--output", output, *AUTO, *shared, "--unit-rows", 512)
    assert outcome.exit_code == 0, outcome.stderr
    report = report_of(output)
    assert (report["device"], report["workers"]["min_workers"], report["workers"]["num_gpus"]) == (DEVICE, 2, 0.5)
    assert report["out_of_memory"] == 0
    assert decided(output).equals(decided(whole_card))


def test_a_checkpoint_is_fine_tuned_on_a_card_in_bf16(tmp_path: Path) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the card does not compute in bf16")
    for name in ("train", "eval"):
        pq.write_table(learnable_pairs(), tmp_path / f"{name}.parquet")
    model, output = save_model(tiny_teacher(), tmp_path / "model"), tmp_path / "out"
    places = ("--train", tmp_path / "train.parquet", "--eval", tmp_path / "eval.parquet", "--model", model)
    how = ("--epochs", 15, "--batch-pairs", 8, "--learning-rate", 3e-3, "--patience", 15, "--workers", 1)
    outcome = run_main(finetune.main, *places, "--output", output, *how, "--precision", "bf16")
    assert outcome.exit_code == 0, outcome.stderr
    metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    assert (metrics["workers"]["device"], metrics["precision"]) == (DEVICE, "bf16")
    assert metrics["kept"]["eval_accuracy"] > 0.9
