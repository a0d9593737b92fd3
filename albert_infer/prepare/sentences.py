"""Splits texts into sentences, and returns where each sentence begins and ends.

sentencex splits, with its rules for English. There is no setting for the language: English rules also end sentences at
the marks of other scripts, and `benchmarks/sentences.py` measures both. A language that marks no end, such as Thai, is
not split. Knows nothing of tokens, files or devices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencex
from numpy.typing import NDArray

from albert_infer.prepare.tokenization import encoded_apart
from albert_infer.prepare.validation import BLANK
from albert_infer.prepare.windows import ranges

# Other versions may split a text differently.
SPLITTER: Final = f"sentencex {version('sentencex')}"
LANGUAGE: Final = "en"
# In characters. A longer text is split part by part: the library's time grows with the square of the characters of a
# paragraph that has many quotation marks, or many sentences in other scripts.
PART: Final = 8_192
# A boundary is used if the library has seen this number of characters after it, or the end of the paragraph.
CONTEXT: Final = 256
# In characters. A checkpoint reads only the first few thousand characters of a sentence.
MAX_SENTENCE: Final = 4 * PART
# Why a text fails, for the rejection of its row. Has nothing of the library's message, which may quote the text.
FAILED_DETAIL: Final = (
    f"the sentence splitter raised an error for a text, or found no end of a sentence within {MAX_SENTENCE} characters"
)
# Whitespace and control characters. Invisible characters, such as the tags that end an emoji of a flag, are not among
# them.
_TRIMMED: Final = "".join(map(chr, (*range(33), *range(0x7F, 0xA1), 0x1680, *range(0x2000, 0x200B)))) + (
    "\u2028\u2029\u202f\u205f\u3000"
)
# The library reads these as letters, and raises an error for some texts with them.
_WIDE_SPACE: Final = re.compile(r"[^\S\x00-\x7f]")


@dataclass(frozen=True)
class SentenceBounds:
    """The sentences of R texts. Text r has the sentences from `offsets[r]` to before `offsets[r + 1]`.

    `starts` and `ends` are indices of characters of the text: sentence s is `text[starts[s]:ends[s]]`. Sentences are in
    order, do not overlap, are not blank, and have no whitespace at their edges. All characters between them are blank.
    A text that is not blank has a sentence, unless it `failed`: the library raised an error for it, or found no end of
    a sentence within MAX_SENTENCE characters. A text that failed has no sentences.
    """

    offsets: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    failed: NDArray[np.bool_]
    # Each distinct text's sentences once, and the index of each sentence among them.
    distinct: pa.Array
    codes: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of sentences of each text (R)."""
        return np.diff(self.offsets)

    def texts(self) -> pa.Array:
        """The sentences as strings, in order."""
        return self.distinct.take(pa.array(self.codes))


class _LongSentenceError(Exception):
    pass


def split_texts(texts: pa.ChunkedArray | pa.Array) -> SentenceBounds:
    """The sentences of `texts`, which are strings without nulls. Each distinct text is split once.

    Takes time that is proportional to the characters of the texts.
    """
    rows = texts.dictionary_encode()
    rows = rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows
    distinct = rows.dictionary.to_pylist()
    # One text a call, because a call that fails is repeated for each half of its texts.
    bounds = [encoded_apart(_split_all, [text])[0] for text in distinct]
    candidates = [part or [] for part in bounds]
    starts, ends = _flat(candidates)
    counts = np.fromiter(map(len, candidates), np.int64, len(candidates))
    sentences = pa.array(
        [text[start:end] for text, spans in zip(distinct, candidates, strict=True) for start, end in spans],
        pa.string(),
    )
    visible = ~pc.match_substring_regex(sentences, BLANK).to_numpy(zero_copy_only=False)
    kept = np.concatenate([[0], np.cumsum(visible)])
    ends_of_text = np.cumsum(counts)
    first, last = kept[ends_of_text - counts], kept[ends_of_text]
    indices = rows.indices.to_numpy()
    lengths = (last - first)[indices]
    codes = ranges(first[indices], lengths)
    failed = np.fromiter((part is None for part in bounds), np.bool_, len(bounds))[indices]
    return SentenceBounds(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        starts=starts[visible][codes],
        ends=ends[visible][codes],
        failed=failed,
        distinct=sentences.filter(pa.array(visible)),
        codes=codes,
    )


def _flat(spans: list[list[tuple[int, int]]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    total = sum(map(len, spans))
    flat = np.fromiter((bound for text in spans for span in text for bound in span), np.int32, 2 * total)
    return flat[0::2], flat[1::2]


def _split_all(texts: list[str]) -> list[list[tuple[int, int]]]:
    return [_split(text) for text in texts]


def _split(text: str) -> list[tuple[int, int]]:
    """Where the sentences of `text` begin and end, without whitespace at their edges."""
    plain = (text if text.isascii() else _WIDE_SPACE.sub(" ", text)).rstrip(_TRIMMED)
    spans: list[tuple[int, int]] = []
    begin, size = 0, PART
    while begin < len(plain):
        part = plain[begin : begin + size]
        boundaries = sentencex.get_sentence_boundaries(LANGUAGE, part)
        stop = len(part) if begin + size >= len(plain) else _last_sure(boundaries, len(part))
        if stop == 0 and size >= MAX_SENTENCE:
            raise _LongSentenceError
        spans += _trimmed(part, boundaries, stop, begin)
        begin, size = begin + stop, PART if stop else 2 * size
    return spans


def _last_sure(boundaries: list[dict[str, int]], size: int) -> int:
    """The last boundary that the text after this part cannot change: the last blank line, or sentence; 0 for none."""
    lines = (each["end_index"] for each in reversed(boundaries) if each["is_paragraph_break"])
    sentences = (each["start_index"] for each in reversed(boundaries) if each["start_index"] <= size - CONTEXT)
    return next(lines, 0) or next(sentences, 0)


def _trimmed(part: str, boundaries: list[dict[str, int]], stop: int, begin: int) -> list[tuple[int, int]]:
    """The sentences before `stop` that have other characters than whitespace, moved by `begin`.

    Raises ValueError if such a character is in no sentence.
    """
    spans, done = [], 0
    for each in boundaries:
        start, end = each["start_index"], each["end_index"]
        if end > stop:
            break
        if start != done and part[done:start].strip(_TRIMMED):
            raise ValueError("a character of the text is in no sentence")
        done = end
        sentence = part[start:end].rstrip(_TRIMMED)
        if visible := len(sentence.lstrip(_TRIMMED)):
            spans.append((begin + start + len(sentence) - visible, begin + start + len(sentence)))
    if part[done:stop].strip(_TRIMMED):
        raise ValueError("a character of the text is in no sentence")
    return spans
