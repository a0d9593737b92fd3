"""Turns gold pairs into tokens: Ray Data reads and tokenizes them once, and each training worker holds them as arrays.

Shapes: R pairs, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import DataContext, Dataset, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from albert_infer.learning.training.record import CountedPairs
from albert_infer.preflight.gold import GOLD, NO_GOLD, GoldSet, GoldSlice, read_slice
from albert_infer.prepare import tokenization
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import INPUT_IDS, PREMISE_TOKENS, REJECTION, TRUNCATED, EncodedPairs

COLUMNS = (INPUT_IDS, PREMISE_TOKENS, GOLD, REJECTION, TRUNCATED)


@dataclass(frozen=True)
class TrainingPairs:
    """R pairs with tokens and a gold label (R, an index in `NliLabel`)."""

    encoded: EncodedPairs
    gold_R: NDArray[np.int8]  # noqa: N815  (its shape)

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.gold_R)


def tokenized(gold: GoldSet, tokenizer: PairTokenizer) -> Dataset:
    """All rows of the gold set, in order, as token ids, `_gold` and `rejection`, in Ray's object store."""
    source = _GoldSource(gold, ray.put(tokenizer))
    tokens: Dataset = ray.data.read_datasource(source, override_num_blocks=len(gold.slices)).materialize()
    return tokens


def counted(pairs: Dataset) -> CountedPairs:
    """Count the rows of `tokenized`."""
    rows = used = without_gold = truncated = 0
    rejected: dict[str, int] = {}
    verdicts = pairs.select_columns([GOLD, REJECTION, TRUNCATED])
    tables: Iterable[Any] = verdicts.iter_batches(batch_size=None, batch_format="pyarrow")
    for table in tables:
        usable, has_gold = _usable(table), table[GOLD].to_numpy() != NO_GOLD
        rows += table.num_rows
        used += int(usable.sum())
        without_gold += int((~has_gold).sum())
        truncated += int((usable & table[TRUNCATED].to_numpy(zero_copy_only=False)).sum())
        for reason in table[REJECTION].filter(pa.array(has_gold)).drop_null().to_pylist():
            rejected[reason] = rejected.get(reason, 0) + 1
    return CountedPairs(rows=rows, used=used, without_gold=without_gold, truncated=truncated, rejected=rejected)


def gathered(tables: Iterable[pa.Table]) -> TrainingPairs:
    """The usable rows of `tokenized`, in order."""
    usable = pa.concat_tables([table.filter(pa.array(_usable(table))) for table in tables])
    return TrainingPairs(tokenization.encoded_pairs(usable), usable[GOLD].to_numpy())


def _usable(table: pa.Table) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = table[REJECTION].is_null().to_numpy() & (table[GOLD].to_numpy() != NO_GOLD)
    return usable


class _GoldSource(Datasource):
    """One read task for each slice of a gold set."""

    def __init__(self, gold: GoldSet, tokenizer: ray.ObjectRef[PairTokenizer]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates in part
        self._gold = gold
        self._tokenizer = tokenizer

    def get_name(self) -> str:
        return "GoldPairs"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        return [self._read_task(piece) for piece in self._gold.slices]

    def _read_task(self, piece: GoldSlice) -> ReadTask:
        gold, tokenizer = self._gold, self._tokenizer
        metadata = BlockMetadata(
            num_rows=piece.range.rows, size_bytes=None, exec_stats=None, input_files=(piece.pin.name,)
        )
        return ReadTask(lambda: [_tokens(gold, piece, ray.get(tokenizer))], metadata)


def _tokens(gold: GoldSet, piece: GoldSlice, tokenizer: PairTokenizer) -> pa.Table:
    return tokenization.append_tokens(read_slice(gold, piece), tokenizer).select(list(COLUMNS))
