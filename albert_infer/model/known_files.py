"""The files that a checkpoint may have: their names, the most bytes of each, and what a JSON one holds."""

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
# Vocabularies: the largest in use, of a quarter of a million words in JSON, has 33 MB.
VOCABULARIES: Final = (TOKENIZER_JSON, SENTENCEPIECE)
MAX_VOCABULARY_BYTES: Final = 64 * 2**20

# The settings beside a tokenizer, by the names of their files.
SettingsFiles = Mapping[str, JsonObject]


def json_object(name: str, data: bytes, source: str) -> JsonObject:
    """What the file `name` holds, an object, within limits. Raises ModelError."""
    try:
        parsed = parsed_json(data, max_bytes=MAX_SETTINGS_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{name} cannot be read: {error}", "save the checkpoint again") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"model {source}", f"{name} is not a JSON object", "save the checkpoint again")
    return parsed
