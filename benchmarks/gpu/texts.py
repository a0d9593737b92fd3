"""Pairs of texts for the steps that begin with texts."""

from __future__ import annotations

import pyarrow as pa

from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare import tokenization, validation
from albert_infer.schema import EncodedPairs
from benchmarks import pairs


def unit_texts(count: int) -> pa.Table:
    """`count` pairs of real words, hardly two of them equal."""
    source = pairs.default_source()
    return pairs.recombined(pairs.read_texts(source), 0, count)


def prepared(checkpoint: Checkpoint, texts: pa.Table) -> pa.Table:
    """Texts with their token ids, as the reading stage of a job leaves them."""
    return tokenization.append_tokens(validation.mark_rejected(texts), checkpoint.tokenizer(max_length=None))


def tokenized(checkpoint: Checkpoint, texts: pa.Table) -> EncodedPairs:
    """Texts as the engine takes them."""
    return tokenization.encoded_pairs(prepared(checkpoint, texts))
