"""Merges the files of a checkpoint's tokenizer into one tokenizer.json, with the same tokens as in transformers.

`spiece` converts a `spiece.model` without tokenizer.json. The settings files of a tokenizer.json are applied as in
transformers, or refused. No code of the checkpoint is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from albert_infer.common.json_input import JsonObject
from albert_infer.errors import ModelError
from albert_infer.model.known_files import (
    ADDED_TOKENS,
    SENTENCEPIECE,
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    SettingsFiles,
    json_object,
)
from albert_infer.model.spiece import tokenizer_json_of
from albert_infer.model.tokenizer_probes import (
    PROBE_TEXTS,
    as_json,
    first_difference,
    loaded_by_transformers,
    read_tokenizer,
    token_ids,
)

# These classes of transformers use a tokenizer.json unchanged. Other classes build another tokenizer from it.
PLAIN_CLASSES: Final = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
# Keys of tokenizer_config.json that do not change the tokens of a single text without truncation and padding.
INERT: Final = frozenset(
    {
        "backend",
        "chat_template",
        "clean_up_tokenization_spaces",
        "is_local",
        "local_files_only",
        "max_length",
        "model_input_names",
        "model_max_length",
        "name_or_path",
        "pad_to_multiple_of",
        "pad_token_type_id",
        "padding_side",
        "special_tokens_map_file",
        "stride",
        "tokenizer_file",
        "truncation_side",
        "truncation_strategy",
    }
)
SPLIT_SPECIAL_TOKENS: Final = "split_special_tokens"
# The attributes of an added token.
ATTRIBUTES: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class TokenizerText:
    """A tokenizer as one JSON text, with its [CLS] and [SEP]."""

    json: str
    cls_token: str
    sep_token: str


def tokenizer_text(files: Mapping[str, bytes], config: Mapping[str, object], source: str) -> TokenizerText:
    """The tokenizer of these files, by the names in TOKENIZER_FILES, with the config.json `config`.

    Raises ModelError that names the `source`.
    """
    settings = {
        name: json_object(name, files.get(name, b"{}"), source)
        for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
    }
    settings[TOKENIZER_CONFIG].setdefault("tokenizer_class", config.get("tokenizer_class"))
    named = _named_tokens(settings)
    cls_token, sep_token = _token(named, "cls_token", "[CLS]", source), _token(named, "sep_token", "[SEP]", source)
    if TOKENIZER_JSON in files:
        # `tokenizers` parses it: it has limits of its own, and is faster than Python.
        try:
            text = files[TOKENIZER_JSON].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"model {source}", f"{TOKENIZER_JSON} is not UTF-8", "save it again") from error
        text = _with_settings(text, files, settings, source)
    elif SENTENCEPIECE in files:
        text = tokenizer_json_of(files, settings, source)
    else:
        remedy = "save its tokenizer in the same folder"
        raise ModelError(f"model {source}", f"no {TOKENIZER_JSON} and no {SENTENCEPIECE}", remedy)
    return TokenizerText(text, cls_token, sep_token)


def _named_tokens(settings: SettingsFiles) -> JsonObject:
    """The special tokens in the settings. With `added_tokens_decoder` transformers reads no other file."""
    config = settings[TOKENIZER_CONFIG]
    return config if "added_tokens_decoder" in config else {**config, **settings[SPECIAL_TOKENS]}


def _with_settings(text: str, files: Mapping[str, bytes], settings: SettingsFiles, source: str) -> str:
    """`text`, or the tokenizer of transformers with the settings, if its tokens differ.

    Raises ModelError if tokenizer.json and settings contradict each other.
    """
    ours = read_tokenizer(text, source)
    if _settings_change_nothing(ours, settings):
        return text
    model = _model(ours.to_str())
    loaded = loaded_by_transformers(
        files, _class(settings) or ("AlbertTokenizer" if model["type"] == "Unigram" else ""), source
    )
    theirs = loaded.backend_tokenizer
    texts = [*PROBE_TEXTS, *_with_added_tokens(ours, theirs)]
    expected = token_ids(theirs, texts)
    if token_ids(ours, texts) == expected:
        return text
    applied = as_json(loaded)
    if _model(applied) != model or token_ids(read_tokenizer(applied, source), texts) != expected:
        difference = first_difference(texts, token_ids(ours, texts), expected)
        problem = f"{TOKENIZER_JSON} and its settings contradict each other: {difference} in transformers"
        remedy = f'if {TOKENIZER_JSON} is right, save it with {{"tokenizer_class": "PreTrainedTokenizerFast"}} alone'
        raise ModelError(f"model {source}", problem, remedy)
    return applied


def _class(settings: SettingsFiles) -> str:
    """The declared class of transformers; empty without one."""
    return str(settings[TOKENIZER_CONFIG].get("tokenizer_class") or "")


def _settings_change_nothing(tokenizer: Tokenizer, settings: SettingsFiles) -> bool:
    """Whether no setting can change a token. Then transformers, whose import takes seconds, is not needed."""
    if _class(settings) not in {"", *PLAIN_CLASSES}:
        return False
    known = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    relevant = {
        name: value
        for name, value in {**settings[TOKENIZER_CONFIG], **settings[SPECIAL_TOKENS]}.items()
        if name not in INERT and name != "tokenizer_class"
    }
    named = (
        value in (None, {}, []) or (name.endswith("_token") and _is_added(value, known))
        for name, value in relevant.items()
    )
    return not settings[ADDED_TOKENS] and all(named)


def _is_added(token: Any, known: Mapping[str, AddedToken]) -> bool:
    """Whether the tokenizer has this special token of the settings with the same attributes."""
    declared = token if isinstance(token, dict) else {"content": token}
    added = known.get(str(declared.get("content")))
    return added is not None and all(
        declared.get(name, getattr(added, name)) == getattr(added, name) for name in ATTRIBUTES
    )


def _with_added_tokens(*tokenizers: Tokenizer) -> list[str]:
    """Texts with the added tokens, which tokenizers match before they split a text."""
    added = {token.content for each in tokenizers for token in each.get_added_tokens_decoder().values()}
    return [text for token in sorted(added)[:1000] for text in (f"a {token} the", f"a{token}the {token.upper()}")]


def _model(text: str) -> Mapping[str, object]:
    """The vocabulary and the handling of unknown characters in a tokenizer.json."""
    # Reading a score loses its last digit.
    model: Mapping[str, object] = json.loads(text, parse_float=lambda digits: round(float(digits), 6))["model"]
    return model


def _token(settings: Mapping[str, object], key: str, default: str, source: str) -> str:
    token = settings.get(key) or default
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        problem = f"{TOKENIZER_CONFIG} {key} is {settings[key]!r:.100}"
        raise ModelError(f"model {source}", problem, "save its tokenizer again")
    return token
