"""A checkpoint's tokenizer is the one that its files mean: sentencepiece's own tokens, the settings of transformers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from checkpoints import sentencepiece_model
from pairs import unigram, wordpiece
from tokenizers import Tokenizer
from transformers import AlbertTokenizer, AutoTokenizer

from albert_infer.errors import ModelError
from albert_infer.model.known_files import TOKENIZER_FILES
from albert_infer.model.tokenizer_files import TokenizerText, tokenizer_text
from albert_infer.model.tokenizer_probes import PROBE_TEXTS, read_tokenizer, token_ids

TEXTS = (
    *("a man plays music", "A MAN Plays", "Über café", "a  man [SEP] dog [MASK] x", "<ent> the dog zebra", "a zebrax"),
    *PROBE_TEXTS,
)
ALBERT = {"tokenizer_class": "AlbertTokenizer"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
MASK = {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
ENT = {"content": "<ent>", "lstrip": False, "rstrip": False, "normalized": True, "single_word": False, "special": False}


@cache
def albert_json() -> str:
    """A tokenizer.json that transformers made of an ALBERT's spiece.model."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece_model(Path(folder) / "spiece.model")
        text: str = AlbertTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer.to_str()
    return text


def saved(folder: Path, text: str, *, config: dict[str, Any] | None = None, **settings: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "albert", **(config or {})}))
    (folder / "tokenizer.json").write_text(text)
    for name, said in settings.items():
        (folder / f"{name}.json").write_text(json.dumps(said))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).exists()}


def tokenizer_of(folder: Path) -> TokenizerText:
    config = folder / "config.json"
    return tokenizer_text(files_of(folder), json.loads(config.read_text()) if config.exists() else {}, "m")


def our_ids(folder: Path, texts: tuple[str, ...] = TEXTS) -> list[list[int] | None]:
    return token_ids(read_tokenizer(tokenizer_of(folder).json, "m"), texts)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as refused:
        tokenizer_of(folder)
    return str(refused.value)


# --- spiece.model alone


@pytest.mark.parametrize(
    "how",
    [
        {},
        # sentencepiece's own ids: <unk> is 0, where transformers takes 1 whatever the model says.
        {"pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2},
        {"pad_id": 1, "unk_id": 4},
        {"normalization_rule_name": "nmt_nfkc_cf"},
        {"normalization_rule_name": "identity"},
    ],
    ids=["albert", "unk_0", "unk_4", "casefolding", "identity"],
)
@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"keep_accents": True}], ids=str)
def test_a_spiece_model_gives_what_sentencepiece_gives(
    tmp_path: Path, how: dict[str, Any], settings: dict[str, bool]
) -> None:
    pieces = sentencepiece_model(tmp_path / "spiece.model", **how)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = ("a man plays 日本 music", "☃ the dog", "x y z", "the  dog ☃☃")
    assert our_ids(tmp_path, texts) == [pieces.encode(text) for text in texts]
    [unknown] = our_ids(tmp_path, ("☃",)) or []
    assert unknown is not None
    assert unknown[-1] == pieces.unk_id()


def test_a_digit_and_a_comma_are_cut_apart_as_in_alberts_training(tmp_path: Path) -> None:
    more = [*["in 1,000 men"] * 50, *["on 1,500 dogs"] * 50]
    pieces = sentencepiece_model(tmp_path / "spiece.model", vocab_size=120, more_sentences=more)
    assert pieces.encode("1,", out_type=str) == ["▁1,"]
    [ids] = our_ids(tmp_path, ("1,",))
    assert ids is not None
    assert pieces.decode(ids) == "1,"
    assert [pieces.id_to_piece(number) for number in ids][-1] == ","


@pytest.mark.parametrize(
    "how",
    [{"treat_whitespace_as_suffix": True}, {"add_dummy_prefix": False}, {"byte_fallback": True, "vocab_size": 400}],
    ids=lambda how: next(iter(how)),
)
def test_a_spiece_model_that_cannot_be_converted_is_refused_with_a_text_that_shows_it(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    sentencepiece_model(tmp_path / "spiece.model", **how)
    told = refusal(tmp_path)
    assert "spiece.model cannot be converted: " in told
    assert "by sentencepiece" in told
    assert "tokenizer.json" in told


def test_a_spiece_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    sentencepiece_model(tmp_path / "spiece.model", model_type="bpe")
    assert "of the type BPE" in refusal(tmp_path)


def test_two_hundred_texts_and_more_are_compared() -> None:
    assert len(PROBE_TEXTS) == len(set(PROBE_TEXTS)) >= 200


# --- settings beside tokenizer.json


@pytest.mark.parametrize(
    "settings",
    [
        {"added_tokens": {"<ent>": 37}},
        {"added_tokens": {"<ent>": 37}, "tokenizer_config": FAST},
        {"special_tokens_map": {"additional_special_tokens": ["<ent>"]}},
        {"special_tokens_map": {"mask_token": MASK}, "tokenizer_config": FAST},
        {"tokenizer_config": {**FAST, "added_tokens_decoder": {"37": ENT}}},
        {"tokenizer_config": {**FAST, "split_special_tokens": True}},
        {"tokenizer_config": {**ALBERT, "split_special_tokens": True}},
        {"tokenizer_config": {"do_lower_case": False}},
        {"tokenizer_config": {**ALBERT, "do_lower_case": False}},
        {"tokenizer_config": {**FAST, "do_lower_case": False}},
        {"tokenizer_config": {"do_lower_case": False}, "config": FAST},
        {"config": ALBERT},
        {"tokenizer_config": {**ALBERT, "keep_accents": True}},
        {"tokenizer_config": {**ALBERT, "remove_space": False}},
        {"tokenizer_config": {**ALBERT, "do_lower_case": True}, "special_tokens_map": {"cls_token": "[CLS]"}},
        {"tokenizer_config": {**FAST, "model_max_length": 512, "padding_side": "left", "max_length": 3}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("kind", ["albert", "unigram"])
def test_settings_beside_a_tokenizer_json_are_applied_as_transformers_applies_them(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    folder = saved(tmp_path, albert_json() if kind == "albert" else unigram().to_str(), **settings)
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert our_ids(folder) == expected


def test_the_tokens_without_settings_are_those_of_tokenizer_json(tmp_path: Path) -> None:
    folder = saved(tmp_path, wordpiece().to_str())
    assert tokenizer_of(folder).json == wordpiece().to_str()


def test_a_tokenizer_json_that_its_class_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    other = json.loads(albert_json())
    other["model"]["unk_id"] = 0
    told = refusal(saved(tmp_path, json.dumps(other), tokenizer_config=ALBERT))
    assert "contradict" in told
    assert "PreTrainedTokenizerFast" in told
    # The remedy holds.
    ids = our_ids(saved(tmp_path, json.dumps(other), tokenizer_config=FAST))
    assert ids == token_ids(Tokenizer.from_str(json.dumps(other)), TEXTS)


def test_settings_that_transformers_cannot_load_are_refused(tmp_path: Path) -> None:
    told = refusal(saved(tmp_path, wordpiece().to_str(), tokenizer_config=ALBERT))
    assert "transformers cannot load tokenizer.json as AlbertTokenizer" in told


@pytest.mark.parametrize("declared", [["a"], {"a": 1}, 7, "AutoModel", "pipeline", "OfAnotherWorldTokenizer"], ids=str)
def test_a_class_that_is_none_changes_nothing(tmp_path: Path, declared: object) -> None:
    folder = saved(tmp_path, wordpiece().to_str(), tokenizer_config={"tokenizer_class": declared})
    assert our_ids(folder) == token_ids(wordpiece(), TEXTS)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
@pytest.mark.parametrize("text", ["{", "[]", '{"a": NaN}'])
def test_a_broken_settings_file_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (saved(tmp_path, wordpiece().to_str()) / name).write_text(text)
    assert name in refusal(tmp_path)


def test_the_names_of_the_special_tokens_may_stand_in_the_map(tmp_path: Path) -> None:
    text = wordpiece().to_str().replace("[CLS]", "<s>").replace("[SEP]", "</s>")
    folder = saved(tmp_path, text, special_tokens_map={"cls_token": "<s>", "sep_token": {"content": "</s>"}})
    found = tokenizer_of(folder)
    assert (found.cls_token, found.sep_token) == ("<s>", "</s>")
