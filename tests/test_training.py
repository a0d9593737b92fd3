"""The way from a BERT to the built-in checkpoint, walked with models of a few thousand weights."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AlbertForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from albert_infer.training.builtin import (
    Recipe,
    TrainingPairs,
    distilled_student,
    report_accuracy,
    save_checkpoint,
    token_counts,
    training_pairs,
    wilson_interval,
)
from albert_infer.training.conversion import albert_from_bert, albert_layer, embedding_outputs, student_from_teacher
from albert_infer.training.distillation import (
    Schedule,
    accuracy,
    distillation_loss,
    gold_loss,
    teacher_outputs,
    train,
)
from albert_infer.training.pairs import (
    LABEL_NAMES,
    EncodedPair,
    TextPair,
    encoded_pairs,
    length_grouped_batches,
    padded_batch,
    split_by_premise,
)

BUILTIN = Path(__file__).parents[1] / "albert_infer" / "builtin" / "checkpoint"

NOUNS = ["dogs", "cats", "birds", "horses", "cows", "goats"]
VERBS = ["run", "sleep", "eat", "swim"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "some", "animals", *NOUNS, *VERBS]

# fp16 keeps about three digits of the teacher's states, which are near 1.
HALF_PRECISION = 2e-3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread, and long where other work holds its core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made_up_pairs() -> list[TextPair]:
    """Three pairs for each of 24 premises, labelled by the first word of the hypothesis."""
    return [
        TextPair(f"{noun} {verb}", hypothesis, label)
        for noun in NOUNS
        for verb in VERBS
        for label, hypothesis in enumerate((f"animals {verb}", f"some {noun} sleep", f"no {noun} {verb}"))
    ]


def tiny_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def tiny_bert() -> BertModel:
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    bert = BertModel(config)
    bert.train(mode=False)
    return bert


def tiny_teacher() -> AlbertForSequenceClassification:
    torch.manual_seed(2)
    teacher = albert_from_bert(tiny_bert(), dropout=0.1)
    teacher.train(mode=False)
    return teacher


def tiny_student(groups: int = 2) -> AlbertForSequenceClassification:
    tokens = torch.arange(len(WORDS)).repeat(20)
    return student_from_teacher(tiny_teacher(), embedding_size=8, groups=groups, tokens_T=tokens)


def tiny_recipe(folder: Path) -> Recipe:
    """A recipe for the made-up pairs, which it puts where the recipe looks for them."""
    rows = [
        {"premise": pair.premise, "hypothesis": pair.hypothesis, "gold_label": LABEL_NAMES[pair.label]}
        for pair in made_up_pairs()
    ]
    for name in ("snli_dev", "mnli_dev_a", "snli_test_a"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return Recipe(pairs=folder, output=folder / "out", student_epochs=2, embedding_size=8, dev_percent=20)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether the two hold the same names and bit-equal values."""
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def model_loaded_whole(folder: Path) -> AlbertForSequenceClassification:
    """The model in `folder`, which has every weight that it needs and no other."""
    loaded: Any = AlbertForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    model, keys = loaded
    assert isinstance(model, AlbertForSequenceClassification)
    assert not keys["missing_keys"]
    assert not keys["unexpected_keys"]
    return model


def label_names(folder: Path) -> tuple[str, ...]:
    """The names of the outputs 0, 1 and 2 of the checkpoint in `folder`."""
    id2label = json.loads((folder / "config.json").read_text())["id2label"]
    return tuple(id2label[str(index)] for index in range(3))


def test_albert_from_bert_has_the_hidden_states_of_the_bert() -> None:
    batch = padded_batch(encoded_pairs(made_up_pairs(), tiny_tokenizer()))
    inputs = {
        "input_ids": batch.input_ids_BL,
        "token_type_ids": batch.token_type_ids_BL,
        "attention_mask": batch.attention_mask_BL,
    }
    with torch.no_grad():
        of_bert = tiny_bert()(**inputs, output_hidden_states=True)
        of_albert = tiny_teacher().albert(**inputs, output_hidden_states=True)
    for expected, found in zip(of_bert.hidden_states, of_albert.hidden_states, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(of_albert.pooler_output, of_bert.pooler_output)


def test_student_has_the_claimed_shapes() -> None:
    student = tiny_student(groups=2)
    assert student.get_parameter("albert.embeddings.word_embeddings.weight").shape == (len(WORDS), 8)
    assert student.get_parameter("albert.encoder.embedding_hidden_mapping_in.weight").shape == (16, 8)
    assert len(student.albert.encoder.albert_layer_groups) == 2
    assert student.config.num_hidden_layers == 4


@pytest.mark.parametrize(("groups", "middle"), [(1, [2]), (2, [1, 3]), (4, [0, 1, 2, 3])])
def test_student_group_is_the_middle_one_of_the_layers_it_replaces(groups: int, middle: list[int]) -> None:
    teacher, student = tiny_teacher(), tiny_student(groups)
    for group, layer in enumerate(middle):
        assert same_weights(albert_layer(student, group), albert_layer(teacher, layer))


def test_student_mapping_rebuilds_embeddings_that_fit_into_its_size() -> None:
    teacher = tiny_teacher()
    with torch.no_grad():
        for name in ("word", "position", "token_type"):
            teacher.get_parameter(f"albert.embeddings.{name}_embeddings.weight")[:, 4:] = 0
    tokens = torch.arange(len(WORDS)).repeat(20)
    student = student_from_teacher(teacher, embedding_size=8, groups=1, tokens_T=tokens)
    with torch.no_grad():
        wanted, found = embedding_outputs(teacher, tokens), embedding_outputs(student, tokens)
    unexplained = (wanted - found).square().sum() / (wanted - wanted.mean(dim=0)).square().sum()
    assert unexplained < 0.1


def test_teacher_outputs_do_not_depend_on_the_other_pairs() -> None:
    teacher, pairs = tiny_teacher(), encoded_pairs([TextPair("dogs", "run", 0), *made_up_pairs()], tiny_tokenizer())
    together = teacher_outputs(teacher, pairs, hidden_layers=(2, 4))
    for position in (0, 1, len(pairs) - 1):
        alone = teacher_outputs(teacher, [pairs[position]], hidden_layers=(2, 4))
        assert together.hidden_SLH[position].shape == (2, len(pairs[position].input_ids), 16)
        torch.testing.assert_close(together.hidden_SLH[position], alone.hidden_SLH[0], atol=HALF_PRECISION, rtol=0)
        torch.testing.assert_close(together.logits_NC[position], alone.logits_NC[0], atol=HALF_PRECISION, rtol=0)


def test_distillation_lowers_the_loss() -> None:
    student, pairs = tiny_student(), encoded_pairs(made_up_pairs(), tiny_tokenizer())
    outputs = teacher_outputs(tiny_teacher(), pairs, hidden_layers=(2, 4))

    def loss_at(positions: list[int]) -> torch.Tensor:
        return distillation_loss(student, pairs, outputs, positions)

    before = loss_at(list(range(len(pairs)))).item()
    train(student, token_counts(pairs), loss_at, Schedule(10, 5e-3, batch_pairs=8), after_epoch=lambda _: None)
    assert loss_at(list(range(len(pairs)))).item() < 0.5 * before


def test_teacher_that_distils_itself_has_only_the_gold_loss_left() -> None:
    teacher, pairs = tiny_teacher(), encoded_pairs(made_up_pairs(), tiny_tokenizer())
    outputs = teacher_outputs(teacher, pairs, hidden_layers=(2, 4))
    with torch.no_grad():
        loss = distillation_loss(teacher, pairs, outputs, positions=list(range(len(pairs)))).item()
        assert loss == pytest.approx(0.5 * gold_loss(teacher, pairs).item(), abs=1e-4)


def test_teacher_learns_the_labels_of_made_up_pairs() -> None:
    teacher, pairs = tiny_teacher(), encoded_pairs(made_up_pairs(), tiny_tokenizer())
    seen: list[int] = []
    train(
        teacher,
        token_counts(pairs),
        lambda positions: gold_loss(teacher, [pairs[i] for i in positions]),
        Schedule(epochs=15, peak_learning_rate=3e-3, batch_pairs=8),
        after_epoch=seen.append,
    )
    assert seen == list(range(1, 16))
    assert accuracy(teacher, pairs) > 0.9


def test_same_seed_gives_the_same_student(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    pairs = training_pairs(recipe, tiny_tokenizer())
    first = distilled_student(recipe, tiny_teacher(), pairs)
    assert same_weights(first, distilled_student(recipe, tiny_teacher(), pairs))
    other_seed = recipe.model_copy(update={"seed": 1})
    assert not same_weights(first, distilled_student(other_seed, tiny_teacher(), pairs))


def test_training_pairs_keep_dev_premises_out_of_training(tmp_path: Path) -> None:
    pairs: TrainingPairs = training_pairs(tiny_recipe(tmp_path), tiny_tokenizer())

    def premises(part: list[EncodedPair]) -> set[tuple[int, ...]]:
        return {tuple(pair.input_ids[: pair.token_type_ids.index(1)]) for pair in part}

    assert premises(pairs.dev)
    assert not premises(pairs.dev) & premises(pairs.train)
    assert len(pairs.train) + len(pairs.dev) == 2 * len(made_up_pairs())


@pytest.mark.parametrize("long_side", ["premise", "hypothesis"])
def test_training_pairs_are_cut(tmp_path: Path, long_side: str) -> None:
    recipe = tiny_recipe(tmp_path)
    row = {"premise": "dogs run", "hypothesis": "animals run", "gold_label": "neutral"} | {long_side: "dogs " * 200}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "mnli_dev_a.parquet")
    pairs = training_pairs(recipe, tiny_tokenizer())
    assert max(token_counts(pairs.train + pairs.dev)) == 128


def test_saved_checkpoint_reads_back_with_its_tokenizer_and_label_names(tmp_path: Path) -> None:
    recipe, tokenizer = tiny_recipe(tmp_path), tiny_tokenizer()
    save_checkpoint(tiny_student(), tokenizer, recipe.output)
    model = model_loaded_whole(recipe.output)
    assert model.dtype == torch.float16
    assert label_names(recipe.output) == LABEL_NAMES
    encoding = AutoTokenizer.from_pretrained(recipe.output)("dogs run", "no dogs run")
    expected = tokenizer.encode("dogs run", "no dogs run")
    assert encoding["input_ids"] == expected.ids
    assert encoding["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_report_counts_every_test_pair(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe, tokenizer = tiny_recipe(tmp_path), tiny_tokenizer()
    save_checkpoint(tiny_student(), tokenizer, recipe.output)
    with caplog.at_level("INFO"):
        report_accuracy(recipe, tokenizer)
    assert len([line for line in caplog.messages if f"of {len(made_up_pairs()) // 3}," in line]) == 3


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3))), st.integers(0, 100))
def test_split_keeps_every_pair_and_no_premise_on_both_sides(texts: list[tuple[str, str]], percent: int) -> None:
    pairs = [TextPair(premise, hypothesis, 0) for premise, hypothesis in texts]
    split = split_by_premise(pairs, percent)
    assert not {pair.premise for pair in split.train} & {pair.premise for pair in split.dev}
    assert sorted(map(str, split.train + split.dev)) == sorted(map(str, pairs))


@given(st.lists(st.integers(1, 100)), st.integers(1, 7), st.integers())
def test_length_grouped_batches_hold_each_position_once(lengths: list[int], batch_pairs: int, seed: int) -> None:
    batches = length_grouped_batches(lengths, batch_pairs, random.Random(seed))  # noqa: S311  an order, not a secret
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_pairs for batch in batches)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"), [(50, 100, 0.4038, 0.5962), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_wilson_interval_agrees_with_published_values(right: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_built_in_checkpoint_loads_whole_and_is_small() -> None:
    assert model_loaded_whole(BUILTIN).config.num_hidden_layers == 6
    assert label_names(BUILTIN) == LABEL_NAMES
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) <= 16_000_000


def test_built_in_checkpoint_has_an_obvious_opinion() -> None:
    model = AlbertForSequenceClassification.from_pretrained(BUILTIN, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(BUILTIN / "tokenizer.json"))
    pairs = [
        TextPair("A man is sleeping on a bench.", "A man is asleep.", LABEL_NAMES.index("entailment")),
        TextPair("A man is sleeping on a bench.", "A woman is running.", LABEL_NAMES.index("contradiction")),
        TextPair("A man is walking outside.", "The man is going to meet his brother.", LABEL_NAMES.index("neutral")),
    ]
    assert accuracy(model, encoded_pairs(pairs, tokenizer)) == 1
