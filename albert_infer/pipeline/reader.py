"""Reads on a Ray worker: a whole unit for labelling, or some of its rows for the checks. Does not import Ray Data.

Ray Data takes as long to import as a checkpoint takes to load. The checks run first, and do not need Ray Data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import pyarrow as pa
import ray

from albert_infer.pipeline.attempts import MAX_LOST_ATTEMPTS
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.unit import MAX_PREPARED_BYTES, no_rows, prepared_unit, quarantine_marker, sampled_unit
from albert_infer.preflight.sample import ChosenRows, SampledUnit, sampled_schema
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.decoding import PairReader, cached_reader
from albert_infer.read.planning import Unit
from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import Folder

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class UnitReader:
    """The first stage. Ray sends it with each read task, so it has references to large objects."""

    source: Folder
    columns: PairColumns
    tokenizer: ray.ObjectRef[PairTokenizer]
    board: RunBoard
    # Ray would split a larger block.
    max_bytes: int = MAX_PREPARED_BYTES

    def prepared(self, unit: Unit) -> pa.Table:
        """Run `prepared_unit` on a worker. Returns a quarantine marker for a unit that kills its workers."""
        with self.board.attempt("read", unit.unit_id) as healthy:
            if not healthy:
                return poison_marker(unit.unit_id, "reading", self.columns.prepared)
            return prepared_unit(unit, self._pair_reader(), unpickled(self.tokenizer), self.max_bytes)

    def sampled(self, chosen: ChosenRows) -> SampledUnit:
        """Run `sampled_unit` on a worker. Returns no rows for a unit that kills its workers."""
        with self.board.attempt("read", chosen.unit.unit_id) as healthy:
            if not healthy:
                return no_rows(sampled_schema(self.columns))
            return sampled_unit(chosen, self._pair_reader(), unpickled(self.tokenizer))

    def _pair_reader(self) -> PairReader:
        return cached_reader(self.source, self.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed


def poison_marker(unit_id: str, doing: str, prepared: pa.Schema) -> pa.Table:
    """The quarantine marker of a unit that kills its workers."""
    return quarantine_marker(unit_id, Quarantine.POISON_UNIT, poison_detail(doing), prepared)


def poison_detail(doing: str) -> str:
    """The reason why the unit is not tried again."""
    return f"{MAX_LOST_ATTEMPTS} workers died while {doing} it"


@lru_cache(maxsize=4)
def unpickled(reference: ray.ObjectRef[Shared]) -> Shared:
    """The value of the reference. Each worker process unpickles it once for many units."""
    return ray.get(reference)
