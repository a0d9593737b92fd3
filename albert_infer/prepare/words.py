"""Cuts texts into pieces that can be tokenized alone: words if this changes no token, else whole texts.

A batch of pairs repeats most of its words, and each distinct word is tokenized once. Decides by the tokenizer's JSON,
never by its name.
"""

from __future__ import annotations

import json
import re
from typing import Final, Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

# How often a word must occur on average. A word alone costs as much as two to three words within texts.
LEAST_REPETITIONS: Final = 3
# ASCII without whitespace and control characters.
_PLAIN: Final = re.compile("[!-~]+")
# Normalizers that treat each character of ASCII text without regard to its neighbours.
_CHARACTERWISE: Final = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
# Pre-tokenizers that cut at whitespace and drop it.
_DROPS_WHITESPACE: Final = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


class Step(TypedDict):
    """A part of a tokenizer in its JSON. Each type has some of the optional keys."""

    type: str
    normalizers: NotRequired[list[Step]]
    pretokenizers: NotRequired[list[Step]]
    pattern: NotRequired[dict[str, str]]
    content: NotRequired[str]
    prepend_scheme: NotRequired[str]
    single: NotRequired[list[dict[str, object]]]


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of every ASCII text are the tokens of its words, when it is cut at each space.

    Ignores the special tokens of a pair. False if a part of the tokenizer is not known to have this property. Says
    nothing of texts that are not ASCII: a combining mark, for example, joins a space before it.
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
    """Each text as one piece. The result is lists of dictionary-encoded strings, as of `repeated_words`."""
    return _encoded(_single(texts))


def repeated_words(texts: pa.StringArray) -> pa.ListArray:
    """The words of each ASCII text, cut at each space. Other texts stay whole, and all do if words repeat too little.

    `texts` must be distinct, and the tokenizer must be one that `splits_at_spaces`.
    """
    words = _encoded(pc.if_else(pc.string_is_ascii(texts), pc.split_pattern(texts, " "), _single(texts)))
    pays = len(words.values) >= LEAST_REPETITIONS * len(words.values.dictionary)
    return words if pays else whole(texts)


def _single(texts: pa.StringArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)


def _encoded(pieces: pa.ListArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pieces.offsets, pieces.values.dictionary_encode())


def _steps(part: Step | None, key: Literal["normalizers", "pretokenizers"]) -> list[Step]:
    """The steps of a normalizer or pre-tokenizer. A nested sequence is one step of type Sequence."""
    if part is None:
        return []
    return part[key] if part["type"] == "Sequence" else [part]


def _keeps_spaces(tokenizer: Tokenizer, steps: list[Step]) -> bool:
    """Whether two ASCII texts with a space between them are normalized as each of them alone."""
    # The table of a `Precompiled` step decides what a character becomes. The result may not be ASCII, so the step must
    # be the last one. A space may not stay a space, so this is tested.
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
    """Whether the first pre-tokenizer drops all spaces, and the later ones work on one piece at a time."""
    if not steps or steps[0]["type"] not in _DROPS_WHITESPACE:
        return False
    # With `first`, a piece at the beginning of a text differs from the same piece later.
    return all(
        step["type"] in _DROPS_WHITESPACE or (step["type"] == "Metaspace" and step["prepend_scheme"] != "first")
        for step in steps
    )


def _is_within_a_word(tokenizer: Tokenizer, added: str) -> bool:
    """Whether an added token, which the tokenizer searches before it cuts words, can only occur inside a word."""
    # The normalizers keep spaces, so the normalized token has a space if the token has one.
    return bool(_PLAIN.fullmatch(tokenizer.normalizer.normalize_str(added) if tokenizer.normalizer else added))


def _keeps_a_text_once(post_processor: Step | None) -> bool:
    """Whether the result has the tokens of a text once. A template may repeat its text."""
    if post_processor is None or post_processor["type"] == "BertProcessing":
        return True
    template = post_processor.get("single", ()) if post_processor["type"] == "TemplateProcessing" else ()
    return sum("Sequence" in piece for piece in template) == 1
