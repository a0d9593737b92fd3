"""The files of a checkpoint's tokenizer to one tokenizer.json, which gives the tokens that transformers gives.

A `spiece.model` alone is converted, and held against sentencepiece itself. Settings beside a tokenizer.json are
applied as transformers applies them, or refused. Nothing is executed; knows nothing of pairs.
"""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from albert_infer.common.json_input import parsed_json
from albert_infer.errors import ModelError
from albert_infer.prepare.tokenization import encoded_apart, is_error

TOKENIZER_JSON: Final[str] = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
ADDED_TOKENS: Final = "added_tokens.json"
SENTENCEPIECE: Final = "spiece.model"
# What may decide a token id; whichever of them are there belong to the checkpoint's digests.
TOKENIZER_FILES: Final[tuple[str, ...]] = (
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    SENTENCEPIECE,
)
# Every file but vocabularies and weights: a tokenizer_config.json with 6,000 added tokens has 1.2 MB, all others less.
MAX_SETTINGS_BYTES: Final = 2 * 2**20

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
SAVE_AS_JSON: Final = "save the tokenizer as a tokenizer.json, with PreTrainedTokenizerFast.save_pretrained"
# Each alone and in company: unknown and foreign letters, accents, compatibility forms, spaces, quotes, case, numbers.
# No digit before a comma, where ALBERT's tokenizers differ among themselves; no sign that has no combining class; no
# letter three times in a row, which has two cuts that are as good.
_FRAGMENTS: Final = (
    *("Über", "naïve café", "e\u0301", "Ångström", "ﬁ", "½", "①", "Ⅷ", "ß", "İ", "\u017f", "ﬀ", "Å"),
    *("日本語", "한국어", "Привет", "Ελλάδα", "👩\u200d👧", "☃", "\U0001d11e", "xyzzy", "qwrt", "€", "§", "°"),
    *("two  spaces", "tab\tbed", "no\u00a0break", "wide\u3000space", "line\nbreak", "don't", "``so''", '"so"'),
    *("UPPER lower", "McDonald", "3.14", "1999", "x=y+z", "well-known", "wait;", "!?", "—", "a_b", "a/b", "(c)"),
    *("the", "A man is playing a guitar.", "U.S.A."),
)
_FRAMES: Final = ("{}", " {} ", "a {} the man", "x{}y", "{} {}")
PROBE_TEXTS: Final = tuple(frame.replace("{}", fragment) for fragment in _FRAGMENTS for frame in _FRAMES)


@dataclass(frozen=True)
class TokenizerText:
    """A tokenizer as one JSON text, with its [CLS] and [SEP]."""

    json: str
    cls_token: str
    sep_token: str


def tokenizer_text(files: Mapping[str, bytes], config: Mapping[str, Any], source: str) -> TokenizerText:
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
        text = _converted(files, settings, source)
    else:
        found, remedy = f"no {TOKENIZER_JSON} and no {SENTENCEPIECE}", "save its tokenizer beside it"
        raise ModelError(f"model {source}", found, remedy)
    return TokenizerText(text, cls_token, sep_token)


def json_object(name: str, data: bytes, source: str) -> dict[str, Any]:
    """What the file `name` holds, an object, within limits. Raises ModelError."""
    try:
        parsed = parsed_json(data, max_bytes=MAX_SETTINGS_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{name} cannot be read: {error}", "save the checkpoint again") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"model {source}", f"{name} is not a JSON object", "save the checkpoint again")
    return parsed


def read_tokenizer(text: str, source: str) -> Tokenizer:
    """The tokenizer of this JSON. Raises ModelError where it is none, also where the Rust code panics."""
    try:
        return Tokenizer.from_str(text)
    except BaseException as error:
        if not is_error(error):
            raise
        raise ModelError(f"model {source}", "its tokenizer cannot be read", "save it again") from error


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int] | None]:
    """The ids of each text alone, without those that frame a pair; None where the tokenizer raises."""
    encodings = encoded_apart(lambda some: list(tokenizer.encode_batch(some, add_special_tokens=False)), list(texts))
    return [None if encoding is None else list(encoding.ids) for encoding in encodings]


def _named_tokens(settings: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the settings call the special tokens; with `added_tokens_decoder` transformers reads the one file alone."""
    config = settings[TOKENIZER_CONFIG]
    return config if "added_tokens_decoder" in config else {**config, **settings[SPECIAL_TOKENS]}


def _with_settings(text: str, files: Mapping[str, bytes], settings: Mapping[str, dict[str, Any]], source: str) -> str:
    """`text`, or what transformers makes of it with the settings beside it, where that gives other tokens.

    Raises ModelError where the two contradict each other.
    """
    ours = read_tokenizer(text, source)
    if _settings_say_nothing(ours, settings):
        return text
    model = _model(ours.to_str())
    loaded = _loaded(files, _class(settings) or ("AlbertTokenizer" if model["type"] == "Unigram" else ""), source)
    theirs = loaded.backend_tokenizer
    texts = [*PROBE_TEXTS, *_with_added_tokens(ours, theirs)]
    expected = token_ids(theirs, texts)
    if token_ids(ours, texts) == expected:
        return text
    applied = _as_json(loaded)
    if _model(applied) != model or token_ids(read_tokenizer(applied, source), texts) != expected:
        told = _first_difference(texts, token_ids(ours, texts), expected)
        found = f"{TOKENIZER_JSON} and the settings beside it contradict each other: {told} as transformers loads it"
        remedy = f'where {TOKENIZER_JSON} is right, save it with {{"tokenizer_class": "PreTrainedTokenizerFast"}} alone'
        raise ModelError(f"model {source}", found, remedy)
    return applied


def _class(settings: Mapping[str, dict[str, Any]]) -> str:
    """The class of transformers that the tokenizer is declared to be; empty where nothing is said."""
    return str(settings[TOKENIZER_CONFIG].get("tokenizer_class") or "")


def _settings_say_nothing(tokenizer: Tokenizer, settings: Mapping[str, dict[str, Any]]) -> bool:
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


def _loaded(files: Mapping[str, bytes], class_name: str, source: str) -> Any:
    """The tokenizer as transformers loads it, by the class that it is declared to be."""
    # Imported here: it takes seconds, and most checkpoints do not need it.
    import transformers

    kind = getattr(transformers, class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedTokenizerBase)):
        kind = transformers.PreTrainedTokenizerFast
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            loaded = kind.from_pretrained(folder, local_files_only=True)
            loaded.backend_tokenizer.no_padding()
            loaded.backend_tokenizer.no_truncation()
        except BaseException as error:  # a dozen kinds, panics too; without `sentencepiece` it asks for another package
            if not is_error(error):
                raise
            what = TOKENIZER_JSON if TOKENIZER_JSON in files else SENTENCEPIECE
            found = f"transformers cannot load {what} as {kind.__name__} with the settings beside it"
            raise ModelError(f"model {source}", f"{found} ({type(error).__name__})", SAVE_AS_JSON) from error
    return loaded


def _with_added_tokens(*tokenizers: Tokenizer) -> list[str]:
    """Texts that hold the tokens that are looked for before a text is cut."""
    added = {token.content for each in tokenizers for token in each.get_added_tokens_decoder().values()}
    return [text for token in sorted(added)[:1000] for text in (f"a {token} the", f"a{token}the {token.upper()}")]


def _model(text: str) -> dict[str, Any]:
    """What a tokenizer.json says of vocabulary and unknown characters."""
    # The last digit of a score is not kept when it is read.
    model: dict[str, Any] = json.loads(text, parse_float=lambda digits: round(float(digits), 6))["model"]
    return model


def _as_json(loaded: Any) -> str:
    """The tokenizer as JSON, which has no word for `split_special_tokens`: then they are no tokens of their own."""
    text: str = loaded.backend_tokenizer.to_str()
    if not loaded.split_special_tokens:
        return text
    parts = json.loads(text)
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["special"]]
    return json.dumps(parts, ensure_ascii=False)


def _converted(files: Mapping[str, bytes], settings: Mapping[str, dict[str, Any]], source: str) -> str:
    """`spiece.model` as a tokenizer.json, which gives what sentencepiece gives for each of PROBE_TEXTS.

    transformers makes it, but takes id 1 for unknown characters whatever the model says, leaves bytes out, and forgets
    what ALBERT was trained with: a piece of a digit and a comma is never taken where there is another way.
    """
    # Imported here: most checkpoints do not need it.
    from sentencepiece import SentencePieceProcessor

    loaded = _loaded(files, "AlbertTokenizer", source)
    pieces = SentencePieceProcessor(model_proto=files[SENTENCEPIECE])
    ids = range(pieces.get_piece_size())
    if all(pieces.get_score(number).is_integer() for number in ids):
        # Ranks of merges: a model of any other kind has logarithms.
        found, remedy = f"{SENTENCEPIECE} is of the type BPE, an ALBERT's is unigram", SAVE_AS_JSON
        raise ModelError(f"model {source}", found, remedy)
    parts = json.loads(_as_json(loaded))
    parts["model"] |= {
        "unk_id": pieces.unk_id(),
        "byte_fallback": any(pieces.is_byte(number) for number in ids),
        "vocab": [_scored(pieces.id_to_piece(number), pieces.get_score(number)) for number in ids],
    }
    text = json.dumps(parts, ensure_ascii=False)
    texts = [*PROBE_TEXTS, *_of_several_words(pieces)]
    expected = [list(pieces.encode(_prepared(each, settings[TOKENIZER_CONFIG]))) for each in texts]
    made = token_ids(read_tokenizer(text, source), texts)
    if made != expected:
        told = f"{SENTENCEPIECE} cannot be converted: {_first_difference(texts, made, expected)} by sentencepiece"
        raise ModelError(f"model {source}", told, SAVE_AS_JSON)
    return text


def _scored(piece: str, score: float) -> tuple[str, float]:
    return piece, score - 100 if piece.endswith(",") and piece[-2:-1].isdigit() else score


def _of_several_words(pieces: Any) -> list[str]:
    """Texts of pieces that span words: a converted tokenizer cuts words apart."""
    all_pieces = (pieces.id_to_piece(number) for number in range(pieces.get_piece_size()))
    return [piece.replace("▁", " ").strip() for piece in all_pieces if "▁" in piece.strip("▁")][:50]


def _prepared(text: str, settings: Mapping[str, Any]) -> str:
    """A text as ALBERT's own tokenizer gives it to sentencepiece."""
    if settings.get("remove_space", True):
        text = " ".join(text.split())
    text = text.replace("``", '"').replace("''", '"')
    if not settings.get("keep_accents", False):
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if settings.get("do_lower_case", True) else text


def _first_difference(texts: Sequence[str], ours: Sequence[object], theirs: Sequence[object]) -> str:
    text, our, their = next(each for each in zip(texts, ours, theirs, strict=True) if each[1] != each[2])
    return f"{text!r} becomes {our!r:.100} here and {their!r:.100}"


def _token(settings: Mapping[str, Any], key: str, default: str, source: str) -> str:
    token = settings.get(key) or default
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        found = f"{TOKENIZER_CONFIG} {key} is {settings[key]!r:.100}"
        raise ModelError(f"model {source}", found, "save its tokenizer again")
    return token
