"""The names and size limits of a checkpoint's files, and a reader for JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from albert_infer.common.json_input import JsonObject, parsed_json
from albert_infer.errors import ModelError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
TOKENIZER_JSON: Final[str] = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
ADDED_TOKENS: Final = "added_tokens.json"
SENTENCEPIECE: Final = "spiece.model"
# Files that may decide a token id. Those that exist are part of the checkpoint's digests.
TOKENIZER_FILES: Final[tuple[str, ...]] = (
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    SENTENCEPIECE,
)
# The limit of all files but vocabularies and weights. A tokenizer_config.json with 6,000 added tokens has 1.2 MB.
MAX_SETTINGS_BYTES: Final = 2 * 2**20
# The largest vocabulary in use, a quarter of a million words in JSON, has 33 MB.
VOCABULARIES: Final = (TOKENIZER_JSON, SENTENCEPIECE)
MAX_VOCABULARY_BYTES: Final = 64 * 2**20

# The settings of a tokenizer, by the names of their files.
SettingsFiles = Mapping[str, JsonObject]


def json_object(name: str, data: bytes, source: str) -> JsonObject:
    """The JSON object in the file `name`. Raises ModelError for other data, and beyond the size limit."""
    try:
        parsed = parsed_json(data, max_bytes=MAX_SETTINGS_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{name} cannot be read: {error}", "save the checkpoint again") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"model {source}", f"{name} is not a JSON object", "save the checkpoint again")
    return parsed
