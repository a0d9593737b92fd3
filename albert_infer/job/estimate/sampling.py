"""A bounded sample of an input: some rows from all over it, validated and tokenized as a run would do.

The same seed takes the same rows of the same files. Where the input is no larger than the sample, every row is read.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.job.estimate.expanding import pair_lengths
from albert_infer.prepare import tokenization, validation
from albert_infer.prepare.parts import append_parts
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.prepare.windows import MAX_WINDOWS
from albert_infer.read.decoding import read_pairs
from albert_infer.read.footers import RowRange, UnreadableError
from albert_infer.read.planning import Unit
from albert_infer.read.survey import InputFile
from albert_infer.schema import (
    HYPOTHESIS,
    N_TOKENS,
    N_WINDOWS,
    PREMISE,
    REJECTION,
    TRUNCATED,
    Expansion,
    PairColumns,
    Rejection,
)
from albert_infer.storage import Folder, ObjectPin

SEED: Final = 2026
# Slices from all over the input; more of them are more requests, fewer tell less of an input that is sorted.
SLICES: Final = 64
# Identical pairs are counted within a unit, because the engine computes them once there. So some units are read whole.
WHOLE_UNITS: Final = 4
MAX_UNIT_ROWS: Final = 65_536
# So the texts of a large set are no more than a second of work. Texts in sentences have far fewer pairs.
MAX_SAMPLED_PAIRS: Final = 1 << 22
# Opening a file is a wait on the store, and tokenizing takes every core by itself.
THREADS: Final = 8


@dataclass(frozen=True)
class Slice:
    """Consecutive rows of one file."""

    pin: ObjectPin
    range: RowRange


@dataclass(frozen=True)
class SliceCounts:
    """What a slice holds. `lengths` are the tokens of each row that is not rejected, windows added up.

    `distinct` counts its different pairs of texts. A slice that cannot be read has no rows and a `quarantine`. Where a
    row becomes several pairs, `copies` has the number of pairs of each of the `lengths`, and `labelled` is the number
    of rows that are not rejected. Then `truncated` counts rows.
    """

    lengths: NDArray[np.int64]
    truncated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    quarantine: str | None = None
    copies: NDArray[np.int64] | None = None
    labelled: int | None = None

    @property
    def rows(self) -> int:
        """All rows, rejected ones too."""
        return (len(self.lengths) if self.labelled is None else self.labelled) + self.rejected.total()

    @property
    def pairs_of_lengths(self) -> NDArray[np.int64]:
        """The number of pairs of each of the `lengths`."""
        return np.ones_like(self.lengths) if self.copies is None else self.copies

    @property
    def pairs(self) -> int:
        """The pairs of texts that were read, those of rejected rows too if each row is one pair."""
        return self.rows if self.copies is None else int(self.copies.sum())

    @property
    def tokens(self) -> int:
        """Tokens of its rows together."""
        return int((self.lengths * self.pairs_of_lengths).sum())


@dataclass(frozen=True)
class Sample:
    """The slices that were read, whether they are the whole input, and the seconds that reading them took.

    `repeated` is the share of pairs that are identical to an earlier pair of their unit; None where no unit was read.
    """

    slices: tuple[SliceCounts, ...]
    is_whole: bool
    repeated: float | None
    seconds: float

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return sum(part.rows for part in self.slices)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each pair that was read and is not rejected; of several pairs a row, the lengths that occur."""
        return np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in self.slices)])

    @property
    def pairs_of_lengths(self) -> NDArray[np.int64]:
        """The number of pairs of each of the `lengths`."""
        return np.concatenate([np.zeros(0, np.int64), *(part.pairs_of_lengths for part in self.slices)])

    @property
    def pairs(self) -> int:
        """The pairs that were read."""
        return sum(part.pairs for part in self.slices)

    @property
    def tokens(self) -> int:
        """Tokens of all pairs together."""
        return sum(part.tokens for part in self.slices)

    @property
    def length(self) -> float:
        """The mean length of the pair that a token belongs to; 0 without tokens."""
        return float((self.lengths**2 * self.pairs_of_lengths).sum() / max(self.tokens, 1))

    @property
    def truncated(self) -> int:
        """Pairs that are cut, or rows with a pair that is cut."""
        return sum(part.truncated for part in self.slices)

    @property
    def rejected(self) -> Counter[str]:
        """Rows that get no label, by reason."""
        return sum((part.rejected for part in self.slices), Counter())

    @property
    def unreadable(self) -> Counter[str]:
        """Slices that cannot be read, by reason."""
        return Counter(part.quarantine for part in self.slices if part.quarantine is not None)

    @property
    def tokens_margin(self) -> float:
        """Half the width of a 95 % interval of the tokens a row, as a share of them; 0 where every row was read."""
        full = [part for part in self.slices if part.rows]
        if self.is_whole or len(full) < 2:
            return 0.0
        means = np.array([part.tokens / part.rows for part in full])
        return float(1.96 * means.std(ddof=1) / np.sqrt(len(means)) / max(means.mean(), 1e-9))


def sampled(
    folder: Folder,
    files: Sequence[InputFile],
    units: Sequence[Unit],
    columns: PairColumns,
    tokenizer: PairTokenizer,
    *,
    rows: int,
    seconds: float,
) -> Sample:
    """About `rows` rows of the files, begun within `seconds`. Raises AlbertInferError for trouble with the store."""
    begun = time.monotonic()
    texts = PairColumns(premise=columns.premise, hypothesis=columns.hypothesis, expansion=columns.expansion)
    if columns.expansion is not None and columns.expansion.hypotheses is not None:
        rows = min(rows, max(MAX_SAMPLED_PAIRS // len(columns.expansion.hypotheses), SLICES))
    generator = np.random.default_rng(SEED)
    is_whole = sum(file.rows for file in files) <= rows
    slices = [Slice(unit.pin, unit.range) for unit in units] if is_whole else spread_slices(files, rows, generator)

    def read(part: Slice) -> SliceCounts | None:
        late = time.monotonic() - begun > seconds
        return None if late else slice_counts(folder, part, texts, tokenizer)

    def distinct(part: Slice) -> tuple[int, int]:
        late = time.monotonic() - begun > seconds
        if texts.expansion is None or late:
            return (0, 0) if late else distinct_pairs(folder, part, texts)
        counts = slice_counts(folder, part, texts, tokenizer)
        return counts.pairs, counts.distinct

    with ThreadPoolExecutor(THREADS) as threads:
        parts = [part for part in threads.map(read, slices) if part is not None]
        complete = is_whole and len(parts) == len(slices)
        pairs = [(part.pairs, part.distinct) for part in parts]
        if not is_whole:
            pairs = list(threads.map(distinct, whole_units(units, generator)))
    every, different = (sum(counts) for counts in zip((0, 0), *pairs, strict=True))
    repeated = 1 - different / every if every else None
    return Sample(tuple(parts), complete, repeated, time.monotonic() - begun)


def spread_slices(files: Sequence[InputFile], rows: int, generator: np.random.Generator) -> list[Slice]:
    """One slice from each of SLICES equal parts of the input, in random order, `rows` rows together at most."""
    ends = list(accumulate(file.rows for file in files))
    parts = min(SLICES, rows)
    begins = (np.arange(parts) + generator.random(parts)) * (ends[-1] / parts)
    slices = []
    for begin in generator.permutation(begins.astype(np.int64)):
        number = bisect_right(ends, int(begin))
        first_row = int(begin) - (ends[number] - files[number].rows)
        slices.append(slice_at(files[number], first_row, max(rows // parts, 1)))
    return slices


def slice_at(file: InputFile, first_row: int, rows: int) -> Slice:
    """`rows` rows of a file from about `first_row` on: from an earlier one where the file ends before."""
    rows = min(rows, file.rows)
    first_row = min(first_row, file.rows - rows)
    ends = list(accumulate(file.row_groups))
    first, last = bisect_right(ends, first_row), bisect_right(ends, first_row + rows - 1)
    skip = first_row - (ends[first] - file.row_groups[first])
    return Slice(file.pin, RowRange(first_row, rows, first, last, skip))


def whole_units(units: Sequence[Unit], generator: np.random.Generator) -> list[Slice]:
    """Some units, each whole unless it is huge."""
    chosen = generator.permutation(len(units))[:WHOLE_UNITS]
    ranges = ((units[number].pin, units[number].range) for number in chosen)
    return [
        Slice(pin, RowRange(cut.first_row, min(cut.rows, MAX_UNIT_ROWS), cut.first_group, cut.last_group, cut.skip))
        for pin, cut in ranges
    ]


def slice_counts(folder: Folder, part: Slice, columns: PairColumns, tokenizer: PairTokenizer) -> SliceCounts:
    """Read, validate and tokenize a slice, and count what it holds."""
    try:
        pairs = read_pairs(folder, part.pin, part.range, columns)
    except UnreadableError as error:
        return SliceCounts(np.zeros(0, np.int64), quarantine=str(error.reason))
    judged = validation.mark_rejected(pairs)
    if columns.expansion is not None:
        return _counts_of_rows(append_parts(judged, tokenizer, columns.expansion), columns.expansion, tokenizer)
    encoded = tokenization.append_tokens(judged, tokenizer)
    if N_WINDOWS in encoded.column_names:
        many = pc.fill_null(pc.greater(encoded[N_WINDOWS], MAX_WINDOWS), False).to_numpy()
        encoded = tokenization.with_rejection(encoded, many, Rejection.TOO_MANY_WINDOWS, "")
    good = encoded.filter(encoded[REJECTION].is_null())
    return SliceCounts(
        lengths=good[N_TOKENS].to_numpy().astype(np.int64),
        truncated=pc.sum(good[TRUNCATED]).as_py() or 0,
        rejected=Counter(encoded[REJECTION].drop_null().to_pylist()),
        distinct=_distinct(pairs),
    )


def _counts_of_rows(rows: pa.Table, expansion: Expansion, tokenizer: PairTokenizer) -> SliceCounts:
    """What a slice of rows holds that become several pairs each."""
    counted = pair_lengths(rows, expansion, tokenizer.frame)
    return SliceCounts(
        lengths=counted.lengths,
        truncated=pc.sum(rows[TRUNCATED]).as_py() or 0,
        rejected=Counter(rows[REJECTION].drop_null().to_pylist()),
        distinct=counted.distinct,
        copies=counted.pairs,
        labelled=rows[REJECTION].null_count,
    )


def distinct_pairs(folder: Folder, part: Slice, columns: PairColumns) -> tuple[int, int]:
    """The pairs of a slice, and the different ones among them; none of one that cannot be read."""
    try:
        pairs = read_pairs(folder, part.pin, part.range, columns)
    except UnreadableError:
        return 0, 0
    return pairs.num_rows, _distinct(pairs)


def _distinct(pairs: pa.Table) -> int:
    # As numbers, because texts that are no UTF-8 have no other comparison.
    premises, hypotheses = (_numbers(pairs[name]) for name in (PREMISE, HYPOTHESIS))
    return len(np.unique(premises * (hypotheses.max(initial=0) + 1) + hypotheses))


def _numbers(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    encoded = texts.cast(pa.binary()).dictionary_encode(null_encoding="encode").combine_chunks()
    return np.asarray(encoded.indices.to_numpy()).astype(np.int64)
