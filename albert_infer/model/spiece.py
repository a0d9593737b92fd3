"""Converts a checkpoint's `spiece.model` into a tokenizer.json, and compares the result with sentencepiece."""

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
    """`spiece.model` as a tokenizer.json. It gives the ids of sentencepiece for each of PROBE_TEXTS, or ModelError.

    transformers converts, but with three faults that are corrected here: it always uses id 1 for unknown characters,
    omits byte pieces, and does not avoid pieces of a digit and a comma, as the training of ALBERT did.
    """
    # Imported here: most checkpoints do not need it.
    from sentencepiece import SentencePieceProcessor

    loaded = loaded_by_transformers(files, "AlbertTokenizer", source)
    pieces = SentencePieceProcessor(model_proto=files[SENTENCEPIECE])
    ids = range(pieces.get_piece_size())
    if all(pieces.get_score(number).is_integer() for number in ids):
        # Whole numbers are ranks of merges. Other types of models have logarithms.
        problem = f"{SENTENCEPIECE} is of the type BPE, but an ALBERT needs unigram"
        raise ModelError(f"model {source}", problem, SAVE_AS_JSON)
    parts = json.loads(as_json(loaded))
    parts["model"] |= {
        "unk_id": pieces.unk_id(),
        "byte_fallback": any(pieces.is_byte(number) for number in ids),
        "vocab": [_scored(pieces.id_to_piece(number), pieces.get_score(number)) for number in ids],
    }
    text = json.dumps(parts, ensure_ascii=False)
    texts = [*PROBE_TEXTS, *_of_several_words(pieces)]
    expected_ids = [list(pieces.encode(_normalized(each, settings[TOKENIZER_CONFIG]))) for each in texts]
    converted_ids = token_ids(read_tokenizer(text, source), texts)
    if converted_ids != expected_ids:
        difference = first_difference(texts, converted_ids, expected_ids)
        problem = f"{SENTENCEPIECE} cannot be converted: {difference} by sentencepiece"
        raise ModelError(f"model {source}", problem, SAVE_AS_JSON)
    return text


def _scored(piece: str, score: float) -> tuple[str, float]:
    return piece, score - 100 if piece.endswith(",") and piece[-2:-1].isdigit() else score


def _of_several_words(pieces: Any) -> list[str]:
    """Up to 50 texts of pieces that span words. A converted tokenizer splits words first."""
    all_pieces = (pieces.id_to_piece(number) for number in range(pieces.get_piece_size()))
    return [piece.replace("▁", " ").strip() for piece in all_pieces if "▁" in piece.strip("▁")][:50]


def _normalized(text: str, settings: Mapping[str, object]) -> str:
    """A text as ALBERT's own tokenizer passes it to sentencepiece."""
    if settings.get("remove_space", True):
        text = " ".join(text.split())
    text = text.replace("``", '"').replace("''", '"')
    if not settings.get("keep_accents", False):
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if settings.get("do_lower_case", True) else text
