"""The built-in checkpoint as it ships, and the recipe's own steps, walked with a model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_models import learnable_pairs, save_model, tiny_bert, tiny_student, tiny_teacher, tiny_tokenizer

from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel
from recipes.builtin import recipe as builtin
from recipes.builtin.recipe import Recipe, is_held_out

BUILTIN = Path(__file__).parents[1] / "albert_infer" / "model" / "builtin" / "checkpoint"

# Of the made-up pairs, under other premises: enough that a temperature can be fitted on a tenth.
COPIES = 30

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe for made-up pairs, which are where the recipe looks for them."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    named = [f"{premise} {number}" for number in range(COPIES) for premise in learnable_pairs()[PREMISE].to_pylist()]
    snli = pa.concat_tables([learnable_pairs()] * COPIES).set_column(0, PREMISE, pa.array(named))
    pq.write_table(snli, pairs / "snli_dev.parquet")
    pq.write_table(learnable_pairs(), pairs / "mnli_dev_a.parquet")
    return Recipe(pairs=pairs, work=tmp_path / "work", output=tmp_path / "output", embedding_size=8)


def test_a_tenth_of_the_snli_premises_is_kept_out_of_training(recipe: Recipe) -> None:
    builtin.write_splits(recipe)
    held = pq.read_table(recipe.work / "held_out.parquet")
    train = pq.read_table(recipe.work / "train" / "pairs.parquet")
    assert all(map(is_held_out, held[PREMISE].to_pylist()))
    assert not set(held[PREMISE].to_pylist()) & set(train[PREMISE].to_pylist())
    assert len(held) + len(train) == (COPIES + 1) * len(learnable_pairs())
    assert 0.03 < len(held) / (COPIES * len(learnable_pairs())) < 0.2


def test_splits_that_are_there_are_not_written_again(recipe: Recipe) -> None:
    builtin.write_splits(recipe)
    before = [path.stat().st_mtime_ns for path in sorted(recipe.work.rglob("*.parquet"))]
    builtin.write_splits(recipe)
    assert [path.stat().st_mtime_ns for path in sorted(recipe.work.rglob("*.parquet"))] == before


def test_the_teacher_starts_as_the_bert_it_comes_from(recipe: Recipe, tmp_path: Path) -> None:
    source = tmp_path / "source"
    tiny_bert().save_pretrained(source)
    tiny_tokenizer().save(str(source / "tokenizer.json"))
    builtin.write_teacher_start(recipe, source)
    first = load_checkpoint(str(recipe.work / "teacher_start"))
    assert first.label_order == tuple(NliLabel)
    assert first.shape.num_hidden_groups == first.shape.num_hidden_layers == 4
    builtin.write_teacher_start(recipe, source)
    assert load_checkpoint(str(recipe.work / "teacher_start")).digest == first.digest


def test_the_student_starts_small_and_learns_from_more_pairs_than_were_given(recipe: Recipe) -> None:
    builtin.write_splits(recipe)
    save_model(tiny_teacher(), recipe.work / "teacher")
    builtin.write_recombined(recipe, Labeler(str(recipe.work / "teacher")))
    builtin.write_student_start(recipe)
    student = load_checkpoint(str(recipe.work / "student_start"))
    assert (student.shape.embedding_size, student.shape.num_hidden_groups) == (8, 2)
    made = pq.read_table(recipe.work / "train" / "recombined.parquet")
    given = pq.read_table(recipe.work / "train" / "pairs.parquet")
    assert len(made) > len(given)
    assert set(made["gold_label"].to_pylist()) <= {str(label) for label in NliLabel}
    texts = [PREMISE, HYPOTHESIS]
    assert not {tuple(row.values()) for row in made.select(texts).to_pylist()} & {
        tuple(row.values()) for row in given.select(texts).to_pylist()
    }


@pytest.mark.process
def test_what_teaches_and_what_ships_has_the_temperature_of_the_held_out_tenth(recipe: Recipe) -> None:
    builtin.write_splits(recipe)
    # Two that differ, or one could stand for the other.
    for name, model in (("teacher", tiny_teacher()), ("student", tiny_student())):
        save_model(model, recipe.work / name)
        builtin.write_calibrated(recipe, recipe.work / name)
    builtin.ship(recipe)
    plain, calibrated, shipped = (
        load_checkpoint(str(folder))
        for folder in (recipe.work / "student", recipe.work / "student_calibrated", recipe.output)
    )
    assert shipped.temperature == calibrated.temperature != plain.temperature
    assert shipped.digests["model.safetensors"] == plain.digests["model.safetensors"]
    taught = load_checkpoint(builtin.student_settings(recipe).teacher or "")
    assert taught.temperature not in (plain.temperature, shipped.temperature)
    assert str(recipe.work) not in (recipe.output / "calibration.json").read_text()


def test_teacher_and_student_are_trained_on_what_the_steps_before_left(recipe: Recipe) -> None:
    teacher, student = builtin.teacher_settings(recipe), builtin.student_settings(recipe)
    assert student.teacher == f"{teacher.output}_calibrated"
    assert Path(teacher.train).parent == Path(student.train)
    assert teacher.eval == student.eval
    assert student.save_precision == "fp16"


def test_the_built_in_checkpoint_is_small_and_loads() -> None:
    checkpoint = load_checkpoint("builtin")
    assert checkpoint.label_order == tuple(NliLabel)
    assert checkpoint.shape.embedding_size == 128
    assert checkpoint.shape.num_hidden_groups < checkpoint.shape.num_hidden_layers
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) <= 16 << 20
    assert json.loads((BUILTIN / "config.json").read_text())["dtype"] == "float16"


def test_the_built_in_checkpoint_has_an_obvious_opinion() -> None:
    pairs = [
        ("A man is sleeping on a bench.", "A man is asleep."),
        ("A man is walking outside.", "The man is going to meet his brother."),
        ("A man is sleeping on a bench.", "A woman is running."),
    ]
    assert Labeler().label(pairs)["label"].to_pylist() == [str(label) for label in NliLabel]
