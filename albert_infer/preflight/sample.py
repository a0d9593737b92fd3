"""Chooses the sample of a run for the checks before labelling. Does not read files, and does not use Ray."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.preflight.swap import Texts
from albert_infer.read.planning import Unit
from albert_infer.schema import INPUT_IDS, N_PAIRS, N_TOKENS, REJECTION, TRUNCATED, VERDICT_FIELDS, PairColumns

# Enough to spread the pairs over the input, and few enough to read in seconds.
LEAST_UNITS: Final = 16


@dataclass(frozen=True)
class ChosenRows:
    """Rows of one unit, by their indices in it (R, int64), ascending."""

    unit: Unit
    rows_R: NDArray[np.int64]  # noqa: N815  (its shape)


@dataclass(frozen=True)
class RowCounts:
    """All pairs of rows that become several pairs: their number, their tokens, and rows that are cut or rejected."""

    pairs: int
    tokens: int
    truncated: int
    rejected: dict[str, int]

    @classmethod
    def of(cls, rows: pa.Table) -> RowCounts:
        """The counts of tokenized rows."""
        pairs, tokens, truncated = (pc.sum(rows[name]).as_py() or 0 for name in (N_PAIRS, N_TOKENS, TRUNCATED))
        return cls(pairs, tokens, truncated, dict(Counter(rows[REJECTION].drop_null().to_pylist())))

    @classmethod
    def total(cls, counts: Sequence[RowCounts]) -> RowCounts:
        """The sum of the counts."""
        rejected: Counter[str] = Counter()
        for rows in counts:
            rejected.update(rows.rejected)
        return cls(
            pairs=sum(rows.pairs for rows in counts),
            tokens=sum(rows.tokens for rows in counts),
            truncated=sum(rows.truncated for rows in counts),
            rejected=dict(rejected),
        )


@dataclass(frozen=True)
class SampledUnit:
    """The chosen rows of a unit, as `sampled_schema`, and statistics of the texts of all its rows.

    A row that becomes several pairs is sampled as one of them, and `expanded` counts all of them.
    """

    pairs: pa.Table
    texts: Texts
    expanded: RowCounts | None = None


@dataclass(frozen=True)
class SampleCounts:
    """The chosen rows of all units together: their number, their tokens, rows that are cut, and rejected rows.

    `unknown` of the tokens represent texts that the vocabulary does not have.
    """

    rows: int = 0
    tokens: int = 0
    truncated: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    # The mean length of the pair that a token belongs to.
    length: float = 0.0
    unknown: int = 0
    # Where a row becomes several pairs, all pairs of the rows. The other counts are those of one pair of each row.
    expanded: RowCounts | None = None


def sampled_schema(columns: PairColumns) -> pa.Schema:
    """The columns that a worker needs to label pairs. A row that becomes several pairs is sampled as one of them."""
    return pa.schema([*VERDICT_FIELDS, *replace(columns, expansion=None).token_fields])


def chosen_rows(units: Sequence[Unit], pairs: int) -> list[ChosenRows]:
    """Choose `pairs` rows of the plan, or all rows of a smaller plan. The choice depends on the plan alone.

    Unit ids are hashes, so the units with the smallest ids are spread over the input. Rows come from the first units
    that together have `pairs` rows, and from at least LEAST_UNITS units. Of these, the rows with the smallest hash of
    unit id and row are chosen.
    """
    ordered = sorted(units, key=lambda unit: unit.unit_id)
    rows_held = np.cumsum([unit.range.rows for unit in ordered])
    enough = int(np.searchsorted(rows_held, pairs)) + 1
    hashes = {unit: _row_hashes(unit) for unit in ordered[: max(enough, LEAST_UNITS)]}
    smallest = np.sort(np.concatenate(list(hashes.values())))[:pairs]
    chosen = (ChosenRows(unit, np.flatnonzero(row_hashes <= smallest[-1])) for unit, row_hashes in hashes.items())
    return [rows for rows in chosen if len(rows.rows_R)]


def pairs_of(sample: Iterable[SampledUnit]) -> pa.Table:
    """The chosen rows of all units, as `sampled_schema`; an empty table without units."""
    tables = [unit.pairs for unit in sample]
    return pa.concat_tables(tables) if tables else sampled_schema(PairColumns()).empty_table()


def counts_of(sample: Sequence[SampledUnit], unknown_id: int | None) -> SampleCounts:
    """What the sampled pairs hold; `unknown_id` as the tokenizer has it."""
    pairs = pairs_of(sample)
    expanded = [unit.expanded for unit in sample if unit.expanded is not None]
    lengths = pairs[N_TOKENS].cast(pa.int64())
    tokens, squares = (pc.sum(values).as_py() or 0 for values in (lengths, pc.multiply(lengths, lengths)))
    return SampleCounts(
        rows=pairs.num_rows,
        tokens=tokens,
        truncated=pc.sum(pairs[TRUNCATED]).as_py() or 0,
        rejected=dict(Counter(pairs[REJECTION].drop_null().to_pylist())),
        length=squares / max(tokens, 1),
        unknown=_count(pairs[INPUT_IDS], unknown_id),
        expanded=RowCounts.total(expanded) if expanded else None,
    )


def _count(lists: pa.ChunkedArray, token_id: int | None) -> int:
    """How many entries of the lists are that token."""
    if token_id is None:
        return 0
    return pc.sum(pc.equal(pc.list_flatten(lists), token_id)).as_py() or 0


def _row_hashes(unit: Unit) -> NDArray[np.uint64]:
    """A hash of unit id and row for each row of the unit: splitmix64, seeded by the id."""
    state = np.frombuffer(hashlib.sha256(unit.unit_id.encode()).digest()[:8], "<u8")
    mixed = state + np.arange(1, unit.range.rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashes
