"""A tokenizer is given words alone only where that changes no token, whatever the texts hold."""
# ruff: noqa: S106 - the name of a special token is no password

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from checkpoints import sentencepiece_model
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, SPECIAL_TOKENS, WORDS, framed, unigram, wordpiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AlbertTokenizer

import albert_infer
from albert_infer.prepare import words
from albert_infer.prepare.framing import Tokenized
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import HYPOTHESIS, PREMISE

REAL_PAIRS = os.environ.get("NLI_TEST_PAIRS", "")


@cache
def builtin() -> Tokenizer:
    return Tokenizer.from_file(
        str(Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint" / "tokenizer.json")
    )


def albert(**how: str) -> Tokenizer:
    """What transformers makes of an ALBERT's spiece.model; `how` it is trained."""
    with TemporaryDirectory() as folder:
        sentencepiece_model(Path(folder) / "spiece.model", **how)
        made: Tokenizer = AlbertTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    return made


def word_level() -> Tokenizer:
    known = {word: place for place, word in enumerate((*SPECIAL_TOKENS, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return framed(tokenizer)


def with_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Some of every kind, which change what stands beside them."""
    tokenizer.add_tokens(
        [
            AddedToken("zebra", lstrip=True, rstrip=True),
            AddedToken("og", single_word=True),
            AddedToken("Man", normalized=True),
            AddedToken("do", normalized=False, lstrip=True),
            AddedToken("[MASK]", lstrip=True, normalized=False, special=True),
        ]
    )
    return tokenizer


CUT: dict[str, Callable[[], Tokenizer]] = {
    "builtin": builtin,
    "albert": cache(albert),
    "albert with added tokens": cache(lambda: with_added_tokens(albert())),
    "wordpiece with added tokens": cache(lambda: with_added_tokens(wordpiece())),
    "words": cache(word_level),
}
PARTS = [
    "[SEP]",
    "[MASK]",
    "zebra",
    "og",
    "man",
    "MAN",
    "do",
    "dogs",
    "``",
    "'",
    " ",
    " ",
    "  ",
    "\r\n",
    "\t",
    "\0",
    "##s",
]
ASCII = st.lists(st.sampled_from(PARTS) | st.text(st.characters(max_codepoint=127), max_size=4), max_size=12).map(
    "".join
)
UNICODE_PARTS = [*PARTS, "\u0301", "\u00a8", "\u3000", "\u2581", "日本", "👩\u200d👧", "\u0600", "ﬁ", "İ", "\ufffd"]
UNICODE = st.lists(st.sampled_from(UNICODE_PARTS) | st.text(max_size=4), max_size=12).map("".join)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def ids_of_words(tokenizer: Tokenizer, text: str) -> list[int]:
    return [number for word in text.split(" ") for number in ids(tokenizer, word)]


@pytest.mark.computes
@pytest.mark.parametrize("name", CUT)
@PROPERTY
@given(text=ASCII)
def test_an_ascii_text_has_the_tokens_of_its_words(name: str, text: str) -> None:
    tokenizer = CUT[name]()
    assert words.splits_at_spaces(tokenizer)
    assert ids(tokenizer, text) == ids_of_words(tokenizer, text)


def normalized_by(normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = word_level()
    tokenizer.normalizer = normalizer
    return tokenizer


def with_token(token: str) -> Tokenizer:
    tokenizer = wordpiece()
    tokenizer.add_tokens([token])
    return tokenizer


def cut_by(pre_tokenizer: pre_tokenizers.PreTokenizer | None) -> Tokenizer:
    tokenizer = unigram()
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def told_twice() -> Tokenizer:
    tokenizer = word_level()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A $A", pair="$A $B", special_tokens=[])
    return tokenizer


def albert_with_rule(rule: str, added: str = "") -> Tokenizer:
    """An ALBERT whose own table holds one rule, code point to code point, and that knows one more token."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "rules.tsv").write_text(rule)
        tokenizer = albert(normalization_rule_tsv=str(Path(folder) / "rules.tsv"))
    tokenizer.add_tokens([added])
    return tokenizer


Metaspace, WhitespaceSplit = pre_tokenizers.Metaspace, pre_tokenizers.WhitespaceSplit
NOT_CUT: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "spaces become tokens": (unigram, "a  man"),
    "no words": (lambda: cut_by(None), "a man"),
    "the first word is another": (
        lambda: cut_by(pre_tokenizers.Sequence([WhitespaceSplit(), Metaspace(prepend_scheme="first")])),
        "a man",
    ),
    "words are cut late": (lambda: cut_by(pre_tokenizers.Sequence([Metaspace(), WhitespaceSplit()])), "a  man"),
    "a token of two words": (lambda: with_token("the dog"), "the dog"),
    "a token that becomes two words": (lambda: with_token("the\u3000dog"), "the dog"),
    "two words become one": (lambda: normalized_by(normalizers.Replace("a man", "music")), "a man"),
    "a pattern": (lambda: normalized_by(normalizers.Replace(Regex("a.man"), "music")), "a man"),
    "a space becomes a word": (lambda: normalized_by(normalizers.Replace(" ", " dog ")), "a man"),
    "a text gets a beginning": (lambda: normalized_by(normalizers.Prepend("do")), "man g"),
    "a sequence in a sequence": (
        lambda: normalized_by(normalizers.Sequence([normalizers.Sequence([normalizers.Prepend("do")])])),
        "man g",
    ),
    "a letter for a space": (lambda: albert_with_rule("20\t78\n"), "a man"),
    "a token with a letter that becomes a space": (lambda: albert_with_rule("78\t20\n", "axman"), "a man"),
    "a text is told twice": (told_twice, "a man"),
}


@pytest.mark.parametrize("name", NOT_CUT)
def test_a_tokenizer_whose_words_depend_on_their_company_gets_whole_texts(name: str) -> None:
    make, text = NOT_CUT[name]
    tokenizer = make()
    assert ids(tokenizer, text) != ids_of_words(tokenizer, text)
    assert not words.splits_at_spaces(tokenizer)


def test_a_tokenizer_that_throws_dice_gets_whole_texts() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.5))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    assert not words.splits_at_spaces(tokenizer)
    tokenizer.model = models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    assert words.splits_at_spaces(tokenizer)


def test_texts_are_cut_where_words_repeat_and_only_ascii_is() -> None:
    texts = pa.array(["a dog  runs", " runs a dog", "dog a é", "", "dog runs a a a"])
    found = words.repeated_words(texts)
    assert found.to_pylist() == [
        ["a", "dog", "", "runs"],
        ["", "runs", "a", "dog"],
        ["dog a é"],
        [""],
        ["dog", "runs", "a", "a", "a"],
    ]
    assert words.repeated_words(texts.slice(1, 3)).to_pylist() == [[" runs a dog"], ["dog a é"], [""]]
    assert words.whole(texts).to_pylist() == [[text] for text in texts.to_pylist()]


@cache
def pair_tokenizer(described: str) -> PairTokenizer:
    """Ours of a tokenizer in JSON, which takes long to read where it has many words."""
    return PairTokenizer(described, cls_token="[CLS]", sep_token="[SEP]", max_length=10**6)


def encoded(tokenizer: Tokenizer, texts: list[str]) -> Tokenized:
    """Each text as premise, with the texts from the last to the first as hypotheses."""
    ours = pair_tokenizer(tokenizer.to_str())
    premises, hypotheses = (pa.chunked_array([column], pa.string()) for column in (texts, texts[::-1]))
    return ours.encode(premises, hypotheses, np.zeros(len(texts), dtype=bool))


def expected(tokenizer: Tokenizer, texts: list[str]) -> list[list[int | None]]:
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    apart = [ids(tokenizer, text) for text in texts]
    return [
        [first, *premise, last, *hypothesis, last] if premise and hypothesis else []
        for premise, hypothesis in zip(apart, apart[::-1], strict=True)
    ]


def rows_of(tokenized: Tokenized) -> list[list[int]]:
    return [tokenized.pairs.input_ids[first:last].tolist() for first, last in pairwise(tokenized.pairs.offsets)]


@pytest.mark.computes
@pytest.mark.parametrize("name", [*CUT, "spaces become tokens"])
@PROPERTY
@given(plain=st.lists(ASCII, min_size=3, max_size=5), others=st.lists(UNICODE, max_size=4))
def test_pairs_have_the_tokens_of_their_whole_texts(name: str, plain: list[str], others: list[str]) -> None:
    tokenizer = CUT[name]() if name in CUT else NOT_CUT[name][0]()
    # Every word in every turn, so that words repeat.
    turned = [" ".join(plain[turn:] + plain[:turn]) for turn in range(len(plain))]
    texts = [*others, *turned]
    assert rows_of(encoded(tokenizer, texts)) == expected(tokenizer, texts)


def test_a_word_that_the_tokenizer_raises_for_rejects_its_texts_alone() -> None:
    known = {word: place for place, word in enumerate(("[CLS]", "[SEP]", "a", "man"))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    texts = ["a man", "man a", "zebra a man", "a man a", "man man", "a a"]
    assert words.repeated_words(pa.array(texts)).values.dictionary.to_pylist() == ["a", "man", "zebra"]
    tokenized = encoded(framed(tokenizer), texts)
    assert tokenized.failed.tolist() == [False, False, True, True, False, False]
    assert rows_of(tokenized)[0] == [0, 2, 3, 1, 2, 2, 1]


@pytest.mark.computes
@pytest.mark.skipif(not REAL_PAIRS, reason="NLI_TEST_PAIRS does not name a folder of pairs")
@pytest.mark.parametrize("name", ["builtin", "albert", "albert with added tokens"])
def test_real_pairs_have_the_tokens_of_their_whole_texts(name: str) -> None:
    found = ds.dataset(sorted(Path(REAL_PAIRS).glob("*.parquet"))).to_table(columns=[PREMISE, HYPOTHESIS])
    texts = pa.chunked_array([*found[PREMISE].chunks, *found[HYPOTHESIS].chunks]).unique()
    some = texts.take(pa.array(range(0, len(texts), 5)))
    assert len(words.repeated_words(some).values) > len(some) > 5000
    assert rows_of(encoded(CUT[name](), some.to_pylist())) == expected(CUT[name](), some.to_pylist())
