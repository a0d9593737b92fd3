"""Turns pairs into token ids: `[CLS] premise [SEP] hypothesis [SEP]`, truncated, never padded.

A pair is truncated to the maximum length, or to its first window. In the second case the tokens of the whole premise
are returned too, for the other windows.

Each call tokenizes each distinct text once, or each distinct word where that gives the same tokens. This module adds
the special tokens, truncates, and sets segment ids, so no tokenizer setting (padding side, `model_input_names`) can
change them. Knows nothing of files or devices.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import Tokenizer

from albert_infer.errors import ModelError
from albert_infer.prepare import words
from albert_infer.prepare.framing import PairFrame, Tokenized
from albert_infer.prepare.ragged import Ragged
from albert_infer.prepare.windows import MAX_WINDOWS, LongPremises
from albert_infer.schema import (
    DETAIL,
    HYPOTHESIS,
    INPUT_IDS,
    LONG_PREMISE,
    N_TOKENS,
    N_WINDOWS,
    PREMISE,
    PREMISE_TOKENS,
    REJECTION,
    TRUNCATED,
    EncodedPairs,
    LongPremiseRule,
    Rejection,
)


class PairTokenizer:
    """A tokenizer, and the frame of its pairs."""

    def __init__(
        self,
        tokenizer_json: str,
        *,
        cls_token: str,
        sep_token: str,
        max_length: int,
        long_premise: LongPremiseRule = "truncate",
    ) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.frame = PairFrame(
            cls_id=self._id_of(cls_token),
            sep_id=self._id_of(sep_token),
            max_length=max_length,
            truncation="longest_first" if long_premise == "longest_first" else "premise",
            with_windows=long_premise == "window",
        )
        self._pieces = words.repeated_words if words.splits_at_spaces(self._tokenizer) else words.whole

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def unknown_id(self) -> int | None:
        """The id of texts that the vocabulary does not have; None for a tokenizer without such an id."""
        model = json.loads(self._tokenizer.to_str())["model"]
        token = model.get("unk_token")
        known: int | None = model.get("unk_id") if token is None else self._tokenizer.token_to_id(token)
        return known

    def frames_pairs_as_albert(self) -> bool:
        """Whether the checkpoint's own pair template gives the same ids and segments as this class.

        Raises ModelError for a tokenizer that cannot encode the texts `a` and `b`.
        """
        encodings = encoded_apart(self._encode_batch, ["a", "b"])
        if None in encodings:
            remedy = "give it an unknown token, or use the tokenizer that the checkpoint was trained with"
            raise ModelError("the checkpoint's tokenizer", "it raises an error for the texts `a` and `b`", remedy)
        premise, hypothesis = (encoding.ids for encoding in encodings if encoding)
        framed = self._tokenizer.encode("a", "b")
        expected = [self.frame.cls_id, *premise, self.frame.sep_id, *hypothesis, self.frame.sep_id]
        segments = [0] * (len(premise) + 2) + [1] * (len(hypothesis) + 1)
        return framed.ids == expected and framed.type_ids == segments

    def encode(self, premises: pa.ChunkedArray, hypotheses: pa.ChunkedArray, skip: NDArray[np.bool_]) -> Tokenized:
        """The pairs as tokens, in order. Rows with `skip` (R, bool) get no tokens and no outcome.

        Both columns must be `string` without nulls.
        """
        texts = self.tokenized(pa.chunked_array([*premises.chunks, *hypotheses.chunks], pa.string()))
        return self.frame.framed(texts.take(slice(len(premises))), texts.take(slice(len(premises), None)), skip)

    def tokenized(self, texts: pa.ChunkedArray) -> Ragged:
        """The tokens of each text, without special tokens. The column must be `string` without nulls."""
        rows = texts.dictionary_encode().combine_chunks()
        pieces = self._pieces(rows.dictionary)
        distinct = self._tokenize_apart(pieces.values.dictionary.to_pylist())
        return (
            distinct.take(pieces.values.indices.to_numpy())
            .joined(pieces.offsets.to_numpy())
            .take(rows.indices.to_numpy())
        )

    def _tokenize_apart(self, texts: list[str]) -> Ragged:
        encodings = encoded_apart(self._encode_batch, texts)
        lengths = np.fromiter((len(encoding or ()) for encoding in encodings), np.int64, len(encodings))
        failed = np.fromiter((encoding is None for encoding in encodings), np.bool_, len(encodings))
        total = int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings if encoding), np.int32, total)
        return Ragged(ids, np.cumsum(lengths) - lengths, lengths, failed)

    def _encode_batch(self, texts: list[str]) -> list[Any]:
        encodings: list[Any] = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return encodings

    def _id_of(self, token: str) -> int:
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ModelError(
                "the checkpoint's tokenizer", f"it has no token {token}", "use the tokenizer it was trained with"
            )
        return int(token_id)


def encoded_apart(encode_batch: Callable[[list[str]], list[Any]], texts: list[str]) -> list[Any | None]:
    """The encodings of `texts`, with None for each text that makes `encode_batch` raise an error.

    Bisects a batch that fails. Raises MemoryError, because no text causes it, and exceptions that are not errors, such
    as KeyboardInterrupt.
    """
    try:
        return list(encode_batch(texts))
    except MemoryError:
        raise
    except BaseException as error:
        if not is_error(error):
            raise
        if len(texts) <= 1:
            return [None] * len(texts)
    half = len(texts) // 2
    return encoded_apart(encode_batch, texts[:half]) + encoded_apart(encode_batch, texts[half:])


def is_error(raised: BaseException) -> bool:
    """Whether this is an error of a tokenizer. A panic in its Rust code is not a subclass of Exception."""
    return isinstance(raised, Exception) or type(raised).__name__ == "PanicException"


def append_tokens(pairs: pa.Table, tokenizer: PairTokenizer) -> pa.Table:
    """Add token ids, segment lengths, token counts and `truncated` to the result of `validation.mark_rejected`.

    If long premises are cut into windows, adds `n_windows` and the whole of these premises too. `n_tokens` is then the
    sum over all windows, and counts shared tokens in each. All rows stay, in order. Rejected rows get no tokens.
    Rejects a row without room for one premise token, with a text without tokens, or with an error of the tokenizer.
    """
    rejected = pairs[REJECTION].is_valid().to_numpy()
    encoded = tokenizer.encode(pairs[PREMISE], pairs[HYPOTHESIS], rejected)
    room = f"no room for one token of the premise within {tokenizer.frame.max_length} tokens"
    for rows, reason, detail in (
        (~encoded.fits, Rejection.HYPOTHESIS_TOO_LONG, room),
        (encoded.blank, Rejection.EMPTY_TEXT, "a text has no tokens"),
        # Without the tokenizer's own message, which may quote the text.
        (encoded.failed, Rejection.TOKENIZER_FAILED, "the tokenizer raised an error for a text"),
    ):
        pairs = with_rejection(pairs, rows, reason, detail)
    tokens = encoded.pairs
    # int32 offsets: a unit has far fewer than 2³¹ tokens.
    ids = pa.ListArray.from_arrays(pa.array(tokens.offsets, pa.int32()), pa.array(tokens.input_ids))
    # A row with too many windows is rejected: only its first window is computed.
    computed = np.where(encoded.n_windows > MAX_WINDOWS, 1, encoded.n_windows)
    pairs = (
        pairs.append_column(INPUT_IDS, ids)
        .append_column(PREMISE_TOKENS, pa.array(tokens.premise_segment_tokens))
        .append_column(N_TOKENS, pa.array(tokens.lengths * computed, pa.int32()))
        .append_column(TRUNCATED, pa.array(encoded.truncated))
    )
    if not tokenizer.frame.with_windows:
        return pairs
    premises = encoded.long_premises
    whole = pa.LargeListArray.from_arrays(pa.array(premises.offsets), pa.array(premises.ids))
    return pairs.append_column(LONG_PREMISE, whole).append_column(N_WINDOWS, pa.array(encoded.n_windows, pa.int32()))


def encoded_pairs(prepared: pa.Table) -> EncodedPairs:
    """The token columns of `prepared` as arrays, without copying where the table is one chunk."""
    return EncodedPairs(*_ids_and_offsets(prepared[INPUT_IDS]), prepared[PREMISE_TOKENS].to_numpy())


def long_premises(prepared: pa.Table) -> LongPremises:
    """The whole premises of the pairs in windows, as arrays."""
    return LongPremises(*_ids_and_offsets(prepared[LONG_PREMISE]))


def with_rejection(pairs: pa.Table, rows: NDArray[np.bool_], reason: Rejection, detail: str) -> pa.Table:
    """`pairs` with `rows` (R, bool) rejected for one reason. All other rows stay as they are."""
    mask = pa.array(rows)
    pairs = _set(pairs, REJECTION, pc.if_else(mask, str(reason), pairs[REJECTION]))
    return _set(pairs, DETAIL, pc.if_else(mask, detail, pairs[DETAIL]))


def _ids_and_offsets(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return lists.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]


def _set(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
