"""The teacher of the built-in checkpoint, walked with an MPNet of a few thousand weights."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from training_models import NOUNS, VERBS, learnable_pairs, same_weights
from transformers import MPNetConfig, MPNetModel

from recipes.builtin import teacher
from recipes.builtin.card import SETS
from recipes.builtin.gold import GoldPairs
from recipes.builtin.measuring import Measuring
from recipes.builtin.teacher import encoded_texts, trained_teacher, write_teacher
from recipes.builtin.training import Schedule

WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "no", "some", "animals", *NOUNS, *VERBS]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny MPNet, and a schedule that takes less than a second."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    config = MPNetConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=140,
    )
    torch.manual_seed(1)
    MPNetModel(config).save_pretrained(tmp_path / "source")
    tokenizer.save(str(tmp_path / "source" / "tokenizer.json"))
    schedule = Schedule(epochs=1, learning_rate=1e-3, classifier_factor=5.0, warmup_steps=2)
    monkeypatch.setattr(teacher, "SCHEDULE", schedule)
    return tmp_path / "source"


def test_pairs_have_the_special_tokens_of_the_teacher(source: Path) -> None:
    pairs = encoded_texts(source, learnable_pairs().slice(0, 1))
    assert [WORDS[token] for token in pairs.ids] == ["<s>", "dogs", "run", "</s>", "</s>", "animals", "run", "</s>"]
    assert pairs.pad_id == WORDS.index("<pad>")


def test_the_teacher_is_written_once_with_its_tokenizer_and_again_with_the_same_bits(
    source: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_teacher(source, learnable_pairs(), one, seed=0)
    written = (one / "model.safetensors").stat().st_mtime_ns
    write_teacher(source, learnable_pairs(), one, seed=0)
    assert (one / "model.safetensors").stat().st_mtime_ns == written
    write_teacher(source, learnable_pairs(), other, seed=0)
    assert same_weights(trained_teacher(one), trained_teacher(other))
    assert (one / "tokenizer.json").exists()
    assert not one.with_suffix(".state").exists()


def test_the_teacher_is_measured_on_the_sets_that_measure_the_student(source: Path, tmp_path: Path) -> None:
    write_teacher(source, learnable_pairs(), tmp_path / "teacher", seed=0)
    part = learnable_pairs()
    pq.write_table(part, tmp_path / "snli_test_a.parquet")
    gold = GoldPairs(snli_train=part, mnli_train=part, calibration=part, mnli_report=part.slice(0, 9))
    found = Measuring(tmp_path, tmp_path / "output", tmp_path, gold).teacher(tmp_path / "teacher")
    assert found.keys() == set(SETS)
    assert all(0 <= each["low"] <= each["value"] <= each["high"] <= 1 for each in found.values())
    assert found["mnli"]["value"] * 9 == pytest.approx(round(found["mnli"]["value"] * 9))
