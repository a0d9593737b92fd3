"""Compares the tokens of two tokenizers: this package's, and that of transformers, on probe texts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from albert_infer.errors import ModelError
from albert_infer.model.known_files import SENTENCEPIECE, TOKENIZER_JSON
from albert_infer.prepare.tokenization import encoded_apart, is_error

SAVE_AS_JSON: Final = "save the tokenizer as a tokenizer.json, with PreTrainedTokenizerFast.save_pretrained"
# Each alone and within text: unknown and foreign letters, accents, compatibility forms, spaces, quotes, case, numbers.
# No digit before a comma, where ALBERT's tokenizers differ from each other; no sign without a combining class; no
# letter three times in a row, which has two equally good splits.
_FRAGMENTS: Final = (
    *("Über", "naïve café", "e\u0301", "Ångström", "ﬁ", "½", "①", "Ⅷ", "ß", "İ", "\u017f", "ﬀ", "Å"),
    *("日本語", "한국어", "Привет", "Ελλάδα", "👩\u200d👧", "☃", "\U0001d11e", "xyzzy", "qwrt", "€", "§", "°"),
    *("two  spaces", "tab\tbed", "no\u00a0break", "wide\u3000space", "line\nbreak", "don't", "``so''", '"so"'),
    *("UPPER lower", "McDonald", "3.14", "1999", "x=y+z", "well-known", "wait;", "!?", "—", "a_b", "a/b", "(c)"),
    *("the", "A man is playing a guitar.", "U.S.A."),
)
_FRAMES: Final = ("{}", " {} ", "a {} the man", "x{}y", "{} {}")
PROBE_TEXTS: Final = tuple(frame.replace("{}", fragment) for fragment in _FRAGMENTS for frame in _FRAMES)


def read_tokenizer(text: str, source: str) -> Tokenizer:
    """The tokenizer of this JSON. Raises ModelError for invalid JSON, also if the Rust code panics."""
    try:
        return Tokenizer.from_str(text)
    except BaseException as error:
        if not is_error(error):
            raise
        raise ModelError(f"model {source}", "its tokenizer cannot be read", "save it again") from error


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int] | None]:
    """The ids of each text, without [CLS] and [SEP]; None for a text on which the tokenizer raises."""
    encodings = encoded_apart(lambda batch: list(tokenizer.encode_batch(batch, add_special_tokens=False)), list(texts))
    return [None if encoding is None else list(encoding.ids) for encoding in encodings]


def loaded_by_transformers(files: Mapping[str, bytes], class_name: str, source: str) -> Any:
    """The tokenizer as transformers loads it, with the declared class."""
    # Imported here, because the import takes seconds, and most checkpoints do not need it.
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
        except BaseException as error:  # many types, and panics; `sentencepiece` may be missing
            if not is_error(error):
                raise
            file = TOKENIZER_JSON if TOKENIZER_JSON in files else SENTENCEPIECE
            problem = f"transformers cannot load {file} as {kind.__name__} with its settings"
            raise ModelError(f"model {source}", f"{problem} ({type(error).__name__})", SAVE_AS_JSON) from error
    return loaded


def as_json(loaded: Any) -> str:
    """The tokenizer as JSON. JSON has no `split_special_tokens`, so special tokens are left out if it is set."""
    text: str = loaded.backend_tokenizer.to_str()
    if not loaded.split_special_tokens:
        return text
    parts = json.loads(text)
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["special"]]
    return json.dumps(parts, ensure_ascii=False)


def first_difference(texts: Sequence[str], ours: Sequence[object], theirs: Sequence[object]) -> str:
    """A description of the first text with different tokens."""
    text, our, their = next(each for each in zip(texts, ours, theirs, strict=True) if each[1] != each[2])
    return f"{text!r} becomes {our!r:.100} here, and {their!r:.100}"
