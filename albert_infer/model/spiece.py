"""A checkpoint's `spiece.model` as a tokenizer.json, held against sentencepiece itself."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from albert_infer.errors import ModelError
from albert_infer.model.known_files import SENTENCEPIECE, TOKENIZER_CONFIG, SettingsFiles
from albert_infer.model.tokenizer_probes import (
    PROBE_TEXTS,
    SAVE_AS_JSON,
    as_json,
    first_difference,
    loaded_by_transformers,
    read_tokenizer,
    token_ids,
)


def tokenizer_json_of(files: Mapping[str, bytes], settings: SettingsFiles, source: str) -> str:
    """`spiece.model` as a tokenizer.json, which gives what sentencepiece gives for each of PROBE_TEXTS.

    transformers makes it, but takes id 1 for unknown characters whatever the model says, leaves bytes out, and forgets
    what ALBERT was trained with: a piece of a digit and a comma is never taken where there is another way.
    """
    # Imported here: most checkpoints do not need it.
    from sentencepiece import SentencePieceProcessor

    loaded = loaded_by_transformers(files, "AlbertTokenizer", source)
    pieces = SentencePieceProcessor(model_proto=files[SENTENCEPIECE])
    ids = range(pieces.get_piece_size())
    if all(pieces.get_score(number).is_integer() for number in ids):
        # Ranks of merges: a model of any other kind has logarithms.
        found, remedy = f"{SENTENCEPIECE} is of the type BPE, an ALBERT's is unigram", SAVE_AS_JSON
        raise ModelError(f"model {source}", found, remedy)
    parts = json.loads(as_json(loaded))
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
        told = f"{SENTENCEPIECE} cannot be converted: {first_difference(texts, made, expected)} by sentencepiece"
        raise ModelError(f"model {source}", told, SAVE_AS_JSON)
    return text


def _scored(piece: str, score: float) -> tuple[str, float]:
    return piece, score - 100 if piece.endswith(",") and piece[-2:-1].isdigit() else score


def _of_several_words(pieces: Any) -> list[str]:
    """Texts of pieces that span words: a converted tokenizer cuts words apart."""
    all_pieces = (pieces.id_to_piece(number) for number in range(pieces.get_piece_size()))
    return [piece.replace("▁", " ").strip() for piece in all_pieces if "▁" in piece.strip("▁")][:50]


def _prepared(text: str, settings: Mapping[str, object]) -> str:
    """A text as ALBERT's own tokenizer gives it to sentencepiece."""
    if settings.get("remove_space", True):
        text = " ".join(text.split())
    text = text.replace("``", '"').replace("''", '"')
    if not settings.get("keep_accents", False):
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if settings.get("do_lower_case", True) else text
