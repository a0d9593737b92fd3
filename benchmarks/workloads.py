"""The kinds of pairs that the benchmark labels: those of SNLI, those of MultiNLI, and long ones joined of them.

Knows which file of a folder holds which, and nothing of who labels them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds

from albert_infer.schema import HYPOTHESIS, PREMISE
from benchmarks import checkpoint, pairs


class Workload(StrEnum):
    """What kind of pairs."""

    SNLI = "snli"
    MNLI = "mnli"
    LONG = "long"


FILES: Final = {
    Workload.SNLI: pairs.SNLI_FILE,
    Workload.MNLI: "mnli_dev_a.parquet",
    Workload.LONG: pairs.SNLI_FILE,
}
# About what a pair of each has; decides how many of them a round takes.
MEAN_TOKENS: Final = {Workload.SNLI: 28, Workload.MNLI: 39, Workload.LONG: 340}
# [CLS] premise [SEP] hypothesis [SEP]
FRAME_TOKENS: Final = 3
SHORTEST_LONG: Final = 200
LONGEST_LONG: Final = 512
# Longer premises than this are not joined, so that the last one of a pair always fits.
LONGEST_PART: Final = 48
# Has no divisor in common with the range of lengths, so that pair after pair reaches all of it.
STRIDE: Final = 101


def default_data() -> Path:
    """The folder of real pairs that stands beside the project, else the few that ship in the package."""
    return pairs.SHARED_FOLDER if pairs.SHARED_FOLDER.exists() else pairs.BUILTIN_PAIRS


def workload_pairs(workload: Workload, data: Path, count: int) -> pa.Table:
    """`count` pairs of `data`, as `pairs.read_pairs` gives them; of a folder, those of the workload's file in it."""
    source = source_of(workload, data)
    found = pairs.read_pairs(source, count)
    if workload is not Workload.LONG:
        return found
    premises = ds.dataset(source, format="parquet").to_table(columns=[PREMISE])[PREMISE].cast(pa.string())
    return lengthened(found, list(dict.fromkeys(premises.to_pylist())))


def source_of(workload: Workload, data: Path) -> Path:
    """The workload's file in the folder `data`; `data` itself where it is a file, or a folder without that file."""
    named = data / FILES[workload]
    return named if named.exists() else data


def lengthened(table: pa.Table, premises: Sequence[str]) -> pa.Table:
    """`table` with consecutive `premises` joined in place of its own: pairs of 200 to 512 tokens, evenly spread.

    Follows from its arguments alone. Raises ValueError where none of `premises` is short enough to be joined.
    """
    parts = [part for part in zip(premises, _token_counts(premises), strict=True) if part[1] <= LONGEST_PART]
    if not parts:
        raise ValueError(f"long pairs are joined of premises of at most {LONGEST_PART} tokens, and there is none")
    supply = cycle(parts)
    joined = []
    for number, hypothesis_tokens in enumerate(_token_counts(table[HYPOTHESIS].to_pylist())):
        wanted = SHORTEST_LONG + number * STRIDE % (LONGEST_LONG - LONGEST_PART - SHORTEST_LONG)
        texts, tokens = [], FRAME_TOKENS + hypothesis_tokens
        while tokens < wanted:
            text, added = next(supply)
            texts.append(text)
            tokens += added
        joined.append(" ".join(texts))
    return table.set_column(table.column_names.index(PREMISE), PREMISE, pa.array(joined, pa.string()))


def _token_counts(texts: Sequence[str]) -> list[int]:
    return [
        len(encoding) for encoding in checkpoint.tokenizer().encode_batch_fast(list(texts), add_special_tokens=False)
    ]
