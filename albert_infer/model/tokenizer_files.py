"""The files of a checkpoint's tokenizer to one tokenizer.json, which gives the tokens that transformers gives.

A `spiece.model` alone is converted, by `spiece`. Settings beside a tokenizer.json are applied as transformers applies
them, or refused. Nothing is executed; knows nothing of pairs.
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

# A tokenizer.json is taken as it is by these classes of transformers; others make a tokenizer of their own from it.
PLAIN_CLASSES: Final = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
# Of tokenizer_config.json: what changes no token of a text given alone, uncut and unpadded.
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
# What an added token has beside its text.
ATTRIBUTES: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class TokenizerText:
    """A tokenizer as one JSON text, with its [CLS] and [SEP]."""

    json: str
    cls_token: str
    sep_token: str


def tokenizer_text(files: Mapping[str, bytes], config: Mapping[str, object], source: str) -> TokenizerText:
    """The tokenizer that these files are, by the names of TOKENIZER_FILES, beside this config.json.

    Raises ModelError, which names the `source`.
    """
    settings = {
        name: json_object(name, files.get(name, b"{}"), source)
        for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
    }
    settings[TOKENIZER_CONFIG].setdefault("tokenizer_class", config.get("tokenizer_class"))
    named = _named_tokens(settings)
    cls_token, sep_token = _token(named, "cls_token", "[CLS]", source), _token(named, "sep_token", "[SEP]", source)
    if TOKENIZER_JSON in files:
        # Parsed by `tokenizers` alone: within limits of its own, and faster than Python.
        try:
            text = files[TOKENIZER_JSON].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"model {source}", f"{TOKENIZER_JSON} is not UTF-8", "save it again") from error
        text = _with_settings(text, files, settings, source)
    elif SENTENCEPIECE in files:
        text = tokenizer_json_of(files, settings, source)
    else:
        found, remedy = f"no {TOKENIZER_JSON} and no {SENTENCEPIECE}", "save its tokenizer beside it"
        raise ModelError(f"model {source}", found, remedy)
    return TokenizerText(text, cls_token, sep_token)


def _named_tokens(settings: SettingsFiles) -> JsonObject:
    """What the settings call the special tokens; with `added_tokens_decoder` transformers reads the one file alone."""
    config = settings[TOKENIZER_CONFIG]
    return config if "added_tokens_decoder" in config else {**config, **settings[SPECIAL_TOKENS]}


def _with_settings(text: str, files: Mapping[str, bytes], settings: SettingsFiles, source: str) -> str:
    """`text`, or what transformers makes of it with the settings beside it, where that gives other tokens.

    Raises ModelError where the two contradict each other.
    """
    ours = read_tokenizer(text, source)
    if _settings_say_nothing(ours, settings):
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
        told = first_difference(texts, token_ids(ours, texts), expected)
        found = f"{TOKENIZER_JSON} and the settings beside it contradict each other: {told} as transformers loads it"
        remedy = f'where {TOKENIZER_JSON} is right, save it with {{"tokenizer_class": "PreTrainedTokenizerFast"}} alone'
        raise ModelError(f"model {source}", found, remedy)
    return applied


def _class(settings: SettingsFiles) -> str:
    """The class of transformers that the tokenizer is declared to be; empty where nothing is said."""
    return str(settings[TOKENIZER_CONFIG].get("tokenizer_class") or "")


def _settings_say_nothing(tokenizer: Tokenizer, settings: SettingsFiles) -> bool:
    """Whether no setting can change a token: then transformers, which takes seconds, need not be asked."""
    if _class(settings) not in {"", *PLAIN_CLASSES}:
        return False
    known = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    says = {
        name: value
        for name, value in {**settings[TOKENIZER_CONFIG], **settings[SPECIAL_TOKENS]}.items()
        if name not in INERT and name != "tokenizer_class"
    }
    named = (
        value in (None, {}, []) or (name.endswith("_token") and _is_one_of(value, known))
        for name, value in says.items()
    )
    return not settings[ADDED_TOKENS] and all(named)


def _is_one_of(token: Any, known: Mapping[str, AddedToken]) -> bool:
    """Whether a special token of the settings, a text or its attributes, is one that the tokenizer has like this."""
    said = token if isinstance(token, dict) else {"content": token}
    there = known.get(str(said.get("content")))
    return there is not None and all(
        said.get(name, getattr(there, name)) == getattr(there, name) for name in ATTRIBUTES
    )


def _with_added_tokens(*tokenizers: Tokenizer) -> list[str]:
    """Texts that hold the tokens that are looked for before a text is cut."""
    added = {token.content for each in tokenizers for token in each.get_added_tokens_decoder().values()}
    return [text for token in sorted(added)[:1000] for text in (f"a {token} the", f"a{token}the {token.upper()}")]


def _model(text: str) -> Mapping[str, object]:
    """What a tokenizer.json says of vocabulary and unknown characters."""
    # The last digit of a score is not kept when it is read.
    model: Mapping[str, object] = json.loads(text, parse_float=lambda digits: round(float(digits), 6))["model"]
    return model


def _token(settings: Mapping[str, object], key: str, default: str, source: str) -> str:
    token = settings.get(key) or default
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        found = f"{TOKENIZER_CONFIG} {key} is {settings[key]!r:.100}"
        raise ModelError(f"model {source}", found, "save its tokenizer again")
    return token
