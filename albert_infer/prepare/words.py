"""Texts to pieces that a tokenizer can be given alone: words where that changes no token, else whole texts.

A batch of pairs has far fewer distinct words than words, and a tokenizer's time goes by what it is given. Knows of a
tokenizer what its JSON says, never its name.
"""

from __future__ import annotations

import json
import re
from typing import Final, Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

# How often a word must occur on average. A word given alone costs as much as two to three within texts.
LEAST_REPETITIONS: Final = 3
# ASCII without whitespace and control characters.
_PLAIN: Final = re.compile("[!-~]+")
# Of ASCII text these change, drop or keep each character whatever stands beside it.
_CHARACTERWISE: Final = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
# These cut at whitespace and drop it.
_DROPS_WHITESPACE: Final = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


class Step(TypedDict):
    """A part of a tokenizer, as its JSON has it: of the keys beside `type` each type has some."""

    type: str
    normalizers: NotRequired[list[Step]]
    pretokenizers: NotRequired[list[Step]]
    pattern: NotRequired[dict[str, str]]
    content: NotRequired[str]
    prepend_scheme: NotRequired[str]
    single: NotRequired[list[dict[str, object]]]


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of every ASCII text are those of its words, cut at each space, one after the other.

    Special tokens of the frame aside. False wherever a part of the tokenizer is not known to leave it so. Of other
    texts nothing is said: a combining mark, for one, clings to a space before it.
    """
    parts = json.loads(tokenizer.to_str())
    return (
        _keeps_spaces(tokenizer, _steps(parts["normalizer"], "normalizers"))
        and _drops_spaces(_steps(parts["pre_tokenizer"], "pretokenizers"))
        and all(_is_within_a_word(tokenizer, token["content"]) for token in parts["added_tokens"])
        and _keeps_a_text_once(parts["post_processor"])
        # Dropout is random.
        and not parts["model"].get("dropout")
    )


def whole(texts: pa.StringArray) -> pa.ListArray:
    """Each text as its only piece: lists of dictionary-encoded strings, as `repeated_words` gives them."""
    return _encoded(_single(texts))


def repeated_words(texts: pa.StringArray) -> pa.ListArray:
    """The words of each ASCII text, cut at each space, and any other text whole; all whole if words repeat too little.

    For distinct texts, and for a tokenizer that `splits_at_spaces`.
    """
    words = _encoded(pc.if_else(pc.string_is_ascii(texts), pc.split_pattern(texts, " "), _single(texts)))
    pays = len(words.values) >= LEAST_REPETITIONS * len(words.values.dictionary)
    return words if pays else whole(texts)


def _single(texts: pa.StringArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)


def _encoded(pieces: pa.ListArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pieces.offsets, pieces.values.dictionary_encode())


def _steps(part: Step | None, key: Literal["normalizers", "pretokenizers"]) -> list[Step]:
    """The steps of a normalizer or pre-tokenizer; a sequence within a sequence is a step, of type Sequence."""
    if part is None:
        return []
    return part[key] if part["type"] == "Sequence" else [part]


def _keeps_spaces(tokenizer: Tokenizer, steps: list[Step]) -> bool:
    """Whether the normalizers turn ASCII texts that are joined by a space into what they make of each, so joined."""
    # What it makes of a character is its own table's affair: not always ASCII, so nothing may follow, and not always
    # a space for a space, so it is asked.
    if steps and steps[-1]["type"] == "Precompiled":
        if tokenizer.normalizer.normalize_str(" ") != " ":
            return False
        steps = steps[:-1]
    return all(step["type"] in _CHARACTERWISE or _replaces_within_a_word(step) for step in steps)


def _replaces_within_a_word(step: Step) -> bool:
    if step["type"] != "Replace" or "String" not in step["pattern"]:
        return False
    return bool(_PLAIN.fullmatch(step["pattern"]["String"]) and _PLAIN.fullmatch(step["content"]))


def _drops_spaces(steps: list[Step]) -> bool:
    """Whether the first pre-tokenizer leaves no space to the later ones, and those look at one piece at a time."""
    if not steps or steps[0]["type"] not in _DROPS_WHITESPACE:
        return False
    # With `first` the piece at the beginning of a text is another than the same piece later.
    return all(
        step["type"] in _DROPS_WHITESPACE or (step["type"] == "Metaspace" and step["prepend_scheme"] != "first")
        for step in steps
    )


def _is_within_a_word(tokenizer: Tokenizer, added: str) -> bool:
    """Whether a token that is looked for before words are cut can only lie within one, as it is and normalized."""
    # A space in the token itself is still there once normalized: the normalizers keep spaces.
    return bool(_PLAIN.fullmatch(tokenizer.normalizer.normalize_str(added) if tokenizer.normalizer else added))


def _keeps_a_text_once(post_processor: Step | None) -> bool:
    """Whether a text's tokens come out once: a template may name its text several times."""
    if post_processor is None or post_processor["type"] == "BertProcessing":
        return True
    template = post_processor.get("single", ()) if post_processor["type"] == "TemplateProcessing" else ()
    return sum("Sequence" in piece for piece in template) == 1
